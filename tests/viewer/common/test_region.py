"""Geometry: what a region means, and that it is found again in the world."""

import dask.array as da
import numpy as np
import pytest

from napari_nst.errors import ImageError
from napari_nst.viewer.common.layers import carried_over, plain
from napari_nst.viewer.common.region import (
    ALL,
    PLANE,
    WHOLE,
    Cut,
    cut_layer,
    mask_from_labels,
    pixel_sizes,
    region_choices,
)

# napari warns when it shows a stack that is turned out of its slicing plane; the geometry is meant all the same.
pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")


@pytest.fixture
def model():
    from napari.components import ViewerModel

    return ViewerModel()


def rectangle(y0, x0, y1, x1):
    return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], dtype=float)


def same_place(target, cut, result, rng):
    """Random points of the crop lie where they lay in the target."""
    for point in rng.uniform(-5, 40, (8, target.ndim)):
        np.testing.assert_allclose(
            result.data_to_world(point),
            target.data_to_world(point + np.array(cut.start)),
            rtol=1e-9,
            atol=1e-7,
        )


@pytest.mark.parametrize("trial", range(5))
def test_a_rectangle_lies_where_it_was_drawn(model, random, rng, trial):
    for _ in range(trial):
        rng.normal()  # another world for each trial
    target = model.add_image(rng.random((60, 70)), **random(2))
    corners = rectangle(9.8, 20.2, 42.1, 51.9)
    shapes = model.add_shapes([np.array([target.data_to_world(corner) for corner in corners])], shape_type="rectangle")
    cut = cut_layer(target, model, shapes, "target")
    assert cut.start == (10, 20)
    assert cut.stop == (42, 52)
    np.testing.assert_array_equal(cut.take(target.data), target.data[10:42, 20:52])
    result = model.add_image(cut.put(cut.take(target.data)), **carried_over(target, cut))
    same_place(target, cut, result, rng)


def test_a_rectangle_in_a_transformed_shapes_layer(model, random, rng):
    target = model.add_image(rng.random((60, 70)), scale=(0.5, 0.25), translate=(3, 4))
    world = {"scale": (2, 2), "translate": (-7, 5)}
    corners = [target.data_to_world(c) for c in rectangle(10, 20, 42, 52)]
    shapes = model.add_shapes([(np.array(corners) - (-7, 5)) / 2], shape_type="rectangle", **world)
    cut = cut_layer(target, model, shapes, "target")
    assert (cut.start, cut.stop) == ((10, 20), (42, 52))


def test_units_of_the_shapes_are_converted(model, rng):
    target = model.add_image(rng.random((60, 70)), units=("um", "um"))
    shapes = model.add_shapes([rectangle(0.010, 0.020, 0.042, 0.052)], shape_type="rectangle", units=("mm", "mm"))
    cut = cut_layer(target, model, shapes, "target")
    assert (cut.start, cut.stop) == ((10, 20), (42, 52))


def test_the_selected_rectangle_counts_else_the_last(model, rng):
    target = model.add_image(rng.random((60, 70)))
    shapes = model.add_shapes(
        [rectangle(0, 0, 20, 20), rectangle(1, 1, 21, 22), rectangle(2, 2, 40, 40)],
        shape_type=["rectangle", "rectangle", "ellipse"],
    )
    shapes.selected_data = set()
    assert cut_layer(target, model, shapes, "target").start == (1, 1)
    shapes.selected_data = {0, 1}
    assert cut_layer(target, model, shapes, "target").start == (0, 0)


def test_a_rectangle_is_clipped_to_the_image(model, rng):
    target = model.add_image(rng.random((60, 70)))
    shapes = model.add_shapes([rectangle(-30, 40, 25, 500)], shape_type="rectangle")
    cut = cut_layer(target, model, shapes, "target")
    assert (cut.start, cut.stop) == ((0, 40), (25, 70))


@pytest.mark.parametrize(
    ("corners", "kind", "message"),
    [
        ((100, 100, 150, 150), "rectangle", "outside the target"),
        ((10, 10, 20, 50), "rectangle", "10 × 40 pixels .* at least 16 × 16"),
        ((10, 10, 40, 50), "ellipse", "no rectangle"),
    ],
)
def test_a_rectangle_that_cannot_be_used(model, rng, corners, kind, message):
    target = model.add_image(rng.random((60, 70)))
    shapes = model.add_shapes([rectangle(*corners)], shape_type=kind)
    with pytest.raises(ImageError, match=message):
        cut_layer(target, model, shapes, "target")


@pytest.mark.parametrize("trial", range(3))
def test_a_plane_of_a_stack_is_put_back_in_any_world(model, random, rng, trial):
    for _ in range(trial):
        rng.normal()
    target = model.add_image(rng.random((5, 30, 40)), **random(3))
    cut = Cut((2, 0, 0), (3, 30, 40), (1, 2), False, PLANE)
    result = model.add_image(cut.put(cut.take(target.data)), **carried_over(target, cut))
    assert result.data.shape == (1, 30, 40)
    same_place(target, cut, result, rng)


def test_the_plane_that_the_viewer_shows(model, rng):
    target = model.add_image(rng.random((5, 30, 40)), scale=(2, 1, 1), translate=(10, 0, 0))
    model.dims.set_point(0, 16)
    cut = cut_layer(target, model, PLANE, "target")
    assert (cut.start, cut.stop) == ((3, 0, 0), (4, 30, 40))
    np.testing.assert_array_equal(cut.take(target.data), target.data[3])
    result = model.add_image(cut.put(cut.take(target.data)), **carried_over(target, cut))
    np.testing.assert_allclose(result.data_to_world((0, 0, 0)), (16, 0, 0))


def test_a_layer_of_fewer_dimensions_has_the_last_axes(model, rng):
    model.add_image(rng.random((4, 5, 30, 40)))
    stack = model.add_image(rng.random((5, 30, 40)))
    flat = model.add_image(rng.random((30, 40)))
    model.dims.point = (3, 4, 0, 0)
    assert cut_layer(stack, model, PLANE, "target").start == (4, 0, 0)
    assert cut_layer(flat, model, WHOLE, "target").start == (0, 0)


def test_rolled_axes(model, rng):
    stack = model.add_image(rng.random((20, 30, 40)))
    model.dims.order = (1, 0, 2)
    model.dims.point = (0, 7, 0)
    cut = cut_layer(stack, model, PLANE, "target")
    assert cut.axes == (0, 2)
    np.testing.assert_array_equal(cut.take(stack.data), stack.data[:, 7])
    assert cut.put(cut.take(stack.data)).shape == (20, 1, 40)
    everything = cut_layer(stack, model, ALL, "target")
    assert everything.take(stack.data).shape == (30, 20, 40)
    np.testing.assert_array_equal(everything.put(everything.take(stack.data)), stack.data)
    np.testing.assert_array_equal(stack.data[everything.index_of((7,))], everything.take(stack.data)[7])


def test_a_position_off_the_stack_is_refused(model, rng):
    model.add_image(rng.random((9, 30, 40)))
    short = model.add_image(rng.random((3, 30, 40)), name="short")
    model.dims.set_point(0, 7)
    with pytest.raises(ImageError, match=r"plane 7 of the style 'short'.*planes 0 to 2"):
        cut_layer(short, model, PLANE, "style")


def test_color_is_no_axis(model, rng):
    target = model.add_image(rng.random((3, 30, 40, 3)), rgb=True)
    model.dims.set_point(0, 1)
    cut = cut_layer(target, model, PLANE, "target")
    assert cut.take(target.data).shape == (30, 40, 3)
    assert cut.put(cut.take(target.data)).shape == (1, 30, 40, 3)
    everything = cut_layer(target, model, ALL, "target")
    np.testing.assert_array_equal(everything.put(everything.take(target.data)), target.data)


def test_only_the_part_is_computed(model):
    """A Dask stack of which every other plane fails."""

    def load(block_info=None):
        if block_info[None]["chunk-location"][0] != 2:
            raise AssertionError("a plane was computed that nobody asked for")
        return np.ones((1, 30, 40))

    data = da.map_blocks(load, chunks=((1,) * 5, (30,), (40,)), dtype=float)
    cut = Cut((2, 0, 0), (3, 30, 40), (1, 2), False, "current plane")
    assert np.asarray(cut.take(data)).shape == (30, 40)


def test_multiscale_layers_use_their_finest_level(model, rng):
    levels = [rng.random((64, 80)), rng.random((32, 40))]
    target = model.add_image(levels, multiscale=True)
    cut = cut_layer(target, model, WHOLE, "target")
    assert cut.plane_shape == (64, 80)


def test_what_can_be_chosen(model, rng):
    flat, stack = model.add_image(rng.random((30, 40))), model.add_image(rng.random((4, 30, 40)))
    shapes = model.add_shapes([], name="roi")
    assert region_choices(model, flat) == [(WHOLE, WHOLE), ("rectangle in roi", shapes)]
    assert [value for _, value in region_choices(model, stack)] == [PLANE, ALL, shapes]


def test_masks_are_looked_up_in_the_world(model, rng):
    target = model.add_image(rng.random((40, 50)), scale=(2, 2), translate=(10, 20))
    painted = np.zeros((50, 70), dtype=int)
    # A label of 10 × 12 world units at (30, 40): pixels 10..14, 10..15 of the target.
    labels = model.add_labels(painted, scale=(1, 1), translate=(20, 30))
    labels.data[10:20, 10:22] = 7
    cut = cut_layer(target, model, WHOLE, "target")
    mask = mask_from_labels(labels, target, cut, model)
    expected = np.zeros((40, 50), dtype=bool)
    expected[10:15, 10:16] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_mask_of_the_same_grid_is_exact_in_any_world(model, random, rng):
    world = random(2)
    target = model.add_image(rng.random((40, 50)), **world)
    labels = model.add_labels((rng.random((40, 50)) > 0.5).astype(int), **world)
    cut = Cut((3, 4), (33, 44), (0, 1), False, "rectangle")
    np.testing.assert_array_equal(mask_from_labels(labels, target, cut, model), labels.data[3:33, 4:44] > 0)


def test_a_mask_of_a_stack_is_that_of_the_plane(model, rng):
    target = model.add_image(rng.random((3, 20, 30)))
    labels = model.add_labels(rng.integers(0, 2, (3, 20, 30)))
    model.dims.set_point(0, 2)
    for region in (PLANE, ALL):
        cut = cut_layer(target, model, region, "target")
        np.testing.assert_array_equal(mask_from_labels(labels, target, cut, model), labels.data[2] > 0)
    flat = model.add_labels(rng.integers(0, 2, (20, 30)))
    np.testing.assert_array_equal(mask_from_labels(flat, target, cut, model), flat.data > 0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, (None, None)),
        ({"units": ("um",) * 2, "scale": (0.5, 0.25)}, {}, (None, None)),
        (
            {"units": ("um",) * 2, "scale": (0.5, 0.25)},
            {"units": ("nm",) * 2, "scale": (100, 200)},
            ((0.5, 0.25), (0.1, 0.2)),
        ),
        ({"scale": (2, 2)}, {"scale": (1, -3)}, ((2, 2), (1, 3))),
    ],
)
def test_pixel_sizes(model, rng, first, second, expected):
    target, style = (model.add_image(rng.random((20, 30)), **world) for world in (first, second))
    cut = cut_layer(target, model, WHOLE, "target")
    found = pixel_sizes(target, cut, style, cut)
    assert (found == expected) if expected[0] is None else np.allclose(found, expected)


def test_plain_takes_a_layer_out_of_its_proxy(model, rng):
    from napari.utils._proxies import PublicOnlyProxy

    layer = model.add_image(rng.random((20, 30)))
    assert plain(PublicOnlyProxy(layer)) is layer
    assert plain(layer) is layer
