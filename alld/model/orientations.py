"""A blood cell has no up and no left: one image, judged in all orientations of a square."""

import torch
from torch import Tensor, nn

ORIENTATIONS = 8


def mean_logits(model: nn.Module, images: Tensor) -> Tensor:
    """The mean of the logits over four quarter turns, each plain and mirrored (the dihedral group).

    Logits, not probabilities: the temperature divides them afterwards as it does those of one.

    Args:
        images: (B, 3, S, S), normalised.

    Returns:
        (B, 2), at eight times the cost.
    """
    total = torch.zeros((), device=images.device)
    for orientation in range(ORIENTATIONS):
        total = total + model(turned(images, orientation))  # (B, 2)
    return total / ORIENTATIONS


def turned(images: Tensor, orientation: int) -> Tensor:
    """(B, C, S, S) in orientation 0, which is upright, to 7, channels last in memory."""
    quarters, mirrored = divmod(orientation, 2)
    view = torch.rot90(images, quarters, dims=(2, 3))
    view = view.flip(3) if mirrored else view
    return view.contiguous(memory_format=torch.channels_last)


def turned_back(maps: Tensor, orientation: int) -> Tensor:
    """(B, h, w) seen in that orientation, upright again."""
    quarters, mirrored = divmod(orientation, 2)
    upright = maps.flip(2) if mirrored else maps
    return torch.rot90(upright, -quarters, dims=(1, 2))
