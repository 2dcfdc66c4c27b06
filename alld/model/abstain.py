"""Which pictures a model can judge: limits learnt from its own images, and the words for a refusal.

A picture is out of domain when its score is over a limit. The score is the mean of two distances,
each in robust standard deviations above the median of the validation images: how far the network's
pooled features are from their fifth nearest training image, and how far simple facts of the picture
are from those of all training images. The first sees texture and form, the second light, stain,
sharpness and whether one cell is in the middle; either alone misses what the other sees.

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
FEWEST = 20  # validation images; the median and spread of fewer are no limit
MOST_REFERENCES = 1000  # training images; more cost memory and change little
FAR = 2.5  # standard deviations of the training images: a fact that is worth a word
_ROBUST = 1.4826  # median absolute deviation of a normal distribution to its standard deviation

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Limits:
    """What a model was trained on, as far as its limits need it. n references, F features, K facts.

    `score_median`, `score_spread` (2,): of the two distances over the validation images.
    """

    reference: NDArray[np.float32]  # (n, F) features of training images, of length 1
    fact_mean: Rows  # (K,) over the training images
    fact_spread: Rows  # (K,)
    fact_precision: Rows  # (K, K) inverse of the shrunk covariance of the standardised facts
    score_median: Rows
    score_spread: Rows
    limit: float

    def scores(self, features: NDArray[np.float32], facts: Rows) -> Rows:
        """(B, F) and (B, K) to (B,): a picture above `limit` is out of domain."""
        apart = (_distances(self, features, facts) - self.score_median) / self.score_spread
        means: Rows = apart.mean(axis=1)
        return means

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything but the limit itself, to be stored."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], limit: float) -> "Limits":
        """The inverse of `arrays`.

        Raises:
            ValueError: a name, a shape or a number that no limits have.
        """
        odd = set(arrays) ^ set(_ARRAYS)
        if odd:
            raise ValueError(f"{sorted(odd)[0]} is missing or unknown")
        named: dict[str, Any] = {name: np.asarray(arrays[name]) for name in _ARRAYS}
        limits = cls(**named, limit=limit)
        _check(limits)
        return limits


_ARRAYS = tuple(field.name for field in fields(Limits) if field.name != "limit")


def fit_limits(
    training: tuple[NDArray[np.float32], Rows],
    validation: tuple[NDArray[np.float32], Rows],
    deviations: float,
) -> Limits:
    """Learn what the training images look like, and from the validation images what is too far.

    Args:
        training, validation: pooled features (n, F) and picture facts (n, K) of each image.
        deviations: how many robust standard deviations above the median of the validation scores
            the limit lies.

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


def refusal(limits: Limits, facts: Rows, side: int) -> str:
    """Why a picture with these facts, (K,), is out of domain, in words.

    Args:
        side: the longer side of the picture in px.
    """
    away = (facts - limits.fact_mean) / limits.fact_spread
    words = list(_cell_words(away, facts, side))
    if away[SHARPNESS] < -FAR:
        words.append("blurred, or enlarged from a smaller picture")
    elif away[SHARPNESS] > FAR:
        words.append("finer grain than the training images: other magnification or no photograph")
    if np.abs(away[COLOURS]).max() > FAR:
        words.append("other stain or light")
    return "; ".join(words) or "unlike the training images"


def _cell_words(away: Rows, facts: Rows, side: int) -> Sequence[str]:
    if not has_nucleus(facts, side):
        return ["no stained cell"]
    if away[OFF_CENTRE] > FAR or away[ELSEWHERE] > FAR:
        return ["no single cell in the middle: a whole field?"]
    if abs(away[CELL_SIZE]) > FAR:
        size = "larger" if away[CELL_SIZE] > 0 else "smaller"
        return [f"its cell is {size} in pixels than those of training: other magnification?"]
    return []


def _distances(limits: Limits, features: NDArray[np.float32], facts: Rows) -> Rows:
    """(B, F) and (B, K) to (B, 2): ln of the distance to a neighbour and of the Mahalanobis one."""
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
    """The training images that limits are learnt from: all, or evenly spread ones of many."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), MOST_REFERENCES)).astype(int)
    return [images[number] for number in np.unique(chosen)]


def _robust(values: Rows) -> tuple[Rows, Rows]:
    """Median and spread by column; a strange validation image moves neither."""
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
            raise ValueError(f"{name} holds what is no finite number")
    if (limits.fact_spread <= 0).any() or (limits.score_spread <= 0).any():
        raise ValueError("a spread is not above 0")
