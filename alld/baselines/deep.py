"""Row [3]: features of a pretrained network, a subset that a swarm selects, nearest neighbours.

Source: Sahlol, Kollmannsberger and Ewees, Sci. Rep. 10 (2020) 2536, of whom the abstract was read:
an ImageNet network, the Salp Swarm Algorithm, and statistics that drop noisy and highly correlated
features. The statistics are chosen here: the F test ranks, and a near copy of a better one goes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from alld.baselines.learning import Features, Labels, PredictProba, inner_folds, separation
from alld.baselines.swarm import Subset, salp_swarm

MOST = 300  # features that enter the swarm; [3] ends with one in 25 of its own
COPY = 0.9  # correlation from which a feature adds nothing to a better one
NEIGHBOURS = (5, 1, 3, 7, 9)  # the first also leads the swarm
SIZE_COST = 0.01  # of taking every feature, in units of the error rate


def fit(features: Features, y: Labels, groups: Sequence[str], seed: int) -> PredictProba:
    """Learn from (n, d) features: filter, swarm and number of neighbours by inner grouped folds."""
    middle, spread = features.mean(axis=0), features.std(axis=0)
    scaled = (features - middle) / np.where(spread > 0, spread, 1)
    folds = inner_folds(y, groups, seed)
    kept = _filtered(scaled, y)
    candidates = scaled[:, kept]

    def cost(subset: Subset) -> float:
        size = SIZE_COST * float(subset.mean())
        return _error(candidates[:, subset], y, folds, NEIGHBOURS[0]) + size

    chosen = kept[salp_swarm(cost, len(kept), seed)]
    errors = [_error(scaled[:, chosen], y, folds, count) for count in NEIGHBOURS]
    reader = KNeighborsClassifier(NEIGHBOURS[int(np.argmin(errors))]).fit(scaled[:, chosen], y)

    def predict(test: Features) -> NDArray[np.float64]:
        new = (test - middle) / np.where(spread > 0, spread, 1)
        return np.asarray(reader.predict_proba(new[:, chosen])[:, 1])

    return predict


def _filtered(scaled: Features, y: Labels) -> NDArray[np.intp]:
    """The numbers of the features that part the classes best, without near copies of another."""
    ranked = np.argsort(-separation(scaled, y), kind="stable")
    kept: list[int] = []
    for number in ranked:
        alike = np.abs(scaled[:, kept].T @ scaled[:, number]) / len(scaled)  # (kept,) correlations
        if alike.max(initial=0) < COPY:
            kept.append(int(number))
        if len(kept) == MOST:
            break
    return np.array(kept)


def _error(features: Features, y: Labels, folds: NDArray[np.intp], count: int) -> float:
    """Share of images whose nearest `count` neighbours outside their own fold outvote them."""
    squares = np.square(features).sum(axis=1)
    distance = squares[:, None] + squares - 2 * features @ features.T  # (n, n)
    distance[folds[:, None] == folds] = np.inf
    nearest = np.argpartition(distance, count, axis=1)[:, :count]
    return float(np.mean((y[nearest].mean(axis=1) > 0.5) != y))
