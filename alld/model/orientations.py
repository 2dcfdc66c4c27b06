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
    for quarters in range(4):
        turned = torch.rot90(images, quarters, dims=(2, 3))
        for view in (turned, turned.flip(3)):
            total = total + model(view.contiguous(memory_format=torch.channels_last))  # (B, 2)
    return total / ORIENTATIONS
