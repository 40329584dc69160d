"""Pictures of every mode and type against Pillow's own conversions, and stacks against their pictures one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageOps

from exflow.errors import UserError
from exflow.raw_images.reading import as_gray, read_pictures

QUICK = settings(max_examples=15, deadline=None, derandomize=True, database=None)
MODES = (
    "1",
    "CMYK",
    "F",
    "HSV",
    "I",
    "I;16",
    "I;16B",
    "L",
    "LA",
    "La",
    "LAB",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "YCbCr",
)
COLORS = arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(4)))


def picture_of(mode: str, colors: np.ndarray) -> Image.Image:
    """A picture of a mode with arbitrary content, of which `colors` are red, green, blue and opacity."""
    rgba = Image.fromarray(colors)
    if mode in ("P", "PA"):
        return rgba.convert("RGB").quantize(5).convert(mode)
    if mode == "La":
        return rgba.convert("LA").convert("La")
    if mode in ("HSV", "LAB"):
        return rgba.convert("RGB").convert(mode)
    if mode.startswith("I;16"):
        return rgba.convert("L").convert("I;16").convert(mode) if mode != "I;16" else rgba.convert("L").convert(mode)
    return rgba.convert(mode)


def by_pillow(image: Image.Image, gray: bool) -> np.ndarray:
    """Pillow's conversion to gray or colour, over white where the picture has opacity."""
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if image.mode not in ("1", "L", "I", "F", "I;16", "I;16B"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L" if gray else "RGB"))


@pytest.mark.parametrize("mode", MODES)
@QUICK
@given(colors=COLORS)
def test_every_mode_is_read_as_pillow_converts_it(mode, colors) -> None:
    image = picture_of(mode, colors)
    assert image.mode == mode
    (pixels,), single = read_pictures(image)
    assert single
    np.testing.assert_array_equal(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), by_pillow(image, gray=False))
    np.testing.assert_array_equal(as_gray(pixels[None])[0, ..., 0], by_pillow(image, gray=True))


@QUICK
@given(st.data())
def test_a_stack_is_each_of_its_pictures(data) -> None:
    kind = data.draw(st.sampled_from([np.uint8, np.bool_, np.int64, np.float32]))
    top = {np.float32: 1.0, np.int64: 255}.get(kind)
    bounds = {} if top is None else {"elements": {"min_value": 0, "max_value": top}}
    shape = data.draw(st.sampled_from([(3, 2, 5), (3, 5, 6), (2, 4, 5, 1), (2, 4, 5, 2), (2, 4, 5, 3), (2, 4, 5, 4)]))
    stack = data.draw(arrays(kind, shape, **bounds))
    stack[0] = data.draw(st.sampled_from([stack[0], stack[0] > 0, stack[0] * 0]))  # of one bit, beside others
    together, single = read_pictures(stack)
    alone = [read_pictures(one) for one in stack]
    assert not single
    assert [len(pictures) for pictures, _ in alone] == [1] * len(stack)
    listed, single = read_pictures(list(stack))
    assert not single
    for picture, again, ((expected,), _) in zip(together, listed, alone, strict=True):
        np.testing.assert_array_equal(picture, expected)
        np.testing.assert_array_equal(again, expected)


def test_numbers_of_every_type_mean_the_same() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for same in (pixels.astype(int), pixels / 255, (pixels / 255).astype(np.float32), Image.fromarray(pixels)):
        np.testing.assert_array_equal(read_pictures(same)[0][0][..., 0], pixels)
    np.testing.assert_array_equal(read_pictures(pixels > 7)[0][0][..., 0], np.where(pixels > 7, 255, 0))
    deep = Image.fromarray(pixels.astype(np.uint16) * 257)  # 16 bits, as PNG files have
    np.testing.assert_array_equal(read_pictures(deep)[0][0][..., 0], pixels)


def test_a_dark_picture_of_a_known_mode_is_not_stretched() -> None:
    dark = np.eye(4, dtype=np.uint8)
    np.testing.assert_array_equal(read_pictures(Image.fromarray(dark))[0][0][..., 0], dark)
    np.testing.assert_array_equal(read_pictures(dark)[0][0][..., 0], 255 * dark)  # an array may be of one bit


def test_lists_of_stacks_follow_each_other(tmp_path) -> None:
    stack = np.random.default_rng(0).integers(2, 256, (5, 3, 6), dtype=np.uint8)
    Image.fromarray(stack[2]).save(tmp_path / "two.png")
    pictures, single = read_pictures([stack[:2], str(tmp_path / "two.png"), [Image.fromarray(stack[3])], stack[4:]])
    assert not single
    np.testing.assert_array_equal(np.stack(pictures)[..., 0], stack)
    assert read_pictures(tmp_path / "two.png")[1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_camera_says(orientation, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as photo:
        expected = np.asarray(ImageOps.exif_transpose(photo))
    np.testing.assert_array_equal(read_pictures(tmp_path / "photo.png")[0][0], expected)
    assert (expected.shape == (4, 3, 3)) == (orientation >= 5)


def test_palettes_with_a_transparent_colour_show_white(tmp_path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "picture.png", transparency=1)
    ((pixels,), _) = read_pictures(tmp_path / "picture.png")
    np.testing.assert_array_equal(pixels, [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]])


@pytest.mark.parametrize(
    "empty", [[], np.zeros((0, 4, 5), np.uint8), np.zeros((0, 4, 5, 3)), [np.zeros((0, 4, 5), bool)]]
)
def test_no_pictures(empty) -> None:
    assert read_pictures(empty) == ([], False)


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (np.full((2, 2), 1.5), ValueError, r"raw: expected float64 pixels in \[0, 1\], got 1.5..1.5"),
        (np.full((2, 2), np.nan, np.float32), ValueError, r"expected float32 pixels in \[0, 1\], got nan..nan"),
        (
            np.full((2, 2), -1),
            ValueError,
            r"expected int64 pixels 0..255, got -1..-1. Scale them, or round them to uint8",
        ),
        (np.array([["a", "b"]]), TypeError, "expected pictures, paths, or numbers, got <U1. Convert them to uint8"),
        (
            np.zeros(5, np.uint8),
            ValueError,
            r"raw: expected \[height, width, channels\] or a stack of them, got \(5,\)",
        ),
        (np.zeros((3, 0, 5), np.uint8), ValueError, r"or a stack of them, got \(3, 0, 5\)"),
        (np.zeros((2, 3, 0, 1), np.uint8), ValueError, r"or a stack of them, got \(2, 3, 0, 1\)"),
        (Image.new("L", (0, 3)), ValueError, "expected a picture with pixels, got 0 x 3"),
        (
            Image.fromarray(np.full((2, 2), 300.0, np.float32)),
            ValueError,
            "0..255 of a picture of mode F, got 300..300",
        ),
        ("absent.png", UserError, r"raw: absent.png cannot be read \(No such file or directory\)"),
    ],
)
def test_what_is_no_picture_is_named(raw, error, message) -> None:
    with pytest.raises(error, match=message):
        read_pictures(raw)


def test_files_of_other_kinds_are_named(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"notes.txt is no picture that Pillow can read. Convert it to PNG"):
        read_pictures(tmp_path / "notes.txt")
