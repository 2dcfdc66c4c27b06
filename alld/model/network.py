"""What a loaded model is, whichever library computes it: facts, limits, and one network."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import BLAST, HEALTHY
from alld.model.abstain import Limits
from alld.model.bundle_info import BundleInfo

ORIENTATIONS = 8  # four quarter turns, each plain and mirrored
Images = NDArray[np.float32]  # (B, 3, S, S), normalised
Features = NDArray[np.float32]  # (B, F)
Logits = NDArray[np.float64]  # (B, 2), healthy and blast


class Network(Protocol):
    """The arithmetic of a model.

    `device` is cpu, cuda, cuda:N or mps; `threads` is how many of them there are to work with.
    """

    device: str
    threads: int

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        """Pooled features (B, F) of the upright images, and logits (B, 2).

        Args:
            images: (B, 3, S, S), normalised.
            tta: the logits are the means over eight orientations.
        """

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        """(B, h, w): see `alld.model.explain.evidence`.

        Raises:
            ConfigError: this network has none.
        """

    def workers(self) -> AbstractContextManager[ThreadPoolExecutor]:
        """A pool of `threads` threads; on a CPU each computes alone, side by side with the others.

        Threads that share one batch would wait for each other at every layer.
        """


@dataclass(frozen=True)
class Model:
    """A verified model, ready to judge.

    `identity` is what every row names: 64 hexadecimal digits, of the bundle or of the exported
    file; of the latter `exported_from` is the identity of the bundle that it was.
    """

    path: Path
    info: BundleInfo
    identity: str
    limits: Limits | None
    network: Network
    exported_from: str | None = None


def blast_probability(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """(B, 2) logits to (B,) P(blast): softmax(logits / temperature) (Guo et al. 2017, eq. 9)."""
    margin = (logits[:, BLAST] - logits[:, HEALTHY]) / temperature
    # Both branches of the logistic function are written so that exp never overflows.
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1 / (1 + small), small / (1 + small))
