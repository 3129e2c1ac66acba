"""Arrays and files: padding, masks, TIFF and its relatives, names, synthetic mosaics.

Nothing here knows a network, a session or a screen, and importing it loads neither torch, cv2 nor matplotlib.
"""

from __future__ import annotations

from napari_nst.imaging.masks import black_border, check_mask, pack_mask, unpack_mask
from napari_nst.imaging.mosaic import Mosaic, MosaicPair, cone_mosaic, mosaic_pair
from napari_nst.imaging.padding import MissingImageError, pad_to_square, reflect_to_multiple, unpad_from_square
from napari_nst.io.atomic import free_stem, write_new
from napari_nst.io.filenames import joined_stem, safe_stem
from napari_nst.io.images import FileInfo, ImageFile, image_stem, read_image, write_image

__all__ = [
    "FileInfo",
    "ImageFile",
    "MissingImageError",
    "Mosaic",
    "MosaicPair",
    "black_border",
    "check_mask",
    "cone_mosaic",
    "free_stem",
    "image_stem",
    "joined_stem",
    "mosaic_pair",
    "pack_mask",
    "pad_to_square",
    "read_image",
    "reflect_to_multiple",
    "safe_stem",
    "unpack_mask",
    "unpad_from_square",
    "write_image",
    "write_new",
]
