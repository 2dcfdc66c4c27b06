"""What the functions of this room accept: labels, probabilities, margins, outcomes; no guesses."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.stats.intervals import UndefinedMetric

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def as_pair(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[Labels, Probabilities]:
    """Return labels and probabilities as arrays of one shape (n,).

    Raises:
        ValueError: values out of range, different lengths, no samples.
    """
    truth, prob = as_labels(y_true, "y_true"), as_probabilities(y_prob, "y_prob")
    check_lengths(truth, prob, "y_prob")
    return truth, prob


def as_labels(values: ArrayLike, name: str) -> Labels:
    """Return labels as an array of shape (n,).

    Raises:
        ValueError: a value other than 0 and 1, with its index; no values; another shape.
    """
    array = _as_vector(values, name)
    _refuse(array, (array != 0) & (array != 1), name, "a label is 0 (healthy) or 1 (blast)")
    return array.astype(np.int64)


def as_probabilities(values: ArrayLike, name: str) -> Probabilities:
    """Return probabilities as an array of shape (n,).

    Raises:
        ValueError: a value that is NaN or outside 0..1, with its index; no values; another shape.
    """
    array = _as_vector(values, name).astype(np.float64)
    _refuse(array, ~((array >= 0) & (array <= 1)), name, "a probability lies between 0 and 1")
    return array


def as_margins(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return margins, logit(blast) - logit(healthy), as an array of shape (n,).

    Raises:
        ValueError: a value that is NaN or infinite, with its index; no values; another shape.
    """
    array = _as_vector(values, name).astype(np.float64)
    _refuse(array, ~np.isfinite(array), name, "a margin is a finite number")
    return array


def as_outcomes(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return outcomes, 1 or True where an image was judged right, as an array of shape (n,).

    Raises:
        ValueError: a value other than 0 and 1, with its index; no values; another shape.
    """
    array = _as_vector(values, name)
    _refuse(array, (array != 0) & (array != 1), name, "an outcome is 0 (wrong) or 1 (right)")
    return array.astype(np.bool_)


def check_lengths(truth: Labels, other: NDArray[Any], name: str) -> None:
    """Raise ValueError where `other`, called `name`, is not as long as y_true."""
    if truth.size != other.size:
        raise ValueError(f"y_true has {truth.size} entries and {name} has {other.size}")


def class_counts(truth: Labels) -> tuple[int, int]:
    """Return how many are blast and how many healthy.

    Raises:
        UndefinedMetric: one class only.
    """
    blasts = int(truth.sum())
    if blasts in (0, truth.size):
        only = "blasts" if blasts else "healthy cells"
        raise UndefinedMetric(f"one class only: all {truth.size} images are {only}")
    return blasts, truth.size - blasts


def _as_vector(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it must be (n,) with n at least 1")
    if array.dtype.kind not in "buif":
        _refuse_first_non_number(np.asarray(values, dtype=object), name)
    return array


def _refuse_first_non_number(array: NDArray[np.object_], name: str) -> None:
    odd = [index for index, value in enumerate(array) if not isinstance(value, int | float)]
    index = odd[0] if odd else 0  # none is odd where an integer is too large for NumPy
    raise ValueError(f"{name}[{index}] is {array[index]!r}: it must be a number")


def _refuse(array: NDArray[Any], bad: NDArray[np.bool_], name: str, rule: str) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        raise ValueError(f"{name}[{index}] is {array[index]}: {rule}")
