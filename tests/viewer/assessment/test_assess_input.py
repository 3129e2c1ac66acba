"""What an assessment takes from the layers, and where it lies."""

import numpy as np
import pytest

from napari_nst.errors import ImageError
from napari_nst.imaging.masks import pack_mask
from napari_nst.viewer.assessment.input import AS_RUN, Trio, assess_request, known_scale, trio_of, trio_selected
from napari_nst.viewer.common.compare import remember
from napari_nst.viewer.common.region import BORDER, NO_MASK

# napari warns when it shows a stack that is turned out of its slicing plane; the geometry is meant all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")


@pytest.fixture
def model():
    from napari.components import ViewerModel

    return ViewerModel()


def record(start=None, stop=None, kind="rectangle", axes=None, **more):
    """Metadata as a run leaves them."""
    region = {} if start is None else {"target": {"kind": kind, "start": start, "stop": stop, "axes": axes or [-2, -1]}}
    return {"napari_nst": {"napari_nst": "0", "parameters": {"preset": "texture"}, "region": region, **more}}


def add_result(model, target, data, metadata, style=None, **world):
    result = model.add_image(data, name=f"{target.name} styled", metadata=metadata, **world)
    remember(result, target, style)
    return result


def select(model, *layers):
    model.layers.selection.clear()
    model.layers.selection.update(layers)


# Which layers ----------------------------------------------------------------------------------------------------


def test_of_two_the_lower_is_the_target_whichever_was_clicked_first(model, rng):
    one, two, _ = (model.add_image(rng.random((20, 20))) for _ in range(3))
    for order in ((one, two), (two, one)):
        select(model, *order)
        assert trio_selected(model, list(model.layers)) == Trio(one, two)


def test_a_result_is_never_the_target_of_its_target(model, rng):
    target, style = (model.add_image(rng.random((20, 20))) for _ in range(2))
    result = add_result(model, target, rng.random((20, 20)), record(), style)
    model.layers.move(2, 0)
    select(model, target, result)
    assert trio_selected(model, list(model.layers)) == Trio(target, result, style)
    # Alone, or with nothing selected that belongs to anything, it is found as well.
    for layers in ((result,), (style,), ()):
        select(model, *layers)
        assert trio_selected(model, list(model.layers)) == Trio(target, result, style)


def test_nothing_to_assess(model, rng):
    layer = model.add_image(rng.random((20, 20)))
    for layers in ((), (layer,)):
        select(model, *layers)
        assert trio_selected(model, list(model.layers)) is None
    result = add_result(model, layer, rng.random((20, 20)), record())
    model.layers.remove(layer)
    assert trio_selected(model, [result]) is None


def test_the_images_of_a_session_belong_together(model, rng):
    def add(role, patch, **more):
        about = {"role": role, "patch": patch, "folder": "retina"}
        return model.add_image(rng.random((20, 20)), metadata={"napari_nst_session": about}, **more)

    images = [add(role, "a", translate=(0, 30 * n)) for n, role in enumerate(("target", "style", "result"))]
    others = [add(role, "b") for role in ("target", "style")] + [add("result", "b", visible=False)]
    target, style, result = images
    for layer in images:
        assert trio_of(model, layer) == Trio(target, result, style)
    assert trio_of(model, others[0]) is None  # its patch has no result
    # They lie beside each other: what is marked belongs on the result.
    job = assess_request(model, Trio(target, result, style), None)
    np.testing.assert_array_equal(job.plane.world["translate"], (0, 60))


# Which pixels, and where they lie --------------------------------------------------------------------------------


def lies_on(plane, base, start, rng):
    """Random points of the assessed plane lie where those of the layer lie."""
    from napari.layers import Image

    shape = [1 if axis in plane.hidden else 20 for axis in range(plane.ndim)]
    layer = Image(np.zeros(shape), **plane.world)
    for point in rng.uniform(-5, 40, (5, base.ndim)):
        np.testing.assert_allclose(layer.data_to_world(point), base.data_to_world(point + np.array(start)), atol=1e-6)
    assert [str(u) for u in layer.units] == [str(u) for u in base.units]


def test_a_region_is_cut_out_of_the_target(model, rng, random):
    target = model.add_image(rng.random((60, 70)), units=("um", "um"), **random(2))
    style = model.add_image(rng.random((40, 44)))
    data = rng.random((30, 40))
    metadata = record([10, 20], [40, 60], axes=[0, 1])
    metadata["napari_nst"]["region"]["style"] = {"kind": "rectangle", "start": [1, 2], "stop": [31, 42], "axes": [0, 1]}
    result = add_result(model, target, data, metadata, style)
    result.translate = (900, 900)  # the record counts, wherever the layer was moved to
    job = assess_request(model, trio_of(model, result), 0.4)
    np.testing.assert_array_equal(job.target_cut.take(job.target), target.data[10:40, 20:60])
    np.testing.assert_array_equal(job.result_cut.take(job.result), data)
    np.testing.assert_array_equal(job.style_cut.take(job.style), style.data[1:31, 2:42])
    assert job.scale == 0.4
    lies_on(job.plane, target, (10, 20), rng)


def test_the_recorded_plane_of_a_stack(model, rng, random):
    target = model.add_image(rng.random((5, 30, 40)), **random(3))
    data = rng.random((1, 30, 40))
    result = add_result(model, target, data, record([3, 0, 0], [4, 30, 40], "current plane", [1, 2]))
    job = assess_request(model, trio_of(model, result), None)
    np.testing.assert_array_equal(job.target_cut.take(job.target), target.data[3])
    np.testing.assert_array_equal(job.result_cut.take(job.result), data[0])
    assert (job.plane.hidden, job.plane.axes) == ((0,), (1, 2))
    lies_on(job.plane, target, (3, 0, 0), rng)


def test_of_all_planes_the_one_that_is_shown(model, rng):
    target = model.add_image(rng.random((5, 30, 40)), scale=(2, 1, 1))
    data = rng.random((5, 30, 40))
    metadata = record([0, 0, 0], [5, 30, 40], "all planes", [1, 2])
    result = add_result(model, target, data, metadata, scale=(2, 1, 1))
    model.dims.set_point(0, 6)
    job = assess_request(model, trio_of(model, result), None)
    np.testing.assert_array_equal(job.target_cut.take(job.target), target.data[3])
    np.testing.assert_array_equal(job.result_cut.take(job.result), data[3])
    # The same for two stacks without a record.
    other = model.add_image(data[::-1].copy(), scale=(2, 1, 1))
    job = assess_request(model, Trio(target, other), None)
    np.testing.assert_array_equal(job.target_cut.take(job.target), target.data[3])
    np.testing.assert_array_equal(job.result_cut.take(job.result), data[1])


def test_a_record_of_another_target_does_not_count(model, rng):
    target, other = model.add_image(rng.random((60, 70))), model.add_image(rng.random((30, 40)))
    result = add_result(model, target, rng.random((30, 40)), record([10, 20], [40, 60], axes=[0, 1]))
    job = assess_request(model, Trio(other, result), None)
    np.testing.assert_array_equal(job.target_cut.take(job.target), other.data)


@pytest.mark.parametrize(
    ("shape", "rgb", "message"),
    [((20, 21), False, "20 × 20 pixels large .* 20 × 21"), ((20, 20, 3), True, "RGB image.*gray")],
)
def test_what_cannot_be_compared_is_reported(model, rng, shape, rgb, message):
    one, two = model.add_image(rng.random((20, 20)), name="one"), model.add_image(rng.random(shape), rgb=rgb)
    with pytest.raises(ImageError, match=message):
        assess_request(model, Trio(one, two), None)
    with pytest.raises(ImageError, match=r"same layer, 'one'"):
        assess_request(model, Trio(one, one), None)


def test_masks(model, rng):
    target = model.add_image(rng.random((30, 40)))
    mask = np.zeros((20, 20), bool)
    mask[3:9, 4:15] = True
    metadata = record([5, 6], [25, 26], axes=[0, 1], arguments={"mask": pack_mask(mask), "style_mask": None})
    trio = Trio(target, add_result(model, target, rng.random((20, 20)), metadata))
    np.testing.assert_array_equal(assess_request(model, trio, None).mask, mask)
    assert assess_request(model, trio, None, NO_MASK).mask is None
    assert assess_request(model, trio, None, BORDER).mask == "border"
    painted = np.zeros((30, 40), int)
    painted[10:20, 10:30] = 2
    labels = model.add_labels(painted)
    np.testing.assert_array_equal(assess_request(model, trio, None, labels).mask, painted[5:25, 6:26] > 0)
    # Without a record, or with one for an image of another size, all pixels count.
    metadata["napari_nst"]["arguments"]["mask"] = pack_mask(mask[:10])
    assert assess_request(model, trio, None).mask is None
    assert assess_request(model, Trio(target, model.add_image(rng.random((30, 40)))), None, AS_RUN).mask is None
    metadata["napari_nst"]["arguments"]["mask"] = "border"
    assert assess_request(model, trio, None).mask == "border"


@pytest.mark.parametrize(
    ("units", "scale", "expected", "why"),
    [
        (("um", "um"), (0.4, 0.4), 0.4, ""),
        (("mm", "mm"), (4e-4, 4e-4), 0.4, ""),
        (("pixel", "pixel"), (0.4, 0.4), None, "no lengths"),
        (("um", "um"), (0.4, 0.5), None, "not square"),
    ],
)
def test_the_scale_of_a_layer(model, rng, units, scale, expected, why):
    found, reason = known_scale(model.add_image(rng.random((9, 9)), units=units, scale=scale), model)
    assert found == (None if expected is None else pytest.approx(expected))
    assert why in reason
    assert bool(why) == bool(reason)
