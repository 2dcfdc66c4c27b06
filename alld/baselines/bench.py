"""Draw the splits that systems are compared on, and predict them with baselines.

Predictions of a baseline are kept on disk, and computed again only where set, split or baseline
changed.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from alld.baselines.learning import Features
from alld.baselines.systems import Baseline
from alld.config.schema import Config, SplitKind, parse_config
from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.directions import pairings, tested_domains
from alld.data.groups.load import Groups
from alld.data.manifest import Manifest, Pictures
from alld.data.splits import Split, make_split, split_text
from alld.errors import RunError
from alld.evaluation.out_of_fold import HeldOut
from alld.runtime.files import sha256_hex, write_json
from alld.runtime.reading import read_json

FOLDS = 5


@dataclass(frozen=True)
class Bench:
    """A set, its groups and the settings that draw its splits.

    Each split equals that of a run or a fold with the same settings and seed.
    """

    manifest: Manifest
    groups: Groups
    config: Config

    def paper_shaped(self, seed: int) -> Split:
        """Draw 23 blasts and 29 healthy cells as the test, with `seed` added to the config's."""
        return self._split(paper_config(self.config, seed))

    def folds(self, repeat: int) -> list[Split]:
        """Draw the five folds of a repeat, counted from 1: grouped, or as `split.kind` says."""
        settings = folds_config(self.config).model_dump(mode="json")
        settings["split"] |= {"seed": self.config.seed + repeat - 1, "folds": FOLDS}
        splits = []
        for fold in range(1, FOLDS + 1):
            settings["split"]["fold"] = fold
            splits.append(self._split(parse_config(settings, "settings")))
        return splits

    def directions(self, repeat: int) -> list[tuple[str, Split]]:
        """Draw the tests of other sessions of a repeat, counted from 1: what each tests, its split.

        Where a repeat tests one of several pairings, `repeat` runs through them in turn.
        """
        found = pairings(self.manifest)
        settings = session_config(self.config).model_dump(mode="json")
        settings["split"]["seed"] = seed = self.config.seed + repeat - 1
        settings["split"]["folds"] = len(found[0])
        tests = []
        for fold in range(1, len(found[0]) + 1):
            settings["split"]["fold"] = fold
            split = self._split(parse_config(settings, "settings"))
            tests.append((", ".join(sorted(tested_domains(found, seed, fold))), split))
        return tests

    def held_out(
        self, split: Split, probabilities: Iterable[float], repeat: int = 1, fold: int = 1
    ) -> list[HeldOut]:
        """Return the test images of a split, in order, with their P(blast) and threshold 0.5."""
        rows = []
        for index, probability in zip(split.indices("test"), probabilities, strict=True):
            record = self.manifest.records[index]
            rows.append(
                HeldOut(
                    repeat=repeat,
                    fold=fold,
                    path=record.path,
                    sha256=record.sha256,
                    group=split.groups[index],
                    label=record.label,
                    probability=float(probability),
                    threshold=0.5,
                    pixels_sha256=record.pixels_sha256 or "",
                )
            )
        return rows

    def _split(self, config: Config) -> Split:
        of_image, source = self.groups.of_image, self.groups.source
        return make_split(self.manifest, of_image, source, config.split, config.split_seed)

    @property
    def labels(self) -> NDArray[np.int_]:
        """(N,) 0 healthy, 1 blast."""
        return np.array(self.manifest.labels)


def folds_config(config: Config, kind: SplitKind | None = None) -> Config:
    """Return the settings of cross-validation.

    Args:
        kind: of the folds; None for those of `config` where it says random or blocks, else grouped.
    """
    settings, own = config.model_dump(mode="json"), config.split.kind
    kind = kind or (own if own in ("random", "blocks") else "grouped")
    settings["split"] |= {"kind": kind, "seed": None, "folds": None, "fold": None}
    return parse_config(settings, "settings")


def session_config(config: Config) -> Config:
    """Return the settings of a cross-validation that tests other sessions."""
    return folds_config(config, "session")


def paper_config(config: Config, seed: int) -> Config:
    """Return the settings of one paper-shaped test; split and training get the same seed."""
    settings = folds_config(config).model_dump(mode="json")
    settings["split"]["kind"] = "paper"
    settings["seed"] = config.seed + seed
    return parse_config(settings, "settings")


@dataclass(frozen=True)
class Described:
    """(N, d) features of a set, and the seconds that one image took."""

    features: Features
    seconds: float


@dataclass(frozen=True)
class SplitPredictions:
    """P(blast) of the test images of a split; seconds of the whole training, and of one image."""

    identity: str
    fingerprint: str
    split_sha256: str
    probabilities: tuple[float, ...]
    training_seconds: float
    image_seconds: float


def describe_set(baseline: Baseline, bench: Bench) -> Described:
    """Return the features of every image of the set.

    Those of a network take seconds; the others are kept in the user's cache folder.
    """
    kind, manifest = f"baseline-{baseline.key}", bench.manifest
    file = cache_file(kind, manifest.fingerprint, baseline.version)
    kept = None if baseline.network else _read_features(file, len(manifest))
    if kept is not None:
        return kept
    pictures = Pictures(manifest, kept=0)[:]  # decoded before the clock runs
    began = time.perf_counter()
    features = baseline.describe(pictures, bench.config)
    seconds = (time.perf_counter() - began) / len(features)
    if not baseline.network:
        # JSON has no NaN.
        rows = [None if np.isnan(row).any() else row.tolist() for row in features]
        write_cached(file, {"seconds": seconds, "rows": rows})
    return Described(features, seconds)


def _read_features(file: Path, images: int) -> Described | None:
    """None where nothing is cached or the content does not fit."""
    try:
        content = read_cached(file)
        width = max(len(row) for row in content["rows"] if row is not None)
        rows = [[np.nan] * width if row is None else row for row in content["rows"]]
        found = Described(np.array(rows, dtype=float), float(content["seconds"]))
    except (TypeError, ValueError, KeyError):
        return None
    return found if found.features.ndim == 2 and len(found.features) == images else None


def predict_split(
    baseline: Baseline, described: Described, bench: Bench, split: Split, file: Path
) -> SplitPredictions:
    """Fit on all images that the split does not test, and predict those that it does.

    The validation images train too: parameters are chosen in inner folds.

    Raises:
        RunError: `file` holds something other than predictions.
    """
    wanted = {
        "identity": baseline.identity(bench.config),
        "fingerprint": bench.manifest.fingerprint,
        "split_sha256": sha256_hex(split_text(bench.manifest, split).encode()),
    }
    kept = _read_predictions(file)
    if kept and all(getattr(kept, name) == value for name, value in wanted.items()):
        return kept
    training = [*split.indices("train"), *split.indices("valid")]
    test, labels = split.indices("test"), bench.labels
    groups = [split.groups[index] for index in training]
    # Many products of small matrices: threads would only wait for each other.
    with threadpool_limits(1):
        began = time.perf_counter()
        predict = baseline.learn(described.features[training], labels[training], groups, split.seed)
        fitted = time.perf_counter()
        probabilities = predict(described.features[test])
        done = time.perf_counter()
    found = SplitPredictions(
        **wanted,
        probabilities=tuple(map(float, probabilities)),
        training_seconds=described.seconds * len(training) + fitted - began,
        image_seconds=described.seconds + (done - fitted) / len(test),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(found))
    return found


def _read_predictions(file: Path) -> SplitPredictions | None:
    try:
        content = read_json(file)
        return SplitPredictions(**{**content, "probabilities": tuple(content["probabilities"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file}: not the predictions of a split ({error}); delete it") from error
