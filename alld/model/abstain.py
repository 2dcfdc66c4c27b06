"""Learn which pictures a model can predict, and explain why another one is out of domain.

A picture is out of domain when its score is above a limit. The score is the mean of two distances,
each in robust standard deviations above the median of the validation images: that of the pooled
features from their fifth nearest training image, and that of simple facts of the picture from those
of all training images. The first detects unusual texture and form, the second unusual light, stain,
sharpness and position of the cell.

Sources: Sun et al., ICML 2022 (nearest neighbours of unit features); Lee et al., NeurIPS 2018
(Mahalanobis distance); Ledoit and Wolf, J. Multivar. Anal. 88 (2004) 365-411 (shrunk covariance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.cells.facts import (
    CELL_SIZE,
    COLOURS,
    COUNT,
    ELSEWHERE,
    OFF_CENTRE,
    SHARPNESS,
    has_nucleus,
)

NEIGHBOURS = 5
FEWEST = 20  # validation images; the median and spread of fewer are too uncertain
MOST_REFERENCES = 1000  # training images; more cost memory and change little
FAR = 2.5  # standard deviations of the training images beyond which a fact is mentioned
_ROBUST = 1.4826  # standard deviation of a normal distribution by its median absolute one

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """The training images as the score needs them: n references, F features, K facts."""

    reference: NDArray[np.float32]  # (n, F) features of training images, of length 1
    fact_mean: Rows  # (K,) over the training images
    fact_spread: Rows  # (K,)
    fact_precision: Rows  # (K, K) inverse of the shrunk covariance of the standardised facts
    score_median: Rows  # (2,) of the two distances over the validation images
    score_spread: Rows  # (2,)
    limit: float

    def scores(self, features: NDArray[np.float32], facts: Rows) -> Rows:
        """Return scores (B,) for features (B, F) and facts (B, K)."""
        apart = (_distances(self, features, facts) - self.score_median) / self.score_spread
        means: Rows = apart.mean(axis=1)
        return means

    def refusal(self, facts: Rows, side: int) -> str:
        """Explain why a picture of these facts (K,) and longer side in px is out of domain."""
        away = (facts - self.fact_mean) / self.fact_spread
        words = []
        if not has_nucleus(facts, side):
            words.append("no stained cell")
        elif away[OFF_CENTRE] > FAR or away[ELSEWHERE] > FAR:
            words.append("no single cell in the middle: a whole field?")
        elif abs(away[CELL_SIZE]) > FAR:
            size = "larger" if away[CELL_SIZE] > 0 else "smaller"
            words.append(
                f"its cell is {size} in pixels than those of training: other magnification?"
            )
        if away[SHARPNESS] < -FAR:
            words.append("blurred, or enlarged from a smaller picture")
        elif away[SHARPNESS] > FAR:
            words.append(
                "finer grain than the training images: other magnification or no photograph"
            )
        if np.abs(away[COLOURS]).max() > FAR:
            words.append("other stain or light")
        return "; ".join(words) or "unlike the training images"

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return everything but the limit itself, to be stored."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], limit: float) -> "Limits":
        """Return the limits of `arrays`; raise ValueError for wrong names, shapes or numbers."""
        odd = set(arrays) ^ set(_ARRAYS)
        if odd:
            raise ValueError(f"{sorted(odd)[0]} is missing or unknown")
        named: dict[str, Any] = {name: np.asarray(arrays[name]) for name in _ARRAYS}
        limits = cls(**named, limit=limit)
        _check(limits)
        return limits


@dataclass(frozen=True)
class JointLimits:
    """The limits of several models with F features each: most of them must refuse a picture."""

    members: tuple[Limits | None, ...]  # None refuses nothing
    limit: float = 0.0

    def scores(self, features: NDArray[np.float32], facts: Rows) -> Rows:
        """Return scores (B,), above 0 where most models refuse; features are (B, members * F)."""
        apart = [
            np.full(len(facts), -np.inf) if own is None else own.scores(part, facts) - own.limit
            for own, part in zip(
                self.members, np.split(features, len(self.members), axis=1), strict=True
            )
        ]
        middle: Rows = np.sort(apart, axis=0)[(len(apart) - 1) // 2]
        return middle

    def refusal(self, facts: Rows, side: int) -> str:
        """Explain as the first of the models does: their training images overlap."""
        return next(own for own in self.members if own is not None).refusal(facts, side)


_ARRAYS = tuple(field.name for field in fields(Limits) if field.name != "limit")


def fit_limits(
    training: tuple[NDArray[np.float32], Rows],
    validation: tuple[NDArray[np.float32], Rows],
    deviations: float,
) -> Limits:
    """Fit the score to the training images, and its limit to the validation images.

    Args:
        training, validation: pooled features (n, F) and picture facts (n, K).
        deviations: of the limit above the median of the validation scores, in robust standard
            deviations.

    Raises:
        ValueError: fewer than 20 validation images.
    """
    from sklearn.covariance import ledoit_wolf

    if len(validation[1]) < FEWEST:
        raise ValueError(f"{len(validation[1])} validation images are too few, {FEWEST} at least")
    features, facts = training
    mean, spread = facts.mean(axis=0), facts.std(axis=0) + 1e-6
    covariance, _ = ledoit_wolf((facts - mean) / spread)
    unset = Limits(
        reference=_unit(features),
        fact_mean=mean,
        fact_spread=spread,
        fact_precision=np.linalg.inv(covariance),
        score_median=np.zeros(2),
        score_spread=np.ones(2),
        limit=np.inf,
    )
    median, own_spread = _robust(_distances(unset, *validation))
    ready = replace(unset, score_median=median, score_spread=own_spread)
    centre, width = _robust(ready.scores(*validation))
    return replace(ready, limit=float(centre + deviations * width))


def _distances(limits: Limits, features: NDArray[np.float32], facts: Rows) -> Rows:
    """Return ln of the distance to a neighbour and of the Mahalanobis distance, (B, 2)."""
    neighbour = min(NEIGHBOURS, len(limits.reference)) - 1
    apart = 2 - 2 * _unit(features) @ limits.reference.T  # (B, n) squared distances
    nearest = np.partition(apart, neighbour, axis=1)[:, neighbour]
    away = (facts - limits.fact_mean) / limits.fact_spread
    squared = np.einsum("bi,ij,bj->b", away, limits.fact_precision, away)
    apart_both: Rows = np.column_stack([nearest, squared]).clip(0)
    return np.asarray(np.log(apart_both + 1e-3))


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)


def spread_out(images: Sequence[int]) -> list[int]:
    """Return the training images that limits are fitted to: all, or evenly spaced ones of many."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), MOST_REFERENCES)).astype(int)
    return [images[number] for number in np.unique(chosen)]


def _robust(values: Rows) -> tuple[Rows, Rows]:
    """Return median and spread by column, which one outlier does not move."""
    median = np.asarray(np.median(values, axis=0))
    deviation = np.asarray(_ROBUST * np.median(np.abs(values - median), axis=0))
    return median, np.maximum(deviation, 1e-3)


def _check(limits: Limits) -> None:
    shapes = {
        "fact_mean": (COUNT,),
        "fact_spread": (COUNT,),
        "fact_precision": (COUNT, COUNT),
        "score_median": (2,),
        "score_spread": (2,),
    }
    for name, shape in shapes.items():
        if getattr(limits, name).shape != shape:
            raise ValueError(f"{name} has shape {getattr(limits, name).shape}, not {shape}")
    if limits.reference.ndim != 2 or not len(limits.reference):
        raise ValueError(f"reference has shape {limits.reference.shape}, not (n, features)")
    for name, array in limits.arrays().items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity, or no numbers")
    if (limits.fact_spread <= 0).any() or (limits.score_spread <= 0).any():
        raise ValueError("a spread is not above 0")
