"""The splits that systems are compared on, and what a system says of a test part."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alld.config.schema import Config, parse_config
from alld.data.groups.load import Groups
from alld.data.manifest import Manifest
from alld.data.splits import Split, make_split
from alld.evaluation.out_of_fold import HeldOut

FOLDS = 5


@dataclass(frozen=True)
class Bench:
    """A set, its groups and the settings that draw its splits.

    Each split is that of a run or a fold with the same settings and seed, bit for bit.
    """

    manifest: Manifest
    groups: Groups
    config: Config

    def paper_shaped(self, seed: int) -> Split:
        """23 blasts and 29 healthy cells as the test, drawn with `seed` added to the config's."""
        return self._split(paper_config(self.config, seed))

    def folds(self, repeat: int) -> Iterator[Split]:
        """The five grouped folds of a repeat, from 1; each image is in one test part."""
        settings = grouped_config(self.config).model_dump(mode="json")
        settings["split"]["seed"] = self.config.seed + repeat - 1
        for fold in range(1, FOLDS + 1):
            settings["split"] |= {"folds": FOLDS, "fold": fold}
            yield self._split(parse_config(settings, "settings"))

    def judged(
        self, split: Split, probabilities: Iterable[float], repeat: int = 1, fold: int = 1
    ) -> list[HeldOut]:
        """The test images of a split with the P(blast) of each, in their order; threshold 0.5."""
        return [
            self._row(split, index, float(probability), repeat, fold)
            for index, probability in zip(split.indices("test"), probabilities, strict=True)
        ]

    def _split(self, config: Config) -> Split:
        of_image, source = self.groups.of_image, self.groups.source
        return make_split(self.manifest, of_image, source, config.split, config.split_seed)

    def _row(self, split: Split, index: int, probability: float, repeat: int, fold: int) -> HeldOut:
        record = self.manifest.records[index]
        return HeldOut(
            repeat=repeat,
            fold=fold,
            path=record.path,
            sha256=record.sha256,
            group=split.groups[index],
            label=record.label,
            probability=probability,
            threshold=0.5,
        )

    @property
    def labels(self) -> NDArray[np.int_]:
        """(N,) 0 healthy, 1 blast."""
        return np.array(self.manifest.labels)


def grouped_config(config: Config) -> Config:
    """The settings of grouped cross-validation."""
    settings = config.model_dump(mode="json")
    settings["split"] |= {"kind": "grouped", "seed": None, "folds": None, "fold": None}
    return parse_config(settings, "settings")


def paper_config(config: Config, seed: int) -> Config:
    """The settings of one paper-shaped test; split and training get the same seed."""
    settings = grouped_config(config).model_dump(mode="json")
    settings["split"]["kind"] = "paper"
    settings["seed"] = config.seed + seed
    return parse_config(settings, "settings")
