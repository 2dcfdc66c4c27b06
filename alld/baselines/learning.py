"""What the rivals share: inner folds that tear no group, a support vector machine chosen in them.

Nothing here sees a test image: scaling, selection, parameters and probabilities all come from the
training side of one split.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from alld.data.splits import connected, deal

Features = NDArray[np.float64]  # (n, d)
Labels = NDArray[np.int_]  # (n,) 0 healthy, 1 blast
PredictProba = Callable[[Features], NDArray[np.float64]]  # (m, d) to (m,) P(blast)
INNER_FOLDS = 5


def inner_folds(y: Labels, groups: Sequence[str], seed: int) -> NDArray[np.intp]:
    """(n,) the inner fold of every training image: classes balanced, no group in two folds.

    Raises:
        ValueError: a class with one group, which no inner fold could both train on and test.
    """
    units = connected([[group] for group in groups])
    per_class = [sum(any(y[i] == label for i in unit) for unit in units) for label in (0, 1)]
    folds = min(INNER_FOLDS, *per_class)
    if folds < 2:
        raise ValueError(f"{per_class} groups of the classes: inner folds need two of each")
    totals = np.bincount(y, minlength=2)
    capacities = np.stack([_shares(total, folds) for total in totals], axis=1)  # (folds, 2)
    return deal(units, y, capacities, np.random.default_rng(seed))


def _shares(total: int, folds: int) -> NDArray[np.intp]:
    return np.array([len(part) for part in np.array_split(np.arange(total), folds)])


def fit_svm(
    features: Features,
    y: Labels,
    groups: Sequence[str],
    seed: int,
    grid: Mapping[str, Any],
) -> PredictProba:
    """Scale, select by the F test where `grid` says how many, and fit a machine with an RBF kernel.

    `grid` names parameters as scikit-learn's pipelines do: `svc__C`, `select__k`. Of equally good
    ones the first counts. The probability is Platt's: a logistic curve over the inner folds'
    decision values (Platt, Advances in Large Margin Classifiers (1999) 61-74).
    """
    numbers = inner_folds(y, groups, seed)
    folds = [(np.flatnonzero(numbers != i), np.flatnonzero(numbers == i)) for i in set(numbers)]
    model = Pipeline(
        [
            ("scale", StandardScaler()),
            ("select", SelectKBest(separation, k="all")),
            ("svc", SVC()),
        ]
    )
    search = GridSearchCV(model, dict(grid), cv=folds, scoring="accuracy").fit(features, y)
    held_out = cross_val_predict(
        search.best_estimator_, features, y, cv=folds, method="decision_function"
    )
    curve = LogisticRegression().fit(held_out[:, None], y)

    def predict(test: Features) -> NDArray[np.float64]:
        decision = search.best_estimator_.decision_function(test)
        return np.asarray(curve.predict_proba(decision[:, None])[:, 1])

    return predict


def separation(features: Features, y: Labels) -> NDArray[np.float64]:
    """The F statistic of each feature; 0 for one that never varies, where F is undefined."""
    scores = np.zeros(features.shape[1])
    varying = features.std(axis=0) > 0
    scores[varying] = f_classif(features[:, varying], y)[0]
    return scores
