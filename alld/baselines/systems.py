"""Define the baselines of the paper's Table 1: description, learner and quoted accuracy of each.

They are rebuilt from the abstracts and repositories of the originals, the only open sources; they
are not the authors' programs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alld.auditing.background import FEATURES, background_features, background_model
from alld.baselines import cell_features, deep
from alld.baselines.learning import Features, Labels, PredictProba
from alld.config.schema import Config
from alld.images.rgb import RGB

Describe = Callable[[Sequence[RGB], Config], Features]  # N pictures to (N, d)
Learn = Callable[[Features, Labels, Sequence[str], int], PredictProba]


@dataclass(frozen=True)
class Quote:
    """The accuracy that the ALLD paper prints of a system, and its protocol."""

    accuracy: float
    protocol: str


@dataclass(frozen=True)
class Baseline:
    """A system that describes each image by numbers and learns from those.

    `describe` learns nothing, so one description serves every split; `learn` gets the training
    side of a split alone. `version` changes with either.
    """

    key: str
    title: str
    quote: Quote | None
    describe: Describe
    learn: Learn
    version: int = 1
    network: bool = False  # describes by the configured network

    def name(self, config: Config) -> str:
        """Return the title, with the network where one is used."""
        if not self.network:
            return self.title
        return f"{self.title}, {config.model.arch}{_origin(config)}"

    def identity(self, config: Config) -> str:
        """Return what the predictions depend on, beside the images and the split."""
        if not self.network:
            return f"{self.key} {self.version}"
        used = config.model.model_dump_json(), config.data.image_size, config.augment.unsharp
        view = "" if config.data.view == "image" else f" {config.data.view}"
        return f"{self.key} {self.version} {used}{view}"


def _origin(config: Config) -> str:
    """Name the initial weights of a network, unless they are ImageNet's."""
    if config.model.weights is not None:
        return f" (weights of {config.model.weights.name})"
    return "" if config.model.pretrained else " (random weights)"


def _one_by_one(describe: Callable[[RGB], NDArray[np.float64] | None], width: int) -> Describe:
    """Describe each picture alone; one without a description gets a row of NaN."""

    def all_of_them(pictures: Sequence[RGB], _config: Config) -> Features:
        rows = (describe(picture) for picture in pictures)
        return np.stack([np.full(width, np.nan) if row is None else row for row in rows])

    return all_of_them


def _deep_features(pictures: Sequence[RGB], config: Config) -> Features:
    return deep.body_features(pictures, config).astype(np.float64)


def _fit_background(
    features: Features, y: Labels, _groups: Sequence[str], _seed: int
) -> PredictProba:
    known = np.isfinite(features).all(axis=1)
    model = background_model().fit(features[known], y[known])

    def predict(test: Features) -> NDArray[np.float64]:
        probabilities = np.full(len(test), 0.5)  # of an image without background
        known = np.isfinite(test).all(axis=1)
        if known.any():
            probabilities[known] = model.predict_proba(test[known])[:, 1]
        return probabilities

    return predict


def _fit_probe(features: Features, y: Labels, _groups: Sequence[str], _seed: int) -> PredictProba:
    model = deep.probe_model().fit(features, y)
    return lambda test: np.asarray(model.predict_proba(test)[:, 1])


BACKGROUND = Baseline(
    "background",
    "background alone",
    None,
    _one_by_one(background_features, FEATURES),
    _fit_background,
)
LBP = Baseline(
    "lbp",
    "[5] LBP + SVM",
    Quote(0.9384, "not stated in the abstract; 93.84 % is 244 of 260"),
    _one_by_one(cell_features.patterns, 54),
    cell_features.fit_patterns,
)
SWARM = Baseline(
    "swarm",
    "[3] deep features, Salp Swarm, kNN",
    Quote(0.9567, "not stated in the abstract"),
    _deep_features,
    deep.fit,
    network=True,
)
MORPHOLOGY = Baseline(
    "morphology",
    "[4] shape, texture, colour + SVM",
    Quote(0.9667, "10-fold, by image"),
    _one_by_one(cell_features.morphology, 80),
    cell_features.fit_morphology,
)
PROBE = Baseline("probe", "linear probe", None, _deep_features, _fit_probe, network=True)
BASELINES = {baseline.key: baseline for baseline in (LBP, SWARM, MORPHOLOGY)}
HALF = "mean of 10 repeats, half of the images tested, by image"


def name_of_network(config: Config) -> tuple[str, Quote | None]:
    """Return the name of a network trained with these settings, and the quote of its row.

    Rows [7] and [6] are ALLD's recipe on sharpened images, or from weights of other cells.
    """
    network = f"{config.model.arch}{_origin(config)}"
    if config.augment.unsharp != "none":
        return f"[7] adaptive unsharpening, {network}", Quote(0.9684, HALF)
    if config.model.weights is not None:
        return f"[6] {network}", Quote(0.9792, HALF)
    others = "".join(f", {change}" for change in _changes(config))
    return f"ALLD, {network}{others}", None


def _changes(config: Config) -> list[str]:
    """`train.epochs=3` for each setting of the recipe that differs from the default."""
    plain = Config()
    found = []
    for section in ("augment", "train", "calibrate"):
        own, usual = (getattr(some, section).model_dump() for some in (config, plain))
        found += [f"{section}.{key}={value}" for key, value in own.items() if value != usual[key]]
    if config.model.tta:
        found.append("tta")
    if config.data.image_size != plain.data.image_size:
        found.append(f"{config.data.image_size} px")
    if config.data.view != plain.data.view:
        found.append(f"view of the {config.data.view}")
    return found
