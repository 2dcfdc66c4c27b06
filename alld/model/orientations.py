"""A blood cell has no up and no left: one image, judged as it is or in all its orientations."""

import torch
from torch import Tensor, nn

from alld.model.network import ORIENTATIONS

_POOLED = 2  # layers of the head that only pool: see `create_head`


def features_and_logits(
    model: nn.Sequential, images: Tensor, *, tta: bool = False
) -> tuple[Tensor, Tensor]:
    """What the network sees in images, and what it says of them.

    With `tta` the logits are the means over four quarter turns, each plain and mirrored (the
    dihedral group), at eight times the cost. Logits, not probabilities: the temperature divides
    them afterwards as it does those of one. The features are of the upright image.

    Args:
        model: Sequential(body, head) of `create_model`.
        images: (B, 3, S, S), normalised.

    Returns:
        (B, 2 * channels) pooled features, (B, 2) logits.
    """
    features, total = _look(model, images)
    if not tta:
        return features, total
    for orientation in range(1, ORIENTATIONS):
        total = total + _look(model, turned(images, orientation))[1]
    return features, total / ORIENTATIONS


def _look(model: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor]:
    body, head = model
    assert isinstance(head, nn.Sequential)
    features: Tensor = head[:_POOLED](body(images))
    logits: Tensor = head[_POOLED:](features)
    return features, logits


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
