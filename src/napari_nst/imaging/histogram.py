"""Give one image the histogram of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nst.imaging.checks import check_grey

__all__ = ["match_histogram"]


def match_histogram(
    target: ArrayLike,
    style: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    style_mask: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Map the gray levels of an image so that they are distributed as those of another.

    Parameters
    ----------
    target : array, (H, W)
        The image to change, any integer or float dtype.
    style : array, (H', W')
        The image to be like, of any size and dtype, with its values on the same scale.
    mask, style_mask : array, (H, W) and (H', W'), optional
        Not 0 where a pixel is used. The others take no part; those of the target come back as they were.

    Returns
    -------
    array of float64, (H, W)
        On the scale of the inputs, within the range of the style's used values; not rounded. Equal values stay equal,
        and a greater one never becomes smaller than a lesser one.

    Raises
    ------
    ImageError
        An image is constant, not gray, or not finite.

    Notes
    -----
    By ``skimage.exposure.match_histograms``: each level goes to the style's level of the same cumulative share, with
    linear interpolation between the levels that the style has. In double precision, so that no level is lost to
    rounding and 16-bit images need no table.
    """
    from skimage.exposure import match_histograms

    array, used = check_grey(target, mask, "target", varied=True)
    model, model_used = check_grey(style, style_mask, "style", varied=True)
    out = array.astype(np.float64)
    out[used] = match_histograms(out[used], model.astype(np.float64)[model_used])
    return out
