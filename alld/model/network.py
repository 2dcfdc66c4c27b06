"""A loaded model, whichever library computes it: facts, limits, and one network."""

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
Features = NDArray[np.float32]  # (B, F), pooled
Logits = NDArray[np.float64]  # (B, 2), healthy and blast


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
    """A verified model, ready for predictions.

    `identity` is what every row names: 64 hexadecimal digits, of the bundle or of the exported
    file. `exported_from` is the identity of the bundle that was exported.
    """

    path: Path
    info: BundleInfo
    identity: str
    limits: Limits | None
    network: Network
    exported_from: str | None = None


def blast_probability(logits: Logits, temperature: float) -> NDArray[np.float64]:
    """Return P(blast), (B,): softmax(logits / temperature) (Guo et al. 2017, eq. 9)."""
    margin = (logits[:, BLAST] - logits[:, HEALTHY]) / temperature
    small = np.exp(-np.abs(margin))  # which never overflows
    return np.where(margin >= 0, 1 / (1 + small), small / (1 + small))
