"""Whether two sets look alike to a model: a kernel distance of features, and what chance gives."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.stats.bootstrap import group_rows
from alld.stats.intervals import UndefinedMetric

Features = NDArray[np.floating[Any]]
FEWEST = 4  # groups of either set; fewer have no 20 arrangements that a test at 5 % needs


@dataclass(frozen=True)
class Shift:
    """The squared distance of two sets of features, 0 for equal distributions, at most 2.

    `by_chance` is what 95 % of the rearrangements stay below, in which whole groups change sides
    at random; `p_value` is the share of them, counting the one seen, that reach `distance`.
    """

    distance: float
    by_chance: float
    p_value: float
    first: int
    second: int
    method: str

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return asdict(self)


def feature_shift(
    first: Features,
    second: Features,
    first_groups: Sequence[Hashable],
    second_groups: Sequence[Hashable],
    *,
    draws: int = 999,
    seed: int = 0,
) -> Shift:
    """Return the maximum mean discrepancy of two samples of features, and its null distribution.

    The unbiased square, mean k(x, x') + mean k(y, y') - 2 mean k(x, y) without x = x', with a
    Gaussian kernel whose width is the median distance of all pairs. Every dimension is brought to
    unit deviation first. A Fréchet distance of so many dimensions would need thousands of images.

    Args:
        first, second: shapes (n, d) and (m, d).
        first_groups, second_groups: n and m names, equal for images that belong together: they
            change sides together.
        draws: rearrangements.
        seed: of them.

    Raises:
        UndefinedMetric: fewer than four groups on a side, or features that are all alike.

    Source: Gretton et al., J. Mach. Learn. Res. 13 (2012) 723-773, equation 3 and section 2.2;
    p-values with the one seen after Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    sizes = [len(set(first_groups)), len(set(second_groups))]
    if min(sizes) < FEWEST:
        raise UndefinedMetric(f"{min(sizes)} groups on one side: too few to compare")
    groups = [*((0, group) for group in first_groups), *((1, group) for group in second_groups)]
    both = np.concatenate([first, second]).astype(np.float64)
    members = group_rows(groups, features=both)
    kernel = _kernel(both)
    unit = np.empty(len(both), dtype=np.intp)
    for number, rows in enumerate(members):
        unit[rows] = number
    rng = np.random.default_rng(seed)
    sides = np.arange(len(members)) < sizes[0]  # groups come in the order of the images
    drawn = [sides, *(rng.permutation(sides) for _ in range(draws))]
    values = _discrepancies(kernel, np.array(drawn)[:, unit].T)
    return Shift(
        distance=float(values[0]),
        by_chance=float(np.quantile(values[1:], 0.95)),
        p_value=float(np.mean(values >= values[0] - 1e-12)),
        first=len(first),
        second=len(second),
        method=f"unbiased squared MMD, Gaussian kernel, {draws} rearrangements of whole groups",
    )


def _kernel(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) similarities, 0 to 1, with zeros where an image meets itself."""
    scaled = features - features.mean(axis=0)
    deviation = scaled.std(axis=0)
    scaled = scaled[:, deviation > 1e-9] / deviation[deviation > 1e-9]
    lengths = (scaled**2).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * scaled @ scaled.T, 0)
    width = float(np.median(squares[np.triu_indices_from(squares, 1)]))
    if width < 1e-9:
        raise UndefinedMetric("half of all pairs have the same features")
    kernel: NDArray[np.float64] = np.exp(-squares / (2 * width))
    np.fill_diagonal(kernel, 0)
    return kernel


def _discrepancies(kernel: NDArray[np.float64], sides: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The squared discrepancy of each of D arrangements, (N, D) true on the first side."""
    a = sides.astype(np.float64)
    n, m = a.sum(axis=0), (1 - a).sum(axis=0)
    near_a = kernel @ a  # (N, D) similarity to all of the first side
    near_b = kernel.sum(axis=1)[:, None] - near_a
    within_a = (a * near_a).sum(axis=0) / (n * (n - 1))
    within_b = ((1 - a) * near_b).sum(axis=0) / (m * (m - 1))
    across = (a * near_b).sum(axis=0) / (n * m)
    return np.asarray(within_a + within_b - 2 * across)
