"""No enhancement: the image as it is, to the last bit."""

from napari_nst.methods.base import Enhanced, Method

NONE = Method("none", "The image as it is.", lambda target, *_: Enhanced(target.pixels.copy()), uses_style=False)
