"""One patch in the viewer: which layers, where they lie, and that they are used again."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_nst.imaging.cones import detect_cones
from napari_nst.imaging.mosaic import cone_mosaic
from napari_nst.io.images import write_image
from napari_nst.session.effects import compare_cones
from napari_nst.viewer.assessment.input import Trio, assess_request, trio_of
from napari_nst.viewer.common.layers import plain
from napari_nst.viewer.session.layers import PatchLayers

ROLES = ["target", "style", "result", "kept", "lost", "new", "captions"]


@pytest.fixture(scope="module")
def session(tmp_path_factory, settings):
    """A plan, the folder of a finished session, and short names of its patches."""
    from napari_nst.session.planning import plan_session
    from napari_nst.session.run import enhance_session
    from napari_nst.settings.session import split_settings

    folder = tmp_path_factory.mktemp("images")
    for number, poor in enumerate([{}, {"psf_fwhm": 0.62, "photons": 250.0, "halo": 0.4}]):
        image = cone_mosaic((100, 180), spacing=9.0, seed=number, dtype=["uint16", "uint8"][number], **poor).image
        write_image(folder / f"retina_{number}.tif", image)
    chosen = split_settings(settings)
    plan = plan_session(folder, *chosen)
    assert plan.treated
    result = enhance_session(folder, folder.parent / f"{folder.name}-out", plan=plan, workers=1)
    short = {p.patch.name: f"{p.patch.crop_id} · {p.patch.image[:-4]}" for p in plan.patches}
    return plan, Path(result.folder), short


@pytest.fixture
def show(viewer):
    return PatchLayers(viewer)


def test_target_style_and_result_side_by_side(viewer, show, session):
    plan, output, short = session
    planned = plan.treated[0]
    text = show.show(plan, planned.patch.name, output, short.get)
    layers = show.layers()
    assert list(layers) == ROLES
    assert [plain(layer) for layer in viewer.layers] == list(layers.values())
    target, style, result = (layers[role] for role in ROLES[:3])
    assert target.name == f"target {short[planned.patch.name]}"
    assert style.name == f"style {short[planned.style]}"
    np.testing.assert_array_equal(target.data, plan.crop(planned.patch).array)
    np.testing.assert_array_equal(style.data, plan.crop(plan[planned.style].patch).array)
    assert (result.data.dtype, result.data.shape) == (target.data.dtype, target.data.shape)
    assert (result.data != target.data).any()
    low = plan.image_of(planned.patch).value_range
    assert tuple(target.contrast_limits) == tuple(result.contrast_limits) == low
    assert tuple(style.contrast_limits) == plan.image_of(plan[planned.style].patch).value_range != low
    starts, ends = (
        [layer.data_to_world(corner(layer))[1] for layer in (target, style, result)]
        for corner in (lambda layer: (0, 0), lambda layer: layer.data.shape)
    )
    assert starts[1] > ends[0]
    assert starts[2] > ends[1]
    # The cones are those that the program counts, each on its own image.
    cut = plan.crop(planned.patch)
    found = compare_cones(cut.array, result.data, cut.valid, planned.measures.spacing).matching
    record = json.loads((output / "spectrum" / "records" / f"{Path(planned.patch.name).stem}.tif.json").read_text())
    assert (len(found.pairs), len(found.lost), len(found.new)) == tuple(
        record["row"][k] for k in ("kept", "lost", "new")
    )
    assert [len(layers[role].data) for role in ("kept", "lost", "new")] == [
        2 * len(found.pairs),
        len(found.lost),
        len(found.new),
    ]
    assert text == f"cones: {len(found.pairs)} kept, {len(found.lost)} lost, {len(found.new)} new"
    assert all(layers["lost"].data[:, 1] < ends[0])
    assert all(layers["new"].data[:, 1] > starts[2] - 1)
    assert len({str(layers[role].symbol[0]) for role in ("kept", "lost", "new") if len(layers[role].data)}) >= 2
    assert layers["captions"].features["caption"].tolist() == [
        f"target {planned.patch.crop_id}",
        f"style {plan[planned.style].patch.crop_id}",
        f"result {planned.patch.crop_id}",
    ]


def test_another_patch_uses_the_same_layers(viewer, show, session):
    plan, output, short = session
    own = viewer.add_image(np.zeros((60, 70)), name="mine", contrast_limits=(0, 5))
    before = own.as_layer_data_tuple()[1]
    show.show(plan, plan.treated[0].patch.name, output, short.get)
    layers, count = show.layers(), len(viewer.layers)
    # Beside what is there, not on it.
    assert layers["target"].extent.world[0, 1] > plain(own).extent.world[1, 1]
    viewer.scene.camera.zoom = 7.0
    kept = next(planned for planned in plan.patches if not planned.treat)
    for name in (kept.patch.name, plan.treated[-1].patch.name, plan.treated[0].patch.name):
        text = show.show(plan, name, output, short.get)
        assert show.layers() == layers
        assert len(viewer.layers) == count
        assert layers["style"].visible == layers["result"].visible == plan[name].treat
        if not plan[name].treat:
            assert text.endswith("kept as it is")
            assert layers["kept"].name == "cones found"
            assert len(layers["captions"].data) == 1
    assert own.as_layer_data_tuple()[1].keys() == before.keys()
    assert (own.visible, own.name, tuple(own.contrast_limits)) == (True, "mine", (0, 5))


def test_what_is_shown_can_be_assessed(viewer, show, session, monkeypatch):
    plan, output, short = session
    planned = plan.treated[0]
    show.show(plan, planned.patch.name, output, short.get)
    assert show.has_result
    target, style, result = (show.layers()[role] for role in ROLES[:3])
    trio = trio_of(viewer, result)
    assert trio == Trio(target, result, style)
    job = assess_request(viewer, trio, None)
    np.testing.assert_array_equal(job.result_cut.take(job.result), result.data)
    np.testing.assert_array_equal(job.target_cut.take(job.target), plan.crop(planned.patch).array)
    assert job.mask is None  # all of the patch counts
    np.testing.assert_array_equal(job.plane.world["translate"], result.translate)
    # What is black border there is not assessed.
    cut = plan.crop(planned.patch)
    valid = np.zeros_like(cut.valid)
    valid[:50] = True
    monkeypatch.setattr(type(plan), "crop", lambda *_: cut._replace(valid=valid))
    show.show(plan, planned.patch.name, output, short.get)
    np.testing.assert_array_equal(assess_request(viewer, trio, None).mask, valid)
    show.show(plan, planned.patch.name, None, short.get)
    assert not show.has_result
    assert trio_of(viewer, result) is None


def test_the_zoom_stays_while_the_place_stays(viewer, show, session):
    plan, output, short = session
    one, two = (planned.patch.name for planned in plan.treated[:2])
    show.show(plan, one, output, short.get)
    viewer.scene.camera.zoom = 7.0
    show.show(plan, two, output, short.get)
    assert viewer.scene.camera.zoom == 7.0


def test_micrometres_where_they_are_known(viewer, show, session):
    plan, output, short = session
    mine = viewer.add_image(np.zeros((10, 10)), scale=(0.5, 0.5), units=("um", "um"))
    images = [image.replace(pixel_size=0.25) for image in plan.images]
    scaled = plan.replace(images=images)
    name = plan.treated[0].patch.name
    show.show(scaled, name, output, short.get)
    for layer in show.layers().values():
        assert tuple(layer.scale) == (0.25, 0.25)
        assert tuple(layer.units) == tuple(plain(mine).units)
    layers = show.layers()
    width = layers["target"].data.shape[1]
    assert 0 < layers["style"].translate[1] - layers["target"].translate[1] - 0.25 * width < 0.1 * 0.25 * width
    kept = layers["target"].world_to_data(layers["kept"].data_to_world(layers["kept"].data[0]))
    assert np.isclose(detect_cones(layers["target"].data).points, kept).all(axis=1).any()
    viewer.layers.remove(mine)
    show.show(plan, name, output, short.get)
    assert {str(unit) for layer in show.layers().values() for unit in layer.units} == {"pixel"}


def test_deleted_layers_come_again(viewer, show, session):
    plan, output, short = session
    name = plan.treated[0].patch.name
    show.show(plan, name, output, short.get)
    for role in ("style", "lost"):
        viewer.layers.remove(show.layers()[role])
    show.show(plan, name, output, short.get)
    assert set(show.layers()) == set(ROLES)
    viewer.layers.clear()
    show.show(plan, name, None, short.get)
    assert set(show.layers()) == set(ROLES)


def test_without_a_result_the_cones_of_the_target_are_marked(show, session, tmp_path):
    plan, _, short = session
    for output in (None, tmp_path / "nothing"):
        assert show.show(plan, plan.treated[0].patch.name, output, short.get).endswith("cones found")
        layers = show.layers()
        assert not layers["result"].visible
        assert layers["style"].visible
        assert len(layers["kept"].data) > 5
        assert len(layers["lost"].data) == len(layers["new"].data) == 0
