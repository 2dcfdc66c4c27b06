"""Check labels, probabilities, margins and outcomes, and return them as arrays of shape (n,).

Every function names the argument in its errors and raises ValueError, with the index, for a value
that is out of range, for another shape, and for no values.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


def as_pair(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[Labels, Probabilities]:
    """Return labels and probabilities of equal length; see `as_labels`, `as_probabilities`."""
    truth, prob = as_labels(y_true, "y_true"), as_probabilities(y_prob, "y_prob")
    check_lengths(truth, prob, "y_prob")
    return truth, prob


def as_labels(values: ArrayLike, name: str) -> Labels:
    """Return labels, each 0 (healthy) or 1 (blast)."""
    rule = "a label is 0 (healthy) or 1 (blast)"
    return _checked(values, name, _is_binary, rule).astype(np.int64)


def as_probabilities(values: ArrayLike, name: str) -> Probabilities:
    """Return probabilities, each 0..1."""
    rule = "a probability lies between 0 and 1"
    return _checked(values, name, lambda p: (p >= 0) & (p <= 1), rule).astype(np.float64)


def as_margins(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return margins, logit(blast) - logit(healthy), each finite."""
    return _checked(values, name, np.isfinite, "a margin is a finite number").astype(np.float64)


def as_outcomes(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Return outcomes, each 1 or True where a prediction was correct, else 0."""
    rule = "an outcome is 0 (wrong) or 1 (correct)"
    return _checked(values, name, _is_binary, rule).astype(np.bool_)


def check_lengths(truth: Labels, other: NDArray[Any], name: str) -> None:
    """Raise ValueError where `other`, called `name`, is not as long as y_true."""
    if truth.size != other.size:
        raise ValueError(f"y_true has {truth.size} entries and {name} has {other.size}")


def _is_binary(values: NDArray[Any]) -> NDArray[np.bool_]:
    binary: NDArray[np.bool_] = (values == 0) | (
        values == 1
    )  # a tenth of the time of np.isin, in every bootstrap draw
    return binary


def _checked(
    values: ArrayLike, name: str, allowed: Callable[[NDArray[Any]], NDArray[np.bool_]], rule: str
) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it must be (n,) with n at least 1")
    if array.dtype.kind not in "buif":
        objects = np.asarray(values, dtype=object)
        odd = [index for index, value in enumerate(objects) if not isinstance(value, int | float)]
        index = odd[0] if odd else 0  # no value is odd where an integer is too large for NumPy
        raise ValueError(f"{name}[{index}] is {objects[index]!r}: it must be a number")
    refused = ~allowed(array)
    if refused.any():
        index = int(np.argmax(refused))
        raise ValueError(f"{name}[{index}] is {array[index]}: {rule}")
    return array
