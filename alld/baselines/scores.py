"""One rival on one split: described once, fitted on the training side, kept on disk.

A judged split is a file and is never computed twice, unless set, split or rival changed.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from alld.baselines.bench import Bench
from alld.baselines.learning import Features
from alld.baselines.systems import Rival
from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.manifest import Manifest, Pictures
from alld.data.splits import Split, split_text
from alld.errors import RunError
from alld.runtime.files import sha256_hex, write_json
from alld.runtime.reading import read_json


@dataclass(frozen=True)
class Described:
    """(N, d) features of a set, and the seconds that one image took."""

    features: Features
    seconds: float


@dataclass(frozen=True)
class Judged:
    """P(blast) of the test images of a split; seconds of the whole training, and of one image."""

    identity: str
    fingerprint: str
    split_sha256: str
    probabilities: tuple[float, ...]
    training_seconds: float
    image_seconds: float


def describe_set(rival: Rival, bench: Bench) -> Described:
    """The features of every image of the set.

    Those of a network take seconds; the others are kept in the user's cache folder.
    """
    file = cache_file(f"rival-{rival.key}", bench.manifest.fingerprint, rival.version)
    kept = None if rival.network else _kept(file, len(bench.manifest))
    if kept is not None:
        return kept
    pictures = Pictures(bench.manifest, kept=0)[:]  # decoded before the clock runs
    began = time.perf_counter()
    features = rival.describe(pictures, bench.config)
    found = Described(features, (time.perf_counter() - began) / len(features))
    if not rival.network:
        # JSON has no NaN.
        rows = [None if np.isnan(row).any() else row.tolist() for row in features]
        write_cached(file, {"seconds": found.seconds, "rows": rows})
    return found


def _kept(file: Path, images: int) -> Described | None:
    """None where nothing lies there or what lies there is not ours."""
    try:
        content = read_cached(file)
        width = max(len(row) for row in content["rows"] if row is not None)
        rows = [[np.nan] * width if row is None else row for row in content["rows"]]
        found = Described(np.array(rows, dtype=float), float(content["seconds"]))
    except (TypeError, ValueError, KeyError):
        return None
    return found if found.features.ndim == 2 and len(found.features) == images else None


def judge(rival: Rival, described: Described, bench: Bench, split: Split, file: Path) -> Judged:
    """Fit on all images that the split does not test, and judge those that it does.

    The validation images train too: whatever is chosen is chosen in inner folds.

    Raises:
        RunError: `file` holds something else than a judged split.
    """
    identity, sha256 = rival.identity(bench.config), _sha256(bench.manifest, split)
    wanted = (identity, bench.manifest.fingerprint, sha256)
    kept = _read(file)
    if kept and (kept.identity, kept.fingerprint, kept.split_sha256) == wanted:
        return kept
    training = [*split.indices("train"), *split.indices("valid")]
    test, labels = split.indices("test"), bench.labels
    groups = [split.groups[index] for index in training]
    # Many products of small matrices: threads would only wait for each other.
    with threadpool_limits(1):
        began = time.perf_counter()
        predict = rival.learn(described.features[training], labels[training], groups, split.seed)
        fitted = time.perf_counter()
        probabilities = predict(described.features[test])
        done = time.perf_counter()
    judged = Judged(
        *wanted,
        tuple(map(float, probabilities)),
        training_seconds=described.seconds * len(training) + fitted - began,
        image_seconds=described.seconds + (done - fitted) / len(test),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(judged))
    return judged


def _read(file: Path) -> Judged | None:
    try:
        content = read_json(file)
        return Judged(**{**content, "probabilities": tuple(content["probabilities"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{file}: not a judged split ({error}); delete it") from error


def _sha256(manifest: Manifest, split: Split) -> str:
    return sha256_hex(split_text(manifest, split).encode())
