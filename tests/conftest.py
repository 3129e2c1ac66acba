"""What many tests share: small realistic images, weights in torchvision's convention, and where real data lies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# A shared machine can make any example late; the time of a test is limited by pytest-timeout.
settings.register_profile("napari-nst", deadline=None)
settings.load_profile("napari-nst")

pytest_plugins = ("sessions", "cones")

#: Real images lie beside the checkout, where there are any; they are not part of the repository.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "aoslo"


@pytest.fixture(scope="session")
def pair():
    """A synthetic cone mosaic, 64 × 80: a poor target and a good style, uint8, read-only."""
    from napari_nst import mosaic_pair

    made = mosaic_pair((64, 80))
    for image in (made.target, made.style):
        image.flags.writeable = False
    return made


@pytest.fixture(scope="module")
def one_thread():
    """One CPU thread for PyTorch: on small images a second one waits more than it helps, most of all beside others."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def aoslo():
    """Reads one of the real AOSLO images by a part of its name."""

    def read(part):
        from napari_nst import ImageFile

        found = sorted(SHARED.glob(f"*{part}*.tif")) if SHARED.is_dir() else []
        if not found:
            pytest.skip(f"the real AOSLO images are not beside this checkout (looked in {SHARED})")
        return ImageFile.read(found[0])

    return read


@pytest.fixture(scope="session")
def torchvision_file(tmp_path_factory):
    """A .pth file with torchvision's names and a seeded network, removed at the end (80 MB)."""
    import torch

    import oracle

    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save(oracle.random_state(), path)
    yield path
    path.unlink()
