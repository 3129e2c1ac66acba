"""What importing costs: nothing heavy until it is used."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "cv2", "matplotlib", "skimage", "scipy", "dask", "napari", "qtpy", "tifffile")


def loaded_after(code, *more):
    script = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script, *more], capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import napari_nst",
        "import napari_nst.engine",
        "import napari_nst.settings.parameters, napari_nst.settings.presets, napari_nst.settings.layers",
        "import napari_nst; napari_nst.StyleTransferParameters(preset='texture')",
        "import napari_nst; napari_nst.StyleTransferParameters.specs()",
        "import napari_nst.errors",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert loaded_after(code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "import napari_nst.imaging, napari_nst.io",
        "import napari_nst; napari_nst.ImageFile, napari_nst.mosaic_pair, napari_nst.pad_to_square",
        "import napari_nst.transfer.files, napari_nst.transfer.curves",
        "import napari_nst; napari_nst.enhance_session, napari_nst.plan_session, napari_nst.MDRNNPreProcessor",
        "import napari_nst.metrics, napari_nst.imaging.cones, napari_nst.imaging.spacing",
    ],
)
def test_images_need_neither_torch_nor_matplotlib_to_be_imported(code):
    assert not loaded_after(code) & {"torch", "torchvision", "cv2", "matplotlib", "napari"}


@pytest.fixture(scope="module")
def transfer():
    """What one interpreter knows that has imported everything a transfer needs: importing torch takes seconds."""
    code = (
        "import sys, json\n"
        "order = []\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('torch', 'triton'): order.append(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import napari_nst.transfer.api, napari_nst.documented.nst\n"
        "modules = list(sys.modules)\n"
        "import napari_nst.engine.weights as w, napari_nst.engine.backbone as b\n"
        "models = [w._embedded.cache_info().currsize, b.shared_backbone.cache_info().currsize]\n"
        "models += [vars(napari_nst.documented.nst.NST)['model']._value]\n"
        "print(json.dumps({'order': order, 'modules': modules, 'models': models}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)


def test_a_transfer_imports_torch_and_no_screen(transfer):
    assert "torch" in transfer["modules"]
    assert not set(transfer["modules"]) & {"torchvision", "cv2", "matplotlib", "napari", "qtpy"}


def test_importing_the_pipeline_loads_no_model(transfer):
    assert transfer["models"] == [0, 0, None]


def test_the_guard_of_triton_is_passed_before_torch(transfer):
    assert "torch" in transfer["order"]
    if sys.platform == "linux":
        assert transfer["order"][0] == "triton"


def test_importing_the_package_loads_next_to_nothing():
    code = "import napari_nst, sys; print(*[m for m in sys.modules if m.startswith('napari_nst.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["napari_nst._moved"]
