"""Public names of the measures: loaded when they are first used; those of version 0.1 are served for one release."""

import numpy as np
import pytest

from napari_nst import metrics
from napari_nst.metrics import assess, cone_density


def test_every_public_name_is_there_and_documented():
    for name in metrics.__all__:
        assert getattr(metrics, name).__doc__
    assert set(metrics.__all__) <= set(dir(metrics))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DensitySweep", "DensityBias"),
        ("RepeatConsistency", "Repeatability"),
        ("StyleSwap", "StyleAgreement"),
        ("blind_lattice", "random_lattice"),
        ("density_sweep", "density_bias"),
        ("repeat_consistency", "repeatability"),
        ("style_swap", "style_agreement"),
    ],
)
def test_old_names_warn_and_give_the_new_ones(old, new):
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
        assert getattr(metrics, old) is getattr(metrics, new)


def test_what_was_never_there_is_not_found():
    with pytest.raises(AttributeError, match="nothing"):
        _ = metrics.nothing


def test_old_names_of_the_pixel_size_are_taken():
    with pytest.warns(DeprecationWarning, match="`um_per_px` is now `pixel_size`"):
        assert cone_density(50, 10_000, um_per_px=0.5) == pytest.approx(20_000)
    image = np.eye(40)
    with pytest.warns(DeprecationWarning, match="`scale` is now `pixel_size`"):
        found = assess(image, image, scale=0.4)
    assert found.scale == found.pixel_size == 0.4
