"""Arrays and files: padding, masks, TIFF and its relatives, names, synthetic mosaics.

Nothing here knows a network, a session or a screen, and importing it loads neither torch, cv2 nor matplotlib.
"""

from __future__ import annotations
