"""A loaded model, whichever library computes it: facts, limits, and one network or several."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import BLAST, HEALTHY
from alld.model.abstain import JointLimits, Limits
from alld.model.bundle_info import BundleInfo

ORIENTATIONS = 8  # four quarter turns, each plain and mirrored
Images = NDArray[np.float32]  # (B, 3, S, S), normalised
Features = NDArray[np.float32]  # (B, members * F), pooled
Logits = NDArray[np.float64]  # (B, members * 2), healthy and blast of each


class Network(Protocol):
    """The arithmetic of a model, on a `device` (cpu, cuda, cuda:N or mps) with `threads`."""

    device: str
    threads: int

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        """Return features of the upright images, and logits, with `tta` of eight orientations."""

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        """Return (B, h, w): see `alld.model.explain.evidence`; may raise ConfigError."""

    def workers(self) -> AbstractContextManager[ThreadPoolExecutor]:
        """Open a pool of `threads` threads; on a CPU each computes alone, beside the others."""


@dataclass(frozen=True)
class Model:
    """A verified model, ready for predictions; that of a cross-validation is the mean of its folds.

    `identity` is what every row names: 64 hexadecimal digits, of the bundle or of the exported
    file. `exported_from` is the identity of what was exported. There is a temperature for each
    member, whose own P(blast) is averaged.
    """

    path: Path
    info: BundleInfo
    identity: str
    limits: Limits | JointLimits | None
    network: Network
    temperatures: tuple[float, ...]
    exported_from: str | None = None


def blast_probability(logits: Logits, temperatures: float | Sequence[float]) -> NDArray[np.float64]:
    """Return P(blast), (B,): softmax(logits / temperature) (Guo et al. 2017, eq. 9).

    Of several members, each with its temperature, it is the mean.
    """
    pairs = logits.reshape(len(logits), -1, 2)
    margin = (pairs[..., BLAST] - pairs[..., HEALTHY]) / np.asarray(temperatures)
    small = np.exp(-np.abs(margin))  # which never overflows
    found: NDArray[np.float64] = np.where(margin >= 0, 1 / (1 + small), small / (1 + small))
    means: NDArray[np.float64] = found.mean(axis=1)
    return means
