"""A run as Python: pasted into a fresh interpreter, the script gives the same array."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from napari.layers import Image

from napari_nst import StyleTransferParameters, arguments_from, mosaic_pair, transfer_style
from napari_nst.errors import ParameterError
from napari_nst.viewer.common.compare import add_difference
from napari_nst.viewer.common.layers import source_of
from napari_nst.viewer.sample import cone_mosaic_pair, cone_mosaic_pair_16bit
from napari_nst.viewer.transfer.script import python_script

QUICK = {"preset": "texture", "epoch": 2, "threads": 1, "device": "cpu"}


def run_fresh(script, folder):
    """Run a script in a new interpreter, in a folder; gives the array and what was printed."""
    # Nothing of the script is changed: this only keeps its last variable.
    keep = "\nimport numpy\nnumpy.save('array.npy', result.image)\n"
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "error", "-"],
        input=script + keep,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "array.npy"), done.stdout


def run_here(script, folder, monkeypatch):
    """The same in this interpreter, which has imported everything already."""
    monkeypatch.chdir(folder)
    found = {}
    exec(script, found)
    return found["result"].image


def cut(layer, index=None, region=None):
    """The pixels of a layer that :func:`source_of` describes, taken in another way."""
    data = np.asarray(layer.data[0] if layer.multiscale else layer.data)
    for i in index or ():
        data = data[i]
    if region is not None:
        (y0, y1), (x0, x1) = region
        data = data[y0:y1, x0:x1] if data.ndim == 2 or layer.rgb else data[:, y0:y1, x0:x1]
    return data


def recorded(layers, parts, **arguments):
    """What a result layer's metadata hold after a run on parts of two layers, and the run's array."""
    taken = [cut(layer, *part) for layer, part in zip(layers, parts, strict=True)]
    result = transfer_style(*taken, **{**QUICK, **arguments})
    record = {
        **result.metadata,
        "layers": {"target": layers[0].name, "style": layers[1].name},
        "layers_source": {
            role: source_of(layer, *part) for role, layer, part in zip(("target", "style"), layers, parts, strict=True)
        },
    }
    return json.loads(json.dumps(record)), result.image


def sample_layers(make=cone_mosaic_pair):
    key = make.__name__
    return [
        Image(data, name=keywords["name"], scale=keywords["scale"])
        for data, keywords, kind in make()
        if kind == "image"
    ], key


def from_sample(layers, key):
    """As ``viewer.open_sample`` marks its layers."""
    for layer in layers:
        layer._source = layer.source.model_copy(update={"sample": ("napari-nst", key)})
    return layers


def from_file(path, data, name):
    tifffile.imwrite(path, data, photometric="minisblack" if data.shape[-1] != 3 else "rgb")
    layer = Image(data, name=name, rgb=data.shape[-1] == 3)
    layer._source = layer.source.model_copy(update={"path": str(path)})
    return layer


@pytest.mark.slow
def test_sample_data_are_made_again(tmp_path):
    layers = from_sample(*sample_layers())
    region = ((10, 42), (100, 148))
    record, image = recorded(layers, [(None, region), (None, ((0, 40), (0, 40)))])
    script = python_script(record)
    assert "mosaic_pair(" in script
    assert "viewer" not in script
    again, printed = run_fresh(script, tmp_path)
    np.testing.assert_array_equal(again, image)
    assert "finished after 2 steps" in printed
    saved = next(tmp_path.glob("napari-nst/*.tif"))
    np.testing.assert_array_equal(tifffile.imread(saved), image)
    assert str(saved.relative_to(tmp_path)) in printed.replace("\\", "/")


def test_style_of_16_bits_from_the_other_sample(tmp_path, monkeypatch):
    layers = from_sample(*sample_layers())[1], from_sample(*sample_layers(cone_mosaic_pair_16bit))[0]
    record, image = recorded(layers, [(None, ((0, 32), (0, 32))), (None, ((50, 90), (50, 90)))])
    script = python_script(record)
    # The style's image serves as target, and the other way round.
    assert "target = pair.style[" in script
    assert "style = pair_16bit.target[" in script
    np.testing.assert_array_equal(run_here(script, tmp_path, monkeypatch), image)


def test_result_of_the_widget(make_napari_viewer_proxy, qtbot, tmp_path, monkeypatch):
    viewer = make_napari_viewer_proxy()
    target, style, _ = viewer.open_sample("napari-nst", "cone_mosaic_pair")
    corners = [[10, 20], [10, 60], [50, 60], [50, 20]]
    viewer.add_shapes([corners], shape_type="rectangle", scale=target.scale, units=target.units, name="roi")
    _, widget = viewer.window.add_plugin_dock_widget("napari-nst", "Style Transfer")
    widget.target.value, widget.style.value = target, style
    widget.region.value = next(choice for choice in widget.region.choices if not isinstance(choice, str))
    widget.parameters.preset.value, widget.parameters.epoch.value = "texture", 2
    widget.write_files.value = False
    ended = []
    widget.finished.connect(ended.append)
    widget.run()
    qtbot.waitUntil(lambda: bool(ended), timeout=120_000)
    layer = ended[0]
    script = python_script(layer.metadata["napari_nst"])
    assert "target = pair.target[10:50, 20:60]" in script
    np.testing.assert_array_equal(run_here(script, tmp_path, monkeypatch), layer.data)
    # The difference finds the target's pixels under the region.
    change = add_difference(viewer, target, layer)
    np.testing.assert_array_equal(change.data, layer.data.astype(float) - np.asarray(target.data)[10:50, 20:60])


@pytest.mark.slow
def test_files_planes_regions_and_masks(tmp_path):
    rng = np.random.default_rng(0)
    # Names and folders that need quoting.
    folder = tmp_path / "it's 20 µm é"
    folder.mkdir()
    target = from_file(folder / "a stack.tif", rng.integers(0, 60000, (5, 40, 44), dtype=np.uint16), "a 'stack'\n")
    style = from_file(folder / "color.tif", rng.integers(0, 255, (36, 40, 3), dtype=np.uint8), "color")
    parts = [([3], ((2, 34), (5, 41))), (None, ((1, 33), (0, 38)))]
    mask = np.zeros((32, 36), bool)
    mask[4:30, 3:33] = rng.random((26, 30)) > 0.1
    record, image = recorded(
        [target, style],
        parts,
        mask=mask,
        style_mask="border",
        lr=0.012345678901234567,
        value_range=(100.0, 50000.5),
        style_value_range="auto",
        pixel_size=0.5,
        style_pixel_size=(0.5, 0.50001),
        rgb=False,
        style_rgb=True,
    )
    script = python_script(record)
    assert "mosaic_pair" not in script
    assert "unpack_mask" in script
    assert max(map(len, script.splitlines())) < 200
    again, _ = run_fresh(script, tmp_path)
    np.testing.assert_array_equal(again, image)


def test_stacks_are_cut_in_every_plane(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    target = from_file(tmp_path / "stack.tif", rng.integers(0, 255, (2, 40, 44), dtype=np.uint8), "stack")
    style = from_file(tmp_path / "style.tif", rng.integers(0, 255, (32, 32), dtype=np.uint8), "style")
    record, image = recorded([target, style], [(None, ((2, 34), (5, 41))), (None, None)])
    assert "[..., 2:34, 5:41]" in python_script(record)
    again = run_here(python_script(record), tmp_path, monkeypatch)
    assert again.shape == (2, 32, 36)
    np.testing.assert_array_equal(again, image)


def test_big_endian_images(tmp_path, monkeypatch):
    rng = np.random.default_rng(2)
    layers = [
        from_file(tmp_path / f"{name}.tif", rng.integers(0, 9999, (32, 32)).astype(">u2"), name) for name in ("a", "b")
    ]
    record, image = recorded(layers, [(None, None)] * 2)
    again = run_here(python_script(record), tmp_path, monkeypatch)
    np.testing.assert_array_equal(again, image)


def test_another_image_is_noticed(tmp_path):
    rng = np.random.default_rng(3)
    layers = [
        from_file(tmp_path / f"{name}.tif", rng.integers(0, 255, (32, 32), dtype=np.uint8), name) for name in ("a", "b")
    ]
    record, _ = recorded(layers, [(None, None)] * 2)
    changed = np.asarray(layers[1].data).copy()
    changed[0, 0] ^= 1
    tifffile.imwrite(tmp_path / "b.tif", changed)
    with pytest.raises(ValueError, match="This style is another one"):
        exec(python_script(record), {})


def test_layers_without_file_are_taken_from_the_viewer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    data = rng.integers(0, 255, (2, 64, 64), dtype=np.uint8)
    target = Image([data, data[:, ::2, ::2]], multiscale=True, name="pyramid")
    style = Image(rng.integers(0, 255, (32, 32), dtype=np.uint8), name="made")
    record, image = recorded([target, style], [([1], ((0, 32), (8, 40))), (None, None)])
    script = python_script(record)
    assert "napari's console" in script
    found = {"viewer": SimpleNamespace(layers={"pyramid": target, "made": style})}
    exec(script, found)
    np.testing.assert_array_equal(found["result"].image, image)


def test_planes_of_other_axes():
    """A plane along the first and the last axis, as after rolling the dimensions."""
    data = np.random.default_rng(5).integers(0, 255, (32, 5, 34), dtype=np.uint8)
    viewer = SimpleNamespace(layers={"stack": Image(data, name="stack"), "style": Image(data[:, 0], name="style")})
    shape = {"shape": [32, 34], "rgb": False}
    base = {"napari_nst": "0", "parameters": {}, "target": shape, "style": shape}
    source = {"name": "stack", "index": [2], "region": [[0, 30], [4, 34]]}
    around = {"start": [0, 2, 4], "stop": [30, 3, 34], "axes": [0, 2]}
    record = {
        **base,
        "layers_source": {"target": source, "style": {"name": "style"}},
        "region": {"target": {"kind": "rectangle", **around}},
    }
    line = next(line for line in python_script(record).splitlines() if line.startswith("target = "))
    found = {"viewer": viewer, "np": np}
    exec(line, found)
    np.testing.assert_array_equal(found["target"], data[:30, 2, 4:])
    source.update(index=None, region=None)
    record["region"]["target"].update(kind="all planes", start=[0, 0, 0], stop=[32, 5, 34])
    line = next(line for line in python_script(record).splitlines() if line.startswith("target = "))
    exec(line, found)
    np.testing.assert_array_equal(found["target"], np.moveaxis(data, 1, 0))


def arguments_of(script):
    """The keyword arguments in the script's call."""
    found = {}
    exec(script[: script.index("target = ")].rstrip(), found)
    call = script[script.index("result = ") : script.index("print(")].replace("target,\n    style,", "")
    exec(call, {**found, "transfer_style": lambda **given: found.update(given=given)})
    return found["given"]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"preset": "gatys"},
        {"preset": "gatys", "optimizer": "adam"},
        # Equal to the preset's own rate, but not to the one that the preset gives L-BFGS.
        {"preset": "texture", "optimizer": "lbfgs", "lr": 0.01},
        {"preset": "texture", "style_layers": ("relu1_1",), "content_layer_weights": (0.1,), "tolerance": 1 / 3},
        {"value_range": "percentiles", "seed": 5, "fallback": False, "weights": "caffe:C:\\weights\\vgg.pth"},
    ],
)
def test_all_parameters_come_back(parameters):
    wanted = StyleTransferParameters(**parameters)
    pair = mosaic_pair((32, 32))
    record = {
        "napari_nst": "0",
        "parameters": json.loads(json.dumps(wanted.asdict())),
        "used": {"device": "cpu", "precision": "float32", "threads": 3},
        "target": {"shape": [32, 32]},
        "style": {"shape": [32, 32]},
    }
    script = python_script(record)
    given = arguments_of(script)
    assert "preset" in given
    assert StyleTransferParameters(**given).asdict() == arguments_from(record)
    assert 'ImageFile("PATH OF THE TARGET")' in script
    assert pair.target.shape == (32, 32)


def test_a_stopped_run_is_repeated_up_to_its_last_step():
    record = {
        "napari_nst": "0",
        "parameters": {"preset": "texture"},
        "stopped": "cancelled",
        "steps": 7,
        "planes": [{}],
    }
    assert arguments_of(python_script(record))["epoch"] == 7
    assert "stopped by hand after 7 of 100 steps" in python_script(record)
    assert "goes on to its end" in python_script({**record, "planes": [{}, {}]})


def test_what_is_no_record():
    with pytest.raises(ParameterError, match="not a record of napari-nst"):
        python_script({"something": "else"})
