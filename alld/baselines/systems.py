"""The systems of the paper's Table 1 by name: what each is, what it is quoted with, how it learns.

Only abstracts and repositories of the originals were open to us: these are rebuilt from what is
said there, not the authors' programs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alld.audit.background import FEATURES, background_features, background_model
from alld.baselines import deep, morphology, texture
from alld.baselines.learning import Features, Labels, PredictProba
from alld.baselines.probe import body_features, probe_model
from alld.config.schema import Config
from alld.images.rgb import RGB

Describe = Callable[[Sequence[RGB], Config], Features]  # N pictures to (N, d)
Fit = Callable[[Features, Labels, Sequence[str], int], PredictProba]
PredictImages = Callable[[Sequence[RGB]], NDArray[np.float64]]  # pictures to P(blast) of each


@dataclass(frozen=True)
class Quote:
    """What the ALLD paper prints of a system, and how that number came about."""

    accuracy: float
    protocol: str


@dataclass(frozen=True)
class Rival:
    """A system that describes each image by numbers and learns from those.

    `describe` learns nothing, so one description serves every split; `fit` sees the training side
    of a split alone. `version` changes with either.
    """

    key: str
    title: str
    quote: Quote | None
    describe: Describe
    learn: Fit
    version: int = 1
    network: bool = False  # describes by the configured network

    def fit(
        self,
        images: Sequence[RGB],
        y: Labels,
        groups: Sequence[str],
        seed: int,
        config: Config,
    ) -> PredictImages:
        """Learn from labelled images; the result gives P(blast) of other images.

        Args:
            y: (n,) 0 healthy, 1 blast.
            groups: n names; no inner fold that chooses anything tears one.
        """
        predict = self.learn(self.describe(images, config), y, groups, seed)
        return lambda others: predict(self.describe(others, config))

    def name(self, config: Config) -> str:
        """The title, with the network where one has a part in it."""
        if not self.network:
            return self.title
        return f"{self.title}, {config.model.arch}{_origin(config)}"

    def identity(self, config: Config) -> str:
        """What the numbers of this rival depend on, beside the images and the split."""
        if not self.network:
            return f"{self.key} {self.version}"
        used = config.model.model_dump_json(), config.data.image_size, config.augment.unsharp
        return f"{self.key} {self.version} {used}"


def _origin(config: Config) -> str:
    """Said wherever a network did not begin with ImageNet weights."""
    if config.model.weights is not None:
        return f" (weights of {config.model.weights.name})"
    return "" if config.model.pretrained else " (random weights)"


def _one_by_one(describe: Callable[[RGB], NDArray[np.float64] | None], width: int) -> Describe:
    """Each picture alone; one without a description gets a row of NaN."""

    def all_of_them(pictures: Sequence[RGB], _config: Config) -> Features:
        rows = (describe(picture) for picture in pictures)
        return np.stack([np.full(width, np.nan) if row is None else row for row in rows])

    return all_of_them


def _deep_features(pictures: Sequence[RGB], config: Config) -> Features:
    return body_features(pictures, config).astype(np.float64)


def _fit_background(
    features: Features, y: Labels, _groups: Sequence[str], _seed: int
) -> PredictProba:
    known = np.isfinite(features).all(axis=1)
    model = background_model().fit(features[known], y[known])

    def predict(test: Features) -> NDArray[np.float64]:
        told = np.full(len(test), 0.5)  # an image without background tells nothing
        seen = np.isfinite(test).all(axis=1)
        if seen.any():
            told[seen] = model.predict_proba(test[seen])[:, 1]
        return told

    return predict


def _fit_probe(features: Features, y: Labels, _groups: Sequence[str], _seed: int) -> PredictProba:
    model = probe_model().fit(features, y)
    return lambda test: np.asarray(model.predict_proba(test)[:, 1])


BACKGROUND = Rival(
    "background",
    "background alone",
    None,
    _one_by_one(background_features, FEATURES),
    _fit_background,
)
LBP = Rival(
    "lbp",
    "[5] LBP + SVM",
    Quote(0.9384, "not stated in the abstract; 93.84 % is 244 of 260"),
    _one_by_one(texture.describe, 54),
    texture.fit,
)
SWARM = Rival(
    "swarm",
    "[3] deep features, Salp Swarm, kNN",
    Quote(0.9567, "not stated in the abstract"),
    _deep_features,
    deep.fit,
    network=True,
)
MORPHOLOGY = Rival(
    "morphology",
    "[4] shape, texture, colour + SVM",
    Quote(0.9667, "10-fold, by image"),
    _one_by_one(morphology.describe, 80),
    morphology.fit,
)
PROBE = Rival("probe", "linear probe", None, _deep_features, _fit_probe, network=True)
RIVALS = {rival.key: rival for rival in (LBP, SWARM, MORPHOLOGY)}
HALF = "mean of 10 repeats, half of the images tested, by image"


def name_of_network(config: Config) -> tuple[str, Quote | None]:
    """What a network trained with these settings is called, and what its like is quoted with.

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
    """`train.epochs=3` for each setting of the recipe that is not the default."""
    plain = Config()
    found = []
    for section in ("augment", "train", "calibrate"):
        own, usual = (getattr(some, section).model_dump() for some in (config, plain))
        found += [f"{section}.{key}={value}" for key, value in own.items() if value != usual[key]]
    if config.model.tta:
        found.append("tta")
    if config.data.image_size != plain.data.image_size:
        found.append(f"{config.data.image_size} px")
    return found
