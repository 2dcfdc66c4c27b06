"""Measure how well an image tells its domain among images of one class.

What a class looks like plays no part there. Features of an ImageNet network that was trained on
no image of the set are read by a logistic regression, in folds that keep groups together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alld.data.manifest import LABEL_NAMES, Manifest
from alld.stats.intervals import group_bootstrap
from alld.stats.metrics import Metric, measured

MOST_IMAGES = 1000  # of a class, drawn at random: 20 s of an ImageNet network
LEAST_GROUPS = 3  # of a domain; others are left out
FOLDS = 5
STRENGTH = 0.01  # inverse of the regression's penalty: there are more features than images

# From a set to a vector for each of its images, (N, d).
Describe = Callable[[Manifest], NDArray[np.float32]]


@dataclass(frozen=True)
class DomainProbe:
    """How well images of one class tell their domain: the mean of the domains' sensitivities."""

    label: int
    domains: tuple[str, ...]
    balanced_accuracy: Metric

    @property
    def chance(self) -> float:
        """What guessing gives."""
        return 1 / len(self.domains)

    def as_dict(self) -> dict[str, object]:
        """Return the probe for JSON."""
        return {
            "class": LABEL_NAMES[self.label],
            "domains": list(self.domains),
            "chance": self.chance,
            "balanced_accuracy": self.balanced_accuracy.as_dict(),
        }


def probe_domains(
    manifest: Manifest, groups: Sequence[str], describe: Describe
) -> tuple[DomainProbe, ...]:
    """Return a probe for each class that has two domains of at least three groups.

    Args:
        groups: one name for each image; no group is on both sides of a fold.
        describe: called for a part of the set, once for each such class.
    """
    found = []
    for label in range(len(LABEL_NAMES)):
        own = [n for n, r in enumerate(manifest) if r.label == label and r.domain is not None]
        held: dict[str, set[str]] = {}
        for index in own:
            held.setdefault(manifest.records[index].domain or "", set()).add(groups[index])
        domains = sorted(name for name, some in held.items() if len(some) >= LEAST_GROUPS)
        if len(domains) < 2:
            continue
        used = [index for index in own if manifest.records[index].domain in domains]
        if len(used) > MOST_IMAGES:
            used = sorted(np.random.default_rng(0).choice(used, MOST_IMAGES, replace=False))
        part = replace(manifest, records=tuple(manifest.records[index] for index in used))
        numbers = {name: number for number, name in enumerate(domains)}
        truth = np.array([numbers[record.domain or ""] for record in part])
        names = [groups[index] for index in used]
        folds = min(FOLDS, *(len(held[name]) for name in domains))
        guessed = _guess(describe(part), truth, names, folds)
        found.append(DomainProbe(label, tuple(domains), _measure(truth, guessed, names)))
    return tuple(found)


def _guess(
    features: NDArray[np.float32], truth: NDArray[np.intp], names: Sequence[str], folds: int
) -> NDArray[np.intp]:
    """(N,) the domain that a model trained on other groups guesses for each image."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
    parts = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    guessed = cross_val_predict(model, features, truth, groups=list(names), cv=parts)
    return np.asarray(guessed, np.intp)


def _measure(truth: NDArray[np.intp], guessed: NDArray[np.intp], names: Sequence[str]) -> Metric:
    return measured(
        lambda: balanced_accuracy(truth, guessed),
        lambda: group_bootstrap(balanced_accuracy, truth, guessed, names),
        len(truth),
    )


def balanced_accuracy(truth: ArrayLike, guessed: ArrayLike) -> float:
    """Return the mean, over the domains that occur in `truth`, of the share guessed right."""
    true, own = np.asarray(truth), np.asarray(guessed)
    return float(np.mean([(own[true == domain] == domain).mean() for domain in np.unique(true)]))
