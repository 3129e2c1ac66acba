"""How far a pixel may change, place by place: as far as the image shows structure there."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from napari_nst.imaging.checks import Floats, check_grey, check_length
from napari_nst.imaging.masks import fill_from_nearest

__all__ = ["local_trust"]

#: In spacings: the two Gaussians whose difference is the band of the cells, and the Gaussian of the place.
_FINE, _COARSE, _PLACE = 0.1, 0.6, 0.5
_EXPONENT = 3.0


def local_trust(image: ArrayLike, spacing: float, *, mask: ArrayLike | None = None) -> Floats:
    """Return the contrast of cell-sized structure at every place, relative to the image's median: 0 to 1.

    Where an image shows next to nothing of the size of a cell, as in the shadow of a vessel, whatever an enhancement draws there
    is invented: there this is near 0.

    Parameters
    ----------
    image : array, (H, W)
        Any integer or float dtype; best already freed of noise, which is contrast, too.
    spacing : float
        Distance of neighboring cells, in pixels.
    mask : array, (H, W), optional
        Not 0 where a pixel is used.

    Returns
    -------
    array of float64, (H, W)
        min(1, E / median(E))³, E being the root mean square of the difference of two Gaussians (0.1 and 0.6 spacings) within
        a Gaussian of 0.5 spacings. 1 everywhere in a constant image.

    """
    from scipy import ndimage

    check_length(spacing, "spacing")
    array, used = check_grey(image, mask, "image")
    values = fill_from_nearest(array.astype(np.float64), used)
    fine, coarse = (ndimage.gaussian_filter(values, part * spacing) for part in (_FINE, _COARSE))
    power = ndimage.gaussian_filter((fine - coarse) ** 2, _PLACE * spacing)
    contrast = np.sqrt(np.maximum(power, 0.0))
    usual = float(np.median(contrast[used]))
    if usual <= 1e-12 * float(np.abs(values).max()):
        return np.ones(array.shape)
    trust: Floats = np.minimum(1.0, contrast / usual) ** _EXPONENT
    return trust
