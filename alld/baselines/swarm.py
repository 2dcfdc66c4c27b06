"""The Salp Swarm Algorithm, which searches for a subset of features.

Source: Mirjalili et al., Adv. Eng. Softw. 114 (2017) 163-191, equations 3.1 to 3.4, with the first
half of the chain leading as in the authors' own program; a feature counts where its coordinate
exceeds 1/2. What the ALLD paper calls "social spider optimisation" is this.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Subset = NDArray[np.bool_]  # (d,)
SALPS, STEPS = 20, 40


def salp_swarm(
    cost: Callable[[Subset], float],
    features: int,
    seed: int,
    salps: int = SALPS,
    steps: int = STEPS,
) -> Subset:
    """Return the cheapest subset that a chain of salps meets on its way through the unit cube.

    Args:
        cost: of a subset with at least one feature; lower is better.
        features: how many there are to choose from, at least 1.
        seed: equal seeds give equal subsets.
        salps, steps: length of the chain and of its way; `cost` is called at most so many times.
    """
    rng = np.random.default_rng(seed)
    chain = rng.random((salps, features))
    food, least = chain[0], np.inf
    for step in range(1, steps + 1):
        costs = [cost(_subset(salp)) for salp in chain]
        if min(costs) < least:
            food, least = chain[int(np.argmin(costs))].copy(), min(costs)
        reach = 2 * np.exp(-((4 * step / steps) ** 2))  # c1: far at first, near at the end
        _move(chain, food, reach, rng)
    return _subset(food)


def _move(
    chain: NDArray[np.float64], food: NDArray[np.float64], reach: float, rng: np.random.Generator
) -> None:
    """Leaders swim about the food, each other salp half the way to the one before it."""
    leaders = max(1, len(chain) // 2)
    steps = reach * rng.random((leaders, len(food)))
    signs = np.where(rng.random(steps.shape) < 0.5, -1, 1)
    chain[:leaders] = food + signs * steps
    for salp in range(leaders, len(chain)):
        chain[salp] = (chain[salp] + chain[salp - 1]) / 2
    np.clip(chain, 0, 1, out=chain)


def _subset(salp: NDArray[np.float64]) -> Subset:
    chosen = np.asarray(salp > 0.5)
    if not chosen.any():
        chosen[np.argmax(salp)] = True
    return chosen
