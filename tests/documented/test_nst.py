"""The documented classes: signatures, attributes, steps, files."""

import csv
import inspect

import numpy as np
import pytest
import torch
from PIL import Image

import oracle
from napari_nst import NST, ImageFile, NSTPipelineManager, StyleTransferParameters
from napari_nst.engine import objective
from napari_nst.errors import DivergenceError, ImageError, ParameterError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def images(pair):
    return pair.style[:24, :32], pair.target[:24, :32]


@pytest.fixture(scope="module")
def files(images):
    return ImageFile("some/where/good.tif", images[0]), ImageFile("poor.png", images[1])


@pytest.fixture(scope="module")
def done(files):
    manager = NSTPipelineManager(*files, alpha=2, beta=0.3, epoch=3)
    manager.returned = manager.run()
    return manager


def names_and_defaults(function):
    parameters = list(inspect.signature(function).parameters.values())
    return [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def test_the_signatures_are_the_documented_ones():
    images = [("style_img_file", inspect.Parameter.empty), ("original_image_file", inspect.Parameter.empty)]
    weights = [("alpha", 1.0), ("beta", 0.1), ("lr", 0.001)]
    empty = inspect.Parameter.empty
    assert names_and_defaults(NST.__init__) == images + weights
    assert names_and_defaults(NSTPipelineManager.__init__) == [*images, *weights, ("epoch", 100)]
    assert names_and_defaults(NST.calculate_losses) == []
    assert names_and_defaults(NST.optimize) == [("original_loss", empty), ("style_loss", empty)]
    gram = [(name, empty) for name in ("feature", "channel", "height", "width")]
    assert names_and_defaults(NST.compute_gram_matrix) == gram
    assert names_and_defaults(NST.load_image) == [("image", empty)]
    for name, expected in {
        "run": [], "log_losses": ["losses"], "should_stop": ["total_loss"], "generate_plot": ["directory"],
        "save_losses": ["directory"],
    }.items():  # fmt: skip
        assert [n for n, _ in names_and_defaults(getattr(NSTPipelineManager, name))] == expected


def test_the_attributes_are_the_documented_ones(files):
    nst = NST(*files)
    assert isinstance(NST.device, torch.device)
    assert isinstance(nst.optimizer, torch.optim.Adam)
    assert nst.generated.requires_grad
    assert (nst.alpha, nst.beta) == (1.0, 0.1)
    for tensor in (nst.style_img, nst.original_img, nst.generated):
        assert tensor.shape == (1, 3, 24, 32)
        assert tensor.dtype == torch.float32
        assert 0 <= tensor.min() <= tensor.max() <= 1
    assert torch.equal(nst.generated.detach(), nst.original_img)
    assert nst.generated is not nst.original_img
    loaded = NST.loader(Image.fromarray(np.full((20, 30, 3), 255, np.uint8)))
    assert loaded.shape == (3, 20, 30)
    assert loaded.max() == 1


def test_one_network_serves_all_instances(files):
    one, other = NST(*files), NST(*files, alpha=5.0)
    assert one.model is other.model is NST.model
    assert not NST.model.training
    assert [f.shape[1] for f in NST.model(one.original_img)] == [64, 128, 256, 512, 512]


def test_a_manager_runs_its_steps_and_keeps_its_losses(done, images):
    assert done.generated is done.nst.generated is done.returned
    assert len(done.style_losses) == len(done.original_losses) == len(done.total_losses) == 3
    assert done.original_losses[0] == 0
    for style, original, total in zip(done.style_losses, done.original_losses, done.total_losses, strict=True):
        assert isinstance(total, np.ndarray | np.floating)
        assert float(total) == pytest.approx(2 * float(original) + 0.3 * float(style), rel=1e-6)
    moved = (done.generated.detach() - done.nst.original_img).abs().max()
    assert 0 < moved <= 0.0031


def test_should_stop_is_the_number_of_steps(files):
    manager = NSTPipelineManager(*files, epoch=2)
    assert not manager.should_stop(torch.tensor(1.0))
    manager.total_losses += [np.float32(1)] * 2
    assert manager.should_stop(torch.tensor(1.0))


def test_the_manager_does_what_its_parts_do(files, done):
    nst = NST(*files, alpha=2, beta=0.3)
    for step in range(3):
        original_loss, style_loss = nst.calculate_losses()
        total = nst.optimize(original_loss, style_loss)
        assert float(total) == float(done.total_losses[step])
    assert torch.equal(nst.generated, done.generated)


def test_optimize_refuses_losses_that_are_not_the_last(files):
    nst = NST(*files)
    with pytest.raises(ParameterError, match="returned last"):
        nst.optimize(torch.tensor(1.0), torch.tensor(2.0))
    stale = nst.calculate_losses()
    fresh = nst.calculate_losses()
    with pytest.raises(ParameterError, match="returned last"):
        nst.optimize(*stale)
    with pytest.raises(ParameterError, match="returned last"):
        nst.optimize(*reversed(fresh))
    nst.optimize(*fresh)
    with pytest.raises(ParameterError, match="returned last"):
        nst.optimize(*fresh)


def test_weights_may_be_changed_between_steps(files, images):
    nst = NST(*files)
    losses = nst.calculate_losses()
    nst.beta = 0.7
    with pytest.raises(ParameterError, match="alpha or beta changed"):
        nst.optimize(*losses)
    original, style = nst.calculate_losses()
    assert float(nst.optimize(original, style)) == pytest.approx(0.7 * float(style), rel=1e-6)


def test_the_gram_matrix_is_not_normalized():
    feature = torch.randn(1, 4, 5, 6)
    expected = torch.einsum("cyx,dyx->cd", feature[0], feature[0])
    torch.testing.assert_close(NST.compute_gram_matrix(feature, 4, 5, 6), expected)
    torch.testing.assert_close(NST.compute_gram_matrix(feature, 4, 5, 6), oracle.compute_gram_matrix(feature, 4, 5, 6))


@pytest.mark.parametrize("color", [False, True])
def test_files_arrays_and_pil_images_are_the_same(color, images):
    style, target = (np.stack([p, p[::-1], p // 2], axis=-1) if color else p for p in images)
    kinds = [
        (ImageFile("a.tif", style), ImageFile("b.tif", target)),
        (style, target),
        (Image.fromarray(style), Image.fromarray(target)),
    ]
    managers = [NSTPipelineManager(*kind, epoch=1) for kind in kinds]
    results = [manager.run() for manager in managers]
    assert torch.equal(results[0], results[1])
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-7)  # torchvision divides in single precision


def test_alpha_is_dropped(images):
    rgba = np.stack([*[images[1]] * 3, images[0]], axis=-1)
    assert torch.equal(NST(images[0], rgba).original_img, NST(images[0], images[1]).original_img)


def test_sixteen_bits_take_no_detour_through_eight(images):
    deep = images[1].astype(np.uint16) * 100 + np.arange(32, dtype=np.uint16)
    tensor = NST(images[0], deep).original_img
    expected = (deep.astype(float) - deep.min()) / (float(deep.max()) - deep.min())
    np.testing.assert_allclose(tensor[0, 1], expected, atol=1e-7)
    assert len(tensor.unique()) > 256
    from_pil = NST(images[0], Image.fromarray(deep)).original_img
    assert torch.equal(tensor, from_pil)
    floating = NST(images[0], Image.fromarray(deep.astype(np.float32))).original_img
    torch.testing.assert_close(tensor, floating)


@pytest.mark.parametrize("kind", ["array", "pil"])
def test_a_size_resizes_as_documented(kind, pair):
    style, target = (p if kind == "array" else Image.fromarray(p) for p in (pair.style, pair.target))
    nst = NST(style, target, size=40)
    assert nst.original_img.shape == nst.style_img.shape == (1, 3, 40, 40)
    from torchvision import transforms

    rgb = Image.fromarray(pair.target).convert("RGB")
    documented = transforms.Compose([transforms.Resize((40, 40)), transforms.ToTensor()])(rgb)
    torch.testing.assert_close(nst.original_img[0].cpu(), documented, rtol=0, atol=2.5 / 255)


def test_images_keep_their_own_size_unless_asked(pair):
    nst = NST(pair.style[:48, :33], pair.target)
    assert nst.original_img.shape[-2:] == pair.target.shape
    assert nst.style_img.shape[-2:] == (48, 33)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 20, 20)), "stack of shape"),
        (np.zeros((10, 40)), "10 × 40 pixels"),
        (Image.fromarray(np.zeros((10, 40), np.uint8)), "10 × 40 pixels"),
        (np.full((20, 20), np.nan), "NaN"),
        (np.full((20, 20), 3.0), "constant"),
        (np.ones((20, 20), bool), "bool"),
        ("patch.tif", r"ImageFile\('patch.tif'\)"),
        (None, "got NoneType"),
    ],
    ids=["stack", "small", "small pil", "nan", "constant", "bool", "path", "none"],
)
def test_what_is_no_image_is_refused(image, message, images):
    with pytest.raises(ImageError, match=message):
        NST(images[0], image)
    with pytest.raises(ImageError, match=message):
        NSTPipelineManager(image, images[1])


@pytest.mark.parametrize("given_", [{"alpha": -1}, {"beta": "x"}, {"lr": 0}, {"epoch": 0}, {"size": 8}])
def test_settings_are_checked(given_, files):
    with pytest.raises(ParameterError, match=next(iter(given_))):
        NSTPipelineManager(*files, **given_)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_image(files, monkeypatch):
    plain, seen = objective.Objective.evaluate, []

    def evaluate(self, x):
        seen.append(x.detach().clone())
        found = plain(self, x)
        return found._replace(losses=found.losses * float("nan")) if len(seen) == 3 else found

    manager = NSTPipelineManager(*files, epoch=9)
    monkeypatch.setattr(objective.Objective, "evaluate", evaluate)
    with pytest.raises(DivergenceError, match="step 2 of 9") as caught:
        manager.run()
    assert caught.value.step == 2
    assert torch.equal(caught.value.partial, seen[1])


# Files


def test_losses_are_three_rows_without_a_header(done, tmp_path):
    path = done.save_losses(tmp_path)
    assert path == tmp_path / "poor_good.csv"
    with path.open(newline="") as file:
        rows = [[float(value) for value in row] for row in csv.reader(file)]
    expected = [done.style_losses, done.original_losses, done.total_losses]
    assert rows == [[float(v) for v in row] for row in expected]


def test_the_plot_goes_to_its_folder(done, tmp_path):
    path = done.generate_plot(str(tmp_path / "new"))
    assert path == tmp_path / "new" / "nst" / "poor_good_2.0_0.3.png"
    with Image.open(path) as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_without_a_name_of_the_style_the_fallback_names_apply(images, files, tmp_path):
    manager = NSTPipelineManager(images[0], files[1], epoch=1)
    manager.run()
    assert manager.save_losses(tmp_path).name == "poor_.csv"
    assert manager.generate_plot(tmp_path).name == "poor_1.0_0.1.png"


def test_a_pil_image_is_named_after_its_file(images, tmp_path):
    for name, image in zip(("good.png", "poor.png"), images, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    with Image.open(tmp_path / "good.png") as style, Image.open(tmp_path / "poor.png") as target:
        manager = NSTPipelineManager(style, target, epoch=1)
    manager.run()
    assert manager.save_losses(tmp_path).name == "poor_good.csv"


def test_arrays_have_a_name_too(images, tmp_path):
    manager = NSTPipelineManager(*images, epoch=1)
    manager.run()
    assert manager.save_losses(tmp_path).name == "image_.csv"


def test_nothing_is_overwritten(done, tmp_path):
    first, second = done.save_losses(tmp_path), done.save_losses(tmp_path)
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    assert done.generate_plot(tmp_path) != done.generate_plot(tmp_path)


def test_the_network_is_never_less_than_float32(files):
    assert NST(*files).parameters.precision == "float32"
    assert NST.model.dtype == torch.float32
    assert StyleTransferParameters().preset == NST(*files).parameters.preset == "documented"
