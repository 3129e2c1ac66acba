"""Reading and writing images, against tifffile, Pillow and OpenCV, and on the damaged files of a camera."""

import hashlib
import io
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from napari_nst.errors import FileError, ImageError
from napari_nst.io import images
from napari_nst.io.images import ImageFile, image_stem, read_image

AOSLO = Path(__file__).resolve().parents[3] / "shared" / "data" / "aoslo"
DAMAGED = sorted(AOSLO.glob("206-*.tif"))

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def noise(shape, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


# --- reading


@pytest.mark.parametrize("path", DAMAGED or [None], ids=lambda path: path.stem[-12:] if path else "none")
def test_a_camera_file_with_a_damaged_directory_is_read(path, caplog):
    if path is None:
        pytest.skip(f"the folder {AOSLO.name} with real images is not beside this checkout")
    images._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, logger="napari_nst"):
        array, info = read_image(path)
        read_image(path)  # which is reported once
    assert array.shape == (800, 800)
    assert array.dtype == np.uint16
    assert np.array_equal(array, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    assert 33_000 < array.min() < array.max() < 60_800
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert info.pixel_size is None
    assert [r.name for r in caplog.records if "directory" in r.message] == ["napari_nst.io.images"]
    # The values fill only a part of the 16 bits: shown by clipping, they would be white.
    shown = np.asarray(ImageFile(path).to_pil_rgb_image())
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_damaged_directory_is_read_without_the_real_files_too(tmp_path, caplog):
    image = noise((20, 30), "uint16")
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, image, metadata=None, byteorder="<")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.offset
        offset = start + 2 + 12 * int.from_bytes(raw[start : start + 2], "little")
        data = tiff.pages.first.dataoffsets[0]
    # The pointer to the next page now points into the pixels, which say 60000 tags.
    raw[offset : offset + 4] = data.to_bytes(4, "little")
    raw[data : data + 2] = (60000).to_bytes(2, "little")
    image[0, 0] = 60000
    path.write_bytes(raw)
    with pytest.raises(tifffile.TiffFileError):
        tifffile.imread(path)
    array, _ = read_image(path)
    assert np.array_equal(array, image)
    assert "directory of the TIFF file is damaged" in caplog.text


@pytest.mark.parametrize("kind", ["confocal", "split_det"])
def test_real_images_are_read_as_opencv_reads_them(kind):
    paths = sorted(AOSLO.glob(f"CS_*{kind}*.tif"))
    if not paths:
        pytest.skip(f"the folder {AOSLO.name} with real images is not beside this checkout")
    for path in paths:
        assert np.array_equal(ImageFile(path).data, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}, {"tile": (16, 16)}]
)
def test_tiffs_of_tifffile_are_read(tmp_path, dtype, options):
    image = noise((21, 34), dtype)
    tifffile.imwrite(tmp_path / "x.tif", image, photometric="minisblack", **options)
    array, _ = read_image(tmp_path / "x.tif")
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert np.array_equal(array, image)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("channels", [3, 4])
def test_color_is_last_however_it_is_stored(tmp_path, planar, channels):
    image = noise((12, 9, channels))
    stored = image if planar == "contig" else np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planar)
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], image)


def test_pages_become_a_stack(tmp_path):
    stack = noise((5, 8, 9), "uint16")
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        for page in stack:
            writer.write(page, contiguous=False, metadata=None)
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], stack)


def test_pages_of_different_size_give_the_first_and_a_warning(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "x.tif") as writer:
        writer.write(np.ones((8, 9), np.uint8), metadata=None)
        writer.write(np.ones((11, 4), np.uint8), metadata=None)
    assert read_image(tmp_path / "x.tif")[0].shape == (8, 9)
    assert "2 images of different shape" in caplog.text


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_lzw_is_read(tmp_path, dtype, channels):
    image = noise((20, 31, *channels), dtype)
    cv2.imwrite(str(tmp_path / "x.tif"), image[..., ::-1] if channels else image, [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    with tifffile.TiffFile(tmp_path / "x.tif") as tiff:
        assert tiff.pages.first.compression == 5
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], image)


def test_lzw_with_transparency_keeps_its_colors(tmp_path):
    image = noise((20, 31, 4))
    Image.fromarray(image).save(tmp_path / "x.tif", compression="tiff_lzw")
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], image)


def test_lzw_pages_become_a_stack(tmp_path):
    planes = [Image.fromarray(noise((20, 31), seed=seed)) for seed in range(3)]
    planes[0].save(tmp_path / "x.tif", save_all=True, append_images=planes[1:], compression="tiff_lzw")
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], np.stack([np.asarray(plane) for plane in planes]))


def test_white_is_zero_is_inverted(tmp_path):
    image = noise((9, 9), "uint16")
    tifffile.imwrite(tmp_path / "x.tif", image, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], cv2.bitwise_not(image))


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_bits_and_palettes_become_bytes_and_color(tmp_path, extension):
    bits = Image.fromarray(noise((9, 10)) > 128)
    palette = Image.fromarray(noise((9, 10, 3))).quantize(16)
    bits.save(tmp_path / f"bits.{extension}")
    palette.save(tmp_path / f"palette.{extension}")
    read = read_image(tmp_path / f"bits.{extension}")[0]
    assert read.dtype == np.uint8
    assert np.array_equal(read, np.asarray(bits.convert("L")))
    assert np.array_equal(read_image(tmp_path / f"palette.{extension}")[0], np.asarray(palette.convert("RGB")))


def test_a_palette_of_imagej_only_colors_the_display(tmp_path):
    image = noise((9, 10))
    colors = np.zeros((3, 256), np.uint16)
    colors[0] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "x.tif", image, imagej=True, colormap=colors)
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_pngs_keep_depth_and_order(tmp_path, dtype, channels):
    image = noise((11, 12, *channels), dtype)
    order = [2, 1, 0, 3][: channels[0]] if channels else slice(None)
    cv2.imwrite(str(tmp_path / "x.png"), image[..., order] if channels else image)
    array, info = read_image(tmp_path / "x.png")
    assert array.dtype == np.dtype(dtype)
    assert np.array_equal(array, image)
    assert (info.resolution, info.pixel_size, info.pixel_unit) == (None, None, None)


def test_gray_with_transparency_becomes_rgba(tmp_path):
    shown_image = Image.merge("LA", [Image.fromarray(noise((6, 7), seed=seed)) for seed in (1, 2)])
    shown_image.save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png")[0], np.asarray(shown_image.convert("RGBA")))


def test_jpegs_are_read_in_gray_and_color(tmp_path):
    yy, xx = np.mgrid[:64, :64]
    gray = (yy + xx).astype(np.uint8)
    color = np.stack([gray, 255 - gray, gray // 2], -1)
    Image.fromarray(gray).save(tmp_path / "gray.jpg", quality=95)
    Image.fromarray(color).save(tmp_path / "color.jpeg", quality=95)
    read = read_image(tmp_path / "gray.jpg")[0]
    assert np.abs(read.astype(int) - gray).max() <= 4
    read = read_image(tmp_path / "color.jpeg")[0]
    assert read.shape == color.shape
    assert np.abs(read.astype(int) - color).mean() < 3


def test_the_content_decides_not_the_extension(tmp_path):
    image = noise((5, 6))
    Image.fromarray(image).save(tmp_path / "x.tif", format="PNG")
    assert np.array_equal(read_image(tmp_path / "x.tif")[0], image)


# --- resolution and pixel size


@pytest.mark.parametrize("unit", ["um", "micron", "µm", "\u03bcm", "\\u00B5m", "nm", "mm"])
def test_imagej_says_the_pixel_size(tmp_path, unit):
    image = noise((5, 6), "uint16")
    tifffile.imwrite(
        tmp_path / "x.tif",
        image,
        imagej=True,
        resolution=(2.0, 4.0),
        metadata={"unit": unit.replace("µ", "\\u00B5").replace("\u03bc", "\\u03BC")},
    )
    _, info = read_image(tmp_path / "x.tif")
    assert info.pixel_unit == (unit if unit in ("nm", "mm") else "um")
    assert info.pixel_size == pytest.approx((0.25, 0.5))
    assert info.resolution == (2.0, 4.0, 1)


@pytest.mark.parametrize(("stored", "unit"), [("µm", "um"), ("nm", "nm"), ("mm", "mm"), (None, "um")])
def test_ome_says_the_pixel_size(tmp_path, stored, unit):
    metadata = {"axes": "YX", "PhysicalSizeX": 0.47, "PhysicalSizeY": 0.5}
    if stored:
        metadata |= {"PhysicalSizeXUnit": stored, "PhysicalSizeYUnit": stored}
    tifffile.imwrite(tmp_path / "x.ome.tif", noise((5, 6)), metadata=metadata)
    _, info = read_image(tmp_path / "x.ome.tif")
    assert (info.pixel_size, info.pixel_unit) == ((0.5, 0.47), unit)


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {"resolution": (1000, 1000), "resolutionunit": "CENTIMETER"},
        {"imagej": True, "resolution": (72, 72), "metadata": {"unit": "inch"}},
        {"imagej": True, "resolution": (72, 72)},
        {"ome": True, "metadata": {"axes": "YX"}},
        {"ome": True, "metadata": {"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1.0}},
    ],
)
def test_dots_per_inch_are_no_pixel_size(tmp_path, options):
    tifffile.imwrite(tmp_path / "x.tif", noise((5, 6)), **options)
    _, info = read_image(tmp_path / "x.tif")
    assert (info.pixel_size, info.pixel_unit) == (None, None)


@few
@given(
    st.floats(0.001, 1e5),
    st.floats(0.001, 1e5),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["uint8", "float64"]),
)
def test_resolution_tags_are_kept(tmp_path_factory, x, y, unit, dtype):
    folder = tmp_path_factory.mktemp("resolution")
    tifffile.imwrite(folder / "a.tif", noise((5, 6)), resolution=(x, y), resolutionunit=unit)
    source = ImageFile.read(folder / "a.tif")
    result = source.write(folder / "b.tif", data=noise((5, 6), dtype))
    other = ImageFile("c", noise((5, 6), dtype)).write(folder / "c.tif", like=source)
    lazy = ImageFile(folder / "a.tif").write(folder / "d.tif", data=noise((5, 6), dtype))
    for path in (result, other, lazy):
        with tifffile.TiffFile(path) as tiff:
            tags = tiff.pages.first.tags
            assert tags["ResolutionUnit"].value == unit
            for name, value in (("XResolution", x), ("YResolution", y)):
                numerator, denominator = tags[name].value
                assert numerator / denominator == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(7, 9), (4, 7, 9)])
@pytest.mark.parametrize("extension", [".tif", ".ome.tif"])
def test_the_pixel_size_is_kept(tmp_path, dtype, shape, extension):
    tifffile.imwrite(
        tmp_path / "a.tif",
        noise((5, 6)),
        imagej=True,
        resolution=(1 / 0.47, 1 / 0.5),
        metadata={"unit": "um"},
    )
    image = noise(shape, dtype)
    path = ImageFile("r", image).write(tmp_path / f"b{extension}", like=ImageFile(tmp_path / "a.tif"))
    read, info = read_image(path)
    assert np.array_equal(read, image)
    assert np.array_equal(tifffile.imread(path), image)
    assert info.pixel_unit == "um"
    assert info.pixel_size == pytest.approx((0.5, 0.47), rel=1e-6)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome == (extension == ".ome.tif")
        assert tiff.is_imagej == (extension == ".tif")


# --- writing


anything_gray = st.sampled_from(["uint8", "uint16", "int16", "float32", "float64"]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=2, max_dims=4, min_side=5, max_side=8))
)


@few
@given(anything_gray)
def test_tiff_keeps_every_bit(tmp_path_factory, image):
    path = ImageFile("x", image).write(tmp_path_factory.mktemp("tiff") / "x")
    assert path.name == "x.tif"
    for array in (tifffile.imread(path), ImageFile.read(path).data):
        assert array.dtype == image.dtype
        assert array.tobytes() == image.tobytes()
        assert array.shape == image.shape
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.photometric == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", [(6, 7, 3), (6, 7, 4), (5, 6, 7, 3)])
def test_tiff_color_is_declared(tmp_path, dtype, shape):
    image = noise(shape, dtype)
    path = ImageFile("x", image).write(tmp_path / "x.tiff")
    with tifffile.TiffFile(path) as tiff:
        assert tiff.pages.first.photometric == 2
        assert tiff.pages.first.extrasamples == ((2,) if shape[-1] == 4 else ())
    assert np.array_equal(tifffile.imread(path), image)
    if len(shape) == 3:
        if dtype == "uint8":
            assert np.array_equal(np.asarray(Image.open(path)), image)
        else:
            order = [2, 1, 0, 3][: shape[-1]]
            assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., order], image)


def test_foreign_byte_order_is_written(tmp_path):
    image = noise((5, 6), "uint16")
    path = ImageFile("x", image.astype(">u2")).write(tmp_path / "x.tif")
    assert np.array_equal(tifffile.imread(path), image)


@few
@given(
    st.sampled_from(["uint8", "uint16"]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([(), (3,), (4,)]),
    st.integers(0, 99),
)
def test_png_keeps_every_bit(tmp_path_factory, dtype, h, w, channels, seed):
    image = noise((h, w, *channels), dtype, seed)
    path = ImageFile("x", image).write(tmp_path_factory.mktemp("png") / "x.PNG")
    order = [2, 1, 0, 3][: channels[0]] if channels else slice(None)
    oracle = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(oracle[..., order] if channels else oracle, image)
    assert np.array_equal(read_image(path)[0], image)
    if dtype == "uint8":
        assert np.array_equal(np.asarray(Image.open(path)), image)


def test_jpeg_is_written_in_8_bits(tmp_path):
    yy, xx = np.mgrid[:64, :64]
    color = np.stack([yy * 4, xx * 4, 255 - yy * 2], -1).astype(np.uint8)
    for image in (color, color[..., 0]):
        path = ImageFile("x", image).write(tmp_path / "x.jpg")
        assert np.abs(np.asarray(Image.open(path)).astype(int) - image).mean() < 3


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("x.jpg", noise((5, 6), "uint16")),
        ("x.jpeg", noise((5, 6), "float32")),
        ("x.jpg", noise((5, 6, 4))),
        ("x.png", noise((5, 6), "float32")),
        ("x.png", noise((7, 5, 6))),
        ("x.bmp", noise((5, 6))),
    ],
)
def test_what_a_format_cannot_hold_is_refused_with_the_remedy(tmp_path, name, image):
    with pytest.raises(FileError, match=r"hoose \.tif"):
        ImageFile("x", image).write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [bool, complex])
def test_a_dtype_that_tiff_has_not_is_refused(tmp_path, dtype):
    with pytest.raises(FileError, match="convert it to uint8"):
        ImageFile("x", np.ones((5, 6), dtype)).write(tmp_path / "x.tif")
    assert list(tmp_path.iterdir()) == []


def test_writing_never_replaces(tmp_path):
    first = ImageFile(tmp_path / "x.tif", noise((5, 6)))
    assert first.write() == tmp_path / "x.tif"
    assert first.write(data=noise((5, 6), seed=1)) == tmp_path / "x_1.tif"
    assert np.array_equal(tifffile.imread(tmp_path / "x.tif"), first.data)
    assert np.array_equal(tifffile.imread(tmp_path / "x_1.tif"), noise((5, 6), seed=1))


def test_a_name_with_dots_gets_its_extension_at_the_end(tmp_path):
    name = "Subject34_Session274_OS_(9,0)_1.5x1.5_4495_Confocal"
    assert ImageFile(name, noise((5, 6))).write(tmp_path / name).name == name + ".tif"


def test_an_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="Choose another output folder"):
        ImageFile("x", noise((5, 6))).write(tmp_path / "file" / "x.tif")


# --- unreadable files


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(FileError, match="does not exist; check the name"):
        read_image(tmp_path / "no.tif")
    lazy = ImageFile(tmp_path / "no.tif")
    assert "not read yet" in repr(lazy)
    with pytest.raises(FileError, match="does not exist"):
        lazy.shape  # noqa: B018


def test_a_folder_is_reported(tmp_path):
    with pytest.raises(FileError, match="is a folder"):
        ImageFile.read(tmp_path)


@pytest.mark.parametrize("name", ["x.gif", "x.npy", "Subject1_1.5x1.5_4495_Confocal"])
def test_an_unsupported_extension_is_reported(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(FileError, match=r"only \.tif.* are read"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a" + bytes(50), bytes(500)])
def test_what_is_no_image_is_reported(tmp_path, content):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(FileError, match="is not an image"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_reported(tmp_path, kind, part):
    buffer = io.BytesIO()
    Image.fromarray(noise((64, 64))).save(buffer, format=kind)
    whole = buffer.getvalue()
    (tmp_path / "x.tif").write_bytes(whole[: max(10, int(part * len(whole)))])
    with pytest.raises(FileError, match=r"x\.tif cannot be read .*save it again"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("magic", [b"II*\0", b"MM\0*", b"II+\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_garbage_behind_a_good_beginning_is_reported(tmp_path, magic):
    for seed in range(20):
        (tmp_path / "x.png").write_bytes(magic + noise(300, seed=seed).tobytes())
        with pytest.raises(FileError, match="cannot be read"):
            read_image(tmp_path / "x.png")


# --- the container


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.b.tif", "a.b"),
        ("a.TIFF", "a"),
        ("a.b.ome.tif", "a.b"),
        ("a.jpeg", "a"),
        ("a.tif.png", "a.tif"),
        ("a.csv", "a.csv"),
        ("Subject34_1.5x1.5_4495_Confocal", "Subject34_1.5x1.5_4495_Confocal"),
        (".tif", ".tif"),
    ],
)
def test_the_stem_loses_only_the_extension_of_an_image(name, stem):
    file = ImageFile(f"folder/{name}", np.zeros((2, 2)))
    assert (str(file), file.stem, file.name, image_stem(name)) == (stem, stem, name, stem)
    assert f"{file}_x.csv" == f"{stem}_x.csv"


def test_the_container_shows_what_it_holds(tmp_path):
    image = noise((5, 6), "uint16")
    tifffile.imwrite(tmp_path / "x.tif", image)
    file = ImageFile(str(tmp_path / "x.tif"))
    assert file.path == tmp_path / "x.tif"
    assert file.shape == (5, 6)
    assert file.dtype == np.uint16
    assert file.data is file.data
    assert file.info.sha256 == hashlib.sha256((tmp_path / "x.tif").read_bytes()).hexdigest()
    assert "uint16, (5, 6)" in repr(file)
    assert ImageFile("y", image).info is None
    assert np.array_equal(pickle.loads(pickle.dumps(file)).data, image)


def test_equal_means_same_stem_and_pixels():
    image = np.array([[1.0, np.nan]])
    one, two = ImageFile("a/x.tif", image), ImageFile("b/x.png", image.copy())
    assert one == two
    assert hash(one) == hash(two)
    assert one != ImageFile("y.tif", image)
    assert one != ImageFile("x.tif", image.astype(np.float32))
    assert one != ImageFile("x.tif", np.ones((1, 2)))
    assert one != "x"
    assert len({one, two}) == 1


@pytest.mark.parametrize("shape", [(), (5,), (0, 5)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ImageError, match="not the shape of an image"):
        ImageFile("x", np.zeros(shape))


@few
@given(
    st.sampled_from(["uint16", "int16", "int64", "float32", "float64"]).flatmap(
        lambda dtype: arrays(
            dtype,
            array_shapes(min_dims=2, max_dims=2, max_side=6),
            elements={"allow_nan": False, "allow_infinity": False} if dtype.startswith("f") else None,
        )
    )
)
def test_the_rgb_image_spans_the_range(image):
    shown_image = ImageFile("x", image).to_pil_rgb_image()
    shown = np.asarray(shown_image)
    assert shown_image.mode == "RGB"
    exact = image.astype(np.longdouble)
    span = exact.max() - exact.min()
    expected = (exact - exact.min()) / (span or 1) * 255
    assert np.abs(shown - expected[..., None]).max() <= 0.5 + 1e-6


def test_bytes_are_shown_as_they_are():
    image = noise((5, 6)) // 2
    assert np.array_equal(np.asarray(ImageFile("x", image).to_pil_rgb_image()), np.dstack([image] * 3))
    color = noise((5, 6, 4))
    for channels in (3, 4):
        shown = np.asarray(ImageFile("x", color[..., :channels]).to_pil_rgb_image())
        assert np.array_equal(shown, color[..., :3])


def test_transparency_does_not_enter_the_range():
    image = np.full((2, 2, 4), 60000, np.uint16)
    image[..., :3] = [[[0, 0, 0], [100, 100, 100]], [[50, 50, 50], [100, 0, 100]]]
    shown = np.asarray(ImageFile("x", image).to_pil_rgb_image())
    assert shown.tolist() == [[[0] * 3, [255] * 3], [[128] * 3, [255, 0, 255]]]


def test_infinity_is_clipped_to_the_finite_range_and_nan_refused():
    shown = ImageFile("x", np.array([[-np.inf, 0.0, 2.0, np.inf]])).to_pil_rgb_image()
    assert np.asarray(shown)[0, :, 0].tolist() == [0, 0, 255, 255]
    for bad, message in (([[np.nan, 1.0]], "contains NaN"), ([[np.inf, np.inf]], "only infinite")):
        with pytest.raises(ImageError, match=message):
            ImageFile("x", bad).to_pil_rgb_image()
    with pytest.raises(ImageError, match="choose one plane"):
        ImageFile("x", np.zeros((5, 6, 7))).to_pil_rgb_image()


def test_a_boolean_image_is_black_and_white():
    shown = np.asarray(ImageFile("x", np.array([[True, False]])).to_pil_rgb_image())
    assert shown[0, :, 0].tolist() == [255, 0]


def test_importing_images_loads_no_heavy_library():
    code = (
        "import sys, napari_nst.io.images\n"
        "print([m for m in ('torch', 'cv2', 'matplotlib', 'skimage', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
