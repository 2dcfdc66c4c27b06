"""Both classes alike though one is rarer: the weights of a loss, or the order of an epoch."""

import random
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(balance: str, labels: Sequence[int], device: torch.device) -> Loss:
    """(B, 2) logits and (B,) labels to the mean loss of the batch.

    Args:
        balance: `train.balance`; with `weights` an image of class c, of C, weighs n / C n_c.
        labels: of the training images, 0 to C - 1, each there.
    """
    if balance != "weights":
        return nn.CrossEntropyLoss()
    counts = torch.bincount(torch.tensor(labels))
    return partial(_weighted_mean, weights=(len(labels) / (len(counts) * counts)).to(device))


def _weighted_mean(logits: Tensor, labels: Tensor, *, weights: Tensor) -> Tensor:
    # A mean over images, not over weights: batches with few of the rarer class count less.
    return F.cross_entropy(logits, labels, weight=weights, reduction="sum") / len(labels)


def balanced_order(labels: Sequence[int], rng: random.Random) -> list[int]:
    """As many positions as `labels` has, an equal share of each class, in random order.

    Every image of a rarer class comes in as often as any other of it, give or take one; of a
    commoner class a part is left out, another one in each epoch.
    """
    order: list[int] = []
    classes = sorted(set(labels))
    for number, label in enumerate(classes, start=1):
        size = len(labels) * number // len(classes) - len(order)
        members = [position for position, own in enumerate(labels) if own == label]
        times, rest = divmod(size, len(members))
        order += members * times + rng.sample(members, rest)
    rng.shuffle(order)
    return order
