"""The layers of an assessment: what they show, that they lie on the target, and that nothing else is touched."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_nst.metrics.changes import ConeChanges
from napari_nst.viewer.assessment.input import Trio, assess_request
from napari_nst.viewer.assessment.layers import ROLES, assessment_layers, is_ours, look_at, show_assessment

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")


@pytest.fixture
def model():
    from napari.components import ViewerModel

    return ViewerModel()


class Cones(SimpleNamespace):
    """As much of `ConeChanges` as the layers need."""

    flags = ConeChanges.flags


def found(shape, rng, new=4):
    """Two of the new detections are unsupported, two shaded, one is far."""
    cones = Cones(
        kept=rng.uniform(0, 30, (6, 2)),
        lost=rng.uniform(0, 30, (2, 2)),
        new=rng.uniform(0, 30, (new, 2)),
        far=np.arange(new)[:1],
        unsupported=np.arange(new)[1:3],
        shaded=np.arange(new)[2:4],
        spacing=9.0,
        change=rng.normal(size=shape),
        suspicion=rng.random(shape),
    )
    return SimpleNamespace(cones=cones)


def images(model, rng, shape, **world):
    target = model.add_image(rng.random(shape), name="target", **world)
    return target, model.add_image(rng.random(shape), name="result", **world)


def turned_in_plane(angle):
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def state(layer):
    data, arguments, _ = layer.as_layer_data_tuple()
    return np.array(data), {key: value for key, value in arguments.items() if key not in ("metadata", "affine")}


@pytest.mark.parametrize(("shape", "hidden", "start"), [((40, 50), (), (0, 0)), ((5, 40, 50), (0,), (2, 0, 0))])
def test_everything_lies_on_the_target(model, rng, random, shape, hidden, start):
    world = random(len(shape))
    if hidden:  # a stack that is turned out of its planes has none that is shown
        world = {"scale": world["scale"], "translate": world["translate"], "rotate": turned_in_plane(0.3)}
    target, result = images(model, rng, shape, units=("um",) * len(shape), **world)
    if hidden:
        model.dims.point = target.data_to_world((2, 0, 0))
    job = assess_request(model, Trio(target, result), None)
    assert job.target_cut.start == start
    assessment = found((40, 50), rng)
    layers = show_assessment(model, assessment, job.plane, "result")
    assert list(layers) == list(ROLES)
    assert [layer.name for layer in layers.values()] == [
        *("result change", "result suspicion", "result cones kept", "result cones lost", "result cones new"),
    ]
    for role, layer in layers.items():
        assert layer.ndim == target.ndim
        assert [str(u) for u in layer.units] == [str(u) for u in target.units]
        for point in rng.uniform(0, 40, (3, target.ndim)):
            np.testing.assert_allclose(
                layer.data_to_world(point), target.data_to_world(point + np.array(start)), atol=1e-6
            )
        if role in ("kept", "lost", "new"):
            np.testing.assert_allclose(layer.data[:, -2:], getattr(assessment.cones, role))
            assert not layer.data[:, :-2].any()
        else:
            np.testing.assert_allclose(layer.data.squeeze(), getattr(assessment.cones, role), rtol=1e-6)


def test_what_they_look_like(model, rng):
    job = assess_request(model, Trio(*images(model, rng, (40, 50))), None)
    assessment = found((40, 50), rng)
    assessment.cones.suspicion[3, 4] = np.nan
    layers = show_assessment(model, assessment, job.plane, "result")
    low, high = layers["change"].contrast_limits
    assert low == -high < 0
    assert layers["suspicion"].blending == "additive"
    assert np.isfinite(layers["suspicion"].data).all()
    new = layers["new"]
    assert new.features["unsupported"].tolist() == [False, True, True, False]
    assert new.features["shaded"].tolist() == [False, False, True, True]
    assert new.features["far"].tolist() == [True, False, False, False]
    # Told apart by shape and size, not by colour alone.
    assert len({str(layers[role].symbol[0]) for role in ("kept", "lost", "new")}) == 3
    assert new.size[1] == new.size[2] > new.size[0] == layers["kept"].size[0]
    assert new.border_width[1] == new.border_width[3] > new.border_width[0]
    assert not np.array_equal(new.border_color[0], new.border_color[1])
    assert 0 < layers["kept"].size[0] < 9  # less than a spacing: neighbours do not cover each other
    for role in ("kept", "lost", "new"):
        assert not layers[role].face_color[:, 3].any()


def test_nothing_found(model, rng):
    job = assess_request(model, Trio(*images(model, rng, (40, 50))), None)
    assessment = found((40, 50), rng, new=0)
    assessment.cones.kept = assessment.cones.lost = np.empty((0, 2))
    assessment.cones.change = np.zeros((40, 50))
    layers = show_assessment(model, assessment, job.plane, "result")
    assert [len(layers[role].data) for role in ("kept", "lost", "new")] == [0, 0, 0]


def test_again_in_the_place_of_the_old_ones(model, rng):
    target, result = images(model, rng, (40, 50))
    model.layers.selection.active = target
    before = [state(layer) for layer in (target, result)]
    job = assess_request(model, Trio(target, result), None)
    old = show_assessment(model, found((40, 50), rng), job.plane, "result")
    assert set(model.layers.selection) == {target}
    assert model.layers.selection.active is target
    assert not old["change"].visible
    assert all(old[role].visible for role in ROLES[1:])
    old["change"].visible, old["kept"].visible = True, False
    model.layers.remove(old["lost"])
    mine = model.add_points(np.zeros((1, 2)), name="result cones new")
    new = show_assessment(model, found((40, 50), rng, new=7), job.plane, "other")
    assert [layer for layer in model.layers if is_ours(layer)] == list(new.values())
    assert [layer for layer in model.layers if not is_ours(layer)] == [target, result, mine]
    assert assessment_layers(model) == new
    assert [new[role].visible for role in ROLES] == [True, True, False, True, True]
    assert len(new["new"].data) == 7
    for layer, (data, arguments) in zip((target, result), before, strict=True):
        np.testing.assert_array_equal(layer.data, data)
        assert {key: str(arguments[key]) for key in arguments} == {k: str(v) for k, v in state(layer)[1].items()}


def test_the_camera_goes_to_a_place(model, rng):
    target, result = images(model, rng, (5, 40, 50), scale=(3, 2, 2), translate=(7, 100, 200))
    model.dims.set_point(0, 13)
    job = assess_request(model, Trio(target, result), None)
    layers = show_assessment(model, found((40, 50), rng), job.plane, "result")
    model.dims.set_point(0, 7)
    zooms = []
    for radius in (5.0, 10.0):
        look_at(model, layers["new"], 12.0, 31.0, radius, job.plane.axes)
        assert model.scene.camera.center[-2:] == pytest.approx((100 + 24, 200 + 62))
        assert model.dims.point[0] == pytest.approx(13)
        zooms.append(model.scene.camera.zoom)
    assert zooms[0] == pytest.approx(2 * zooms[1])
