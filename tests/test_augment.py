"""The fused random transforms, against a slow reference and at their limits."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from alld.config.schema import AugmentConfig
from alld.training.augment import Draw, apply, draw

NOTHING = AugmentConfig(
    probability=0, horizontal_flip=0, vertical_flip=0, rotation=0, shear=0, crop_min=1, crop_max=1
)


def picture(batch: int = 2, side: int = 20) -> torch.Tensor:
    """Smooth random images, (batch, 3, side, side) in 0 to 1."""
    rough = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, side, mode="bicubic").clamp(0, 1)


def reference(
    image: NDArray[np.float32], parameters: Draw, index: int, size: int
) -> NDArray[np.float64]:
    """One image by plain loops over pixels: affine map, reflection, bilinear, then light."""
    side = image.shape[-1]
    theta = parameters.theta[index].double().numpy()
    coordinates = np.zeros((2, size, size))
    for row in range(size):
        for column in range(size):
            x, y = (2 * column + 1) / size - 1, (2 * row + 1) / size - 1  # pixel centres
            u, v = theta @ (x, y, 1)
            coordinates[:, row, column] = ((v + 1) * side - 1) / 2, ((u + 1) * side - 1) / 2
    planes = [map_coordinates(plane, coordinates, order=1, mode="reflect") for plane in image]
    sampled = np.stack(planes)
    contrast = float(parameters.contrast[index])
    light = (sampled - sampled.mean()) * contrast + sampled.mean()
    changed: NDArray[np.float64] = np.clip(light + float(parameters.brightness[index]), 0, 1)
    return changed


@pytest.mark.parametrize("seed", range(4))
def test_the_fused_transforms_equal_a_slow_reference(seed: int) -> None:
    """Crop, rotation, flips, shear, brightness and contrast in one pass give the loops' pixels."""
    torch.manual_seed(seed)
    images = picture(3)
    parameters = draw(3, AugmentConfig(probability=1))
    fused = apply(images, parameters, 17)
    for index in range(3):
        slow = reference(images[index].numpy(), parameters, index, 17)
        np.testing.assert_allclose(fused[index].numpy(), slow, atol=2e-5)


@pytest.mark.parametrize(
    ("changed", "axes"),
    [({}, []), ({"horizontal_flip": 1}, [3]), ({"vertical_flip": 1}, [2])],
)
def test_flips_mirror_the_right_axis(changed: dict[str, float], axes: list[int]) -> None:
    """A horizontal flip mirrors columns, a vertical one rows; no transform leaves the image."""
    images = picture()
    parameters = draw(2, NOTHING.model_copy(update=changed))
    torch.testing.assert_close(apply(images, parameters, 20), images.flip(axes))


def test_a_quarter_turn_moves_whole_pixels() -> None:
    """90 degrees give exactly the picture turned by 90 degrees, to one side or the other."""
    images = picture(1)
    parameters = Draw(
        theta=torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]]),
        contrast=torch.ones(1),
        brightness=torch.zeros(1),
    )
    turned = apply(images, parameters, 20)
    torch.testing.assert_close(turned, images.rot90(1, (2, 3)))


def test_each_range_is_kept_and_used() -> None:
    """Over many draws every parameter stays inside its range and comes near to both ends."""
    torch.manual_seed(0)
    config = AugmentConfig(
        probability=1,
        rotation=30,
        shear=0,
        crop_min=0.6,
        crop_max=1.3,
        horizontal_flip=0,
        vertical_flip=0,
    )
    many = draw(4000, config)
    scale = torch.linalg.det(many.theta[:, :, :2]).sqrt()  # rotation keeps it: the crop's side
    angle = torch.atan2(many.theta[:, 1, 0], many.theta[:, 0, 0]).rad2deg()
    shift = many.theta[:, :, 2].abs().amax(dim=1)
    for values, low, high in (
        (scale, 0.6, 1.3),
        (angle, -30.0, 30.0),
        (many.contrast, 0.8, 1.2),
        (many.brightness, -0.2, 0.2),
    ):
        margin = 0.02 * (high - low)
        assert low - 1e-4 <= values.min() < low + margin
        assert high - margin < values.max() <= high + 1e-4
    assert (shift <= (1 - scale).abs() + 1e-5).all(), "a crop leaves the image"


def test_a_cell_keeps_its_size_on_average() -> None:
    """The default crops enlarge as much as they shrink: size is a sign of the class."""
    torch.manual_seed(0)
    theta = draw(20_000, AugmentConfig(shear=0)).theta
    scale = torch.linalg.det(theta[:, :, :2]).abs().sqrt()
    assert abs(scale.mean() - 1) < 0.005


def test_shear_reaches_its_angle_along_both_axes() -> None:
    """The off-diagonal terms go up to the tangent of the shear."""
    torch.manual_seed(0)
    config = NOTHING.model_copy(update={"probability": 1.0, "shear": 20.0, "contrast": 0.0})
    theta = draw(4000, config).theta
    limit = math.tan(math.radians(20))
    for value in (theta[:, 0, 1], theta[:, 1, 0]):
        assert 0.97 * limit < value.abs().max() <= limit + 1e-5


def test_probability_is_the_share_of_images_that_a_transform_changes() -> None:
    """At 0.75 about three quarters of the images get another contrast."""
    torch.manual_seed(0)
    changed = (draw(4000, AugmentConfig(probability=0.75)).contrast != 1).float().mean()
    assert 0.72 < changed < 0.78


def test_one_seed_gives_one_draw() -> None:
    """The parameters come from torch's generator and from nothing else."""
    torch.manual_seed(7)
    first = draw(5, AugmentConfig())
    torch.manual_seed(7)
    again = draw(5, AugmentConfig())
    torch.testing.assert_close(first.theta, again.theta, rtol=0, atol=0)


def test_black_stays_black() -> None:
    """Around a cell cut out no light fell: no change of light makes it grey, as none does later."""
    config = AugmentConfig(brightness=1, contrast=0.5, probability=1)
    images = torch.zeros(8, 3, 20, 20)
    images[:, :, 6:14, 6:14] = picture(8, 8).clamp(0.2, 1)
    torch.manual_seed(0)
    changed = apply(images, draw(8, config), 20)
    corners = changed[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert not corners.any()
    assert (changed.amax(dim=(1, 2, 3)) > 0.3).sum() >= 4
