"""Facts about `alld.data.preprocess`: padding, resizing and normalising, each against hand work."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alld.data.preprocess import normalise, pad_to_square, preprocess, resize, to_square

RNG = np.random.default_rng(11)


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def column(*values: int) -> NDArray[np.uint8]:
    """A picture of 1 px width whose rows have these values in all channels."""
    return np.repeat(np.array(values, np.uint8)[:, None, None], 3, axis=2)


def test_square_picture_is_not_padded() -> None:
    """A square picture keeps its pixels."""
    pixels = picture(9, 9)
    np.testing.assert_array_equal(pad_to_square(pixels), pixels)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(257, 196, 0, 30), (214, 257, 21, 0)])
def test_padding_keeps_every_pixel_and_centres_it(
    height: int, width: int, top: int, left: int
) -> None:
    """A border crop of ALL-IDB2 lies unscaled in the centre of a 257 px square."""
    pixels = picture(height, width)
    square = pad_to_square(pixels)
    assert square.shape == (257, 257, 3)
    np.testing.assert_array_equal(square[top : top + height, left : left + width], pixels)


def test_padding_reflects_without_repeating_the_edge() -> None:
    """Rows 1 2 3 4 in 7 columns become 2 | 1 2 3 4 | 3 2; the odd pixel goes below."""
    square = pad_to_square(np.repeat(column(1, 2, 3, 4), 7, axis=1))
    assert square[:, 3, 1].tolist() == [2, 1, 2, 3, 4, 3, 2]


def test_padding_wider_than_the_picture_reflects_again() -> None:
    """Two rows in 9 columns go on swinging between their values."""
    square = pad_to_square(np.repeat(column(1, 2), 9, axis=1))
    assert square[:, 0, 0].tolist() == [2, 1, 2, 1, 2, 1, 2, 1, 2]


def test_padding_repeats_a_single_row() -> None:
    """A picture of 1 x 100 px becomes 100 equal rows."""
    pixels = picture(1, 100)
    np.testing.assert_array_equal(pad_to_square(pixels), np.repeat(pixels, 100, axis=0))


def test_resize_is_antialiased_bilinear() -> None:
    """Shrinking equals Pillow's bilinear filter and averages: a fine chequerboard becomes grey."""
    pixels = picture(64, 64)
    expected = Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize(pixels, 24), np.asarray(expected))
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.repeat(board[:, :, None], 3, axis=2), 16)
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 2


def test_a_round_cell_stays_round() -> None:
    """A disc of 79 px in a 257 x 196 px crop is as wide as high at 224 px: nothing is squashed."""
    y, x = np.mgrid[:257, :196]
    disc = (y - 128) ** 2 + (x - 98) ** 2 < 40**2
    square = to_square(
        np.repeat(np.where(disc, 0, 255).astype(np.uint8)[:, :, None], 3, 2), 224, "none"
    )
    dark = square[:, :, 0] < 128
    height, width = dark.any(axis=1).sum(), dark.any(axis=0).sum()
    assert abs(height - width) <= 1
    assert abs(height - 79 * 224 / 257) <= 1


def test_very_long_pictures_do_not_become_huge_squares() -> None:
    """A picture with a side over 4,096 px is averaged in blocks, here of 2 px, before padding."""
    pixels = picture(5000, 20)
    halved = np.asarray(Image.fromarray(pixels).reduce(2))
    np.testing.assert_array_equal(to_square(pixels, 8, "none"), resize(pad_to_square(halved), 8))


def test_normalise_by_hand() -> None:
    """Value 51 is 0.2; with mean 0.5 and deviation 0.25 it becomes -1.2; channels come first."""
    pixels = np.array([[[51, 0, 255], [102, 0, 255]]], np.uint8)
    result = normalise(pixels, (0.5, 0.0, 0.5), (0.25, 1.0, 0.5))
    assert result.dtype == np.float32
    assert result.shape == (3, 1, 2)
    expected = np.array([[[-1.2, -0.4]], [[0.0, 0.0]], [[1.0, 1.0]]])
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_batch_is_normalised_as_its_pictures_are() -> None:
    """(B, S, S, 3) gives (B, 3, S, S), bit by bit what each picture alone gives, contiguous."""
    batch = np.stack([picture(6, 6) for _ in range(4)])
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = normalise(batch, mean, std)
    np.testing.assert_array_equal(result, [normalise(one, mean, std) for one in batch])
    assert np.moveaxis(result, 1, -1).flags.c_contiguous  # channels last in memory


def test_preprocess_is_the_three_steps() -> None:
    """Any picture becomes (3, size, size): padded, resized, normalised, in this order."""
    pixels = picture(20, 33)
    result = preprocess(pixels, 16, (0.5,) * 3, (0.5,) * 3, "none")
    by_hand = resize(pad_to_square(pixels), 16).transpose(2, 0, 1) / 127.5 - 1
    assert result.shape == (3, 16, 16)
    np.testing.assert_allclose(result, by_hand, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """Grey, RGBA and empty arrays are a programmer's error, named with their shape."""
    with pytest.raises(ValueError, match="not uint8"):
        pad_to_square(np.zeros(shape, np.uint8))


def test_resize_refuses_to_squash() -> None:
    """A picture that is not square is refused rather than distorted."""
    with pytest.raises(ValueError, match="not square"):
        resize(picture(4, 5), 3)
