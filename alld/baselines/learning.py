"""Draw inner folds of whole groups, and choose a support vector machine in them.

Only the training side of a split is used: for scaling, selection, parameters and probabilities.
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

from alld.data.dealing import connected, deal

Features = NDArray[np.float64]  # (n, d)
Labels = NDArray[np.int_]  # (n,) 0 healthy, 1 blast
PredictProba = Callable[[Features], NDArray[np.float64]]  # (m, d) to (m,) P(blast)
INNER_FOLDS = 5


def inner_folds(y: Labels, groups: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Return the inner fold of every training image, (n,): classes balanced, groups whole.

    Raises:
        ValueError: a class with one group, which no inner fold could both train on and test.
    """
    units = connected([[group] for group in groups])
    per_class = [sum(any(y[i] == label for i in unit) for unit in units) for label in (0, 1)]
    folds = min(INNER_FOLDS, *per_class)
    if folds < 2:
        raise ValueError(f"{per_class} groups of the classes: inner folds need two of each")
    parts = [np.array_split(np.flatnonzero(y == label), folds) for label in (0, 1)]
    capacities = np.array([list(map(len, pair)) for pair in zip(*parts, strict=True)])  # (folds, 2)
    return deal(units, y, capacities, np.random.default_rng(seed), least=1)


def fit_svm(
    features: Features, y: Labels, groups: Sequence[str], seed: int, grid: Mapping[str, Any]
) -> PredictProba:
    """Scale, select by the F test where `grid` says how many, and fit a machine with an RBF kernel.

    `grid` names parameters as scikit-learn's pipelines do: `svc__C`, `select__k`; the first of the
    best combinations is used. P(blast) is Platt's: a logistic curve over the inner folds' decision
    values (Platt, Advances in Large Margin Classifiers (1999) 61-74).
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
    """Return the F statistic of each feature, (d,); 0 for one that never varies."""
    scores = np.zeros(features.shape[1])
    varying = features.std(axis=0) > 0
    scores[varying] = f_classif(features[:, varying], y)[0]
    return scores
