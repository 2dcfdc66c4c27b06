"""Apply the paper's random transforms in one affine resampling and one change of light a batch.

The paper names cropping, rotation, both flips, shearing, brightness and contrast; in each epoch an
image undergoes a random subset of them. It gives no range: `AugmentConfig` holds ours.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from alld.config.schema import AugmentConfig


@dataclass(frozen=True)
class Draw:
    """The random parameters of one batch of B images."""

    theta: Tensor  # (B, 2, 3) output to input coordinates, both from -1 to 1
    contrast: Tensor  # (B,) factor about the image's mean
    brightness: Tensor  # (B,) added, in units of the full range


def draw(batch: int, config: AugmentConfig) -> Draw:
    """Draw a batch's parameters from torch's global generator, always the same number of them."""
    unit = torch.rand(batch, 8) * 2 - 1  # uniform in -1 to 1
    applied = torch.rand(batch, 5) < config.probability
    flips = torch.rand(batch, 2)

    middle, reach = (config.crop_max + config.crop_min) / 2, (config.crop_max - config.crop_min) / 2
    side = torch.where(applied[:, 0], middle + reach * unit[:, 0], 1.0)  # of the crop
    angle = math.radians(config.rotation) * unit[:, 1] * applied[:, 1]
    shear_x = torch.tan(math.radians(config.shear) * unit[:, 2] * applied[:, 2])
    shear_y = torch.tan(math.radians(config.shear) * unit[:, 3] * applied[:, 2])
    flip_x = torch.where(flips[:, 0] < config.horizontal_flip, -1.0, 1.0)
    flip_y = torch.where(flips[:, 1] < config.vertical_flip, -1.0, 1.0)

    cos, sin = torch.cos(angle), torch.sin(angle)
    linear = torch.stack(  # rotation · shear, its columns flipped
        [
            (cos - sin * shear_y) * flip_x,
            (cos * shear_x - sin) * flip_y,
            (sin + cos * shear_y) * flip_x,
            (sin * shear_x + cos) * flip_y,
        ],
        dim=1,
    ).view(batch, 2, 2)
    centre = unit[:, 4:6] * (1 - side)[:, None]  # a crop smaller than the image stays inside it
    theta = torch.cat([linear * side[:, None, None], centre[:, :, None]], dim=2)
    return Draw(
        theta,
        contrast=1 + config.contrast * unit[:, 6] * applied[:, 3],
        brightness=config.brightness * unit[:, 7] * applied[:, 4],
    )


def apply(images: Tensor, parameters: Draw, size: int) -> Tensor:
    """Transform a batch.

    Args:
        images: (B, 3, C, C) float32 in 0 to 1.
        parameters: one set for each image; moved to the images' device.
        size: side of the result in pixels.

    Returns:
        (B, 3, size, size) float32 in 0 to 1. The surroundings of the image are its reflection.
        Pixels that are black in all channels stay black: no light fell on them, as around cells
        that were cut out.
    """
    theta = parameters.theta.to(images.device)
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    sampled = F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )  # (B, 3, size, size)
    contrast = parameters.contrast.to(images.device)[:, None, None, None]
    brightness = parameters.brightness.to(images.device)[:, None, None, None]
    mean = sampled.mean(dim=(1, 2, 3), keepdim=True)
    lit = torch.addcmul(mean * (1 - contrast) + brightness, sampled, contrast).clamp_(0, 1)
    return lit.mul_(sampled.amax(dim=1, keepdim=True) > 0)
