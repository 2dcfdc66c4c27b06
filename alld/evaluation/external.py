"""Test the unchanged model of a run on images of another set, and compare with its own test.

The distance of the other set from the run's own is measured in the model's features, class by
class, because whole sets differ as soon as their shares of blasts do. Only images that did not
train the model stand for the run's own set: features of training images lie closer together.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.groups.load import load_groups
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Part, Pictures
from alld.data.pixels import with_pixel_hashes
from alld.data.sources.all_idb2 import is_field
from alld.data.splits import Split
from alld.errors import AlldError, DataError, RunError
from alld.evaluation.copies import find_copies
from alld.evaluation.measure import Step, TestSet
from alld.evaluation.result import METRICS, Result, as_metric, read_result
from alld.inference.predictor import Predictor
from alld.runs.folder import Run, read_manifest, read_records, read_split
from alld.stats.intervals import UndefinedMetric
from alld.stats.metrics import Metric
from alld.stats.shift import Features, feature_shift, independent_difference

REFUSED = "out_of_domain"
COMPARED = ("accuracy", "sensitivity", "specificity", "roc_auc", "brier", "ece", REFUSED)
# These change with the share of blasts alone; sensitivity and specificity are of one class each.
MIXED = ("accuracy", "brier", "ece")
MOST = 1000  # images of each class of a set whose features are compared; more only cost time


@dataclass(frozen=True)
class Own:
    """The run's own images and their parts, or the reason why they are not known."""

    manifest: Manifest | None
    split: Split | None
    reason: str | None = None
    no_search: str | None = None  # why other pictures of its cells were not sought

    def part(self, *parts: Part) -> Manifest | None:
        """Return the images of some parts; None where they are not known."""
        if self.manifest is None or self.split is None:
            return None
        numbers = [number for part in parts for number in self.split.indices(part)]
        return replace(self.manifest, records=tuple(self.manifest.records[i] for i in numbers))

    def contents(self, *parts: Part) -> set[str]:
        """Return the hashes of files and pixels of some parts; empty where they are not known."""
        return {content for record in self.part(*parts) or () for content in record.contents}

    def patients(self) -> set[str]:
        """Return the patients whose cells trained the model."""
        pairs = zip(self.split.patients, self.split.parts, strict=True) if self.split else ()
        return {patient for patient, part in pairs if part != "test"} - {""}


def own_images(run: Run) -> Own:
    """Return the run's own set as the run recorded it; an older run's set is read from disk."""
    facts = run.info["data"]
    try:
        try:
            records = read_records(run)
            root, synthetic = Path(facts["root"]), bool(facts["synthetic"])
            manifest = Manifest(root, facts["name"], records, synthetic)
        except RunError:
            manifest = read_manifest(run)
        split = read_split(run, manifest)
        with suppress(AlldError):  # an older run without the hashes, whose images are gone
            if not all(record.pixels_sha256 for record in manifest):
                manifest = with_pixel_hashes(manifest)
        return Own(manifest, split)
    except AlldError as error:
        return Own(None, None, str(error))


def check_other(run: Run, manifest: Manifest, own: Own, step: Step) -> tuple[Manifest, Own]:
    """Refuse a changed copy of the run's own set, and images whose cells trained the model.

    Files are recognised by their pixels, then other pictures of one cell by their texture.

    Returns:
        The manifest with the hashes of its pixels, and `own` with what could not be checked.

    Raises:
        DataError: the set is such a copy, or holds such images.
        ImageError: an image of the set cannot be read.
    """
    facts = run.info["data"]
    state = f"{len(manifest)} images now, {facts['images']} then"
    if manifest.kind == facts["name"] == "ALL-IDB2" and not manifest.synthetic | facts["synthetic"]:
        raise DataError(
            f"{manifest.root}: ALL-IDB2, but not the images that {run.folder} was trained on "
            f"({state}); bring the same set back. No copy of it is an external test"
        )
    manifest = with_pixel_hashes(manifest, partial(step, "hashing pixels"))
    trained = own.contents("train", "valid")
    seen = [record.path for record in manifest if record.contents & trained]
    if seen:
        raise DataError(
            f"{manifest.root}: {len(seen)} of these images trained {run.folder} (first: {seen[0]});"
            f" take them out of an external validation. If these are the run's own, they are not "
            f"the images that it was trained on ({state}): bring the same set back"
        )
    try:
        copies, no_search = find_copies(own.part("train", "valid"), manifest, step)
    except AlldError as error:
        return manifest, replace(own, no_search=f"the run's own images cannot be read: {error}")
    if copies:
        first = copies[0]
        raise DataError(
            f"{manifest.root}: {len({copy.path for copy in copies})} of these images show cells "
            f"that trained {run.folder}, in other files (first: {first.path} shows "
            f"{first.shows}); take them out of an external validation"
        )
    return manifest, replace(own, no_search=no_search)


def external_test(
    run: Run, manifest: Manifest, load: Callable[[], Predictor], step: Step
) -> TestSet:
    """Return a test of all images of another set, in groups of their own."""
    groups = load_groups(manifest, progress=partial(step, "comparing images for shared cells"))
    patients = manifest.patients if any(manifest.patients) else ()
    everything = list(range(len(manifest)))
    names, source = groups.of_image, groups.source
    return TestSet(run, manifest, load(), everything, names, patients, groups_source=source)


def external_folder(run: Run, manifest: Manifest) -> Path:
    """Return the folder for the validation on this set; the same set has the same folder."""
    return run.folder / "external" / f"{_name(manifest)}-{manifest.fingerprint[:8]}"


def external_facts(test: TestSet, own: Own, found: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """Return how the numbers that `measure` found, and the images, differ from the run's own."""
    run, manifest = test.run, test.manifest
    trained, held_out = run.info["data"], own.contents("test")
    internal, reason = read_own_test(test)
    shift, no_shift = _shifts(own, test, step)
    both = manifest.kind == trained["name"] == "C-NMC 2019"  # other sets share no patient names
    return {
        "set": _name(manifest),
        "trained_on": {
            **{name: trained[name] for name in ("name", "images", "synthetic", "fingerprint")},
            "split": run.info["split"]["kind"],
            "split_seed": run.info["split"]["seed"],
        },
        "one_class": LABEL_NAMES[test.labels[0]] if len(set(test.labels)) == 1 else None,
        "not_checked": own.reason,
        "no_search": own.no_search,
        "held_out_there": sum(bool(record.contents & held_out) for record in manifest),
        "fields_of_all_idb1": sum(is_field(record.path) for record in manifest),
        "shared_patients": len(own.patients() & set(test.patients)) if both else 0,
        "internal": internal and {"images": internal.data["test_images"]},
        "comparison": internal and _compare(internal, found, test),
        "no_comparison": reason,
        "shift": shift,
        "no_shift": no_shift,
    }


def _name(manifest: Manifest) -> str:
    """The name of the set's folder, with dashes in place of what file names should not hold."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.root.resolve().name).strip("-.")
    return plain[:60] or "set"


def read_own_test(test: TestSet) -> tuple[Result | None, str | None]:
    """Return the run's own test by the same model, or the reason why there is none."""
    folder = test.run.folder / "evaluation"
    advice = f"for a comparison first: alld evaluate {test.run.folder}"
    if not (folder / METRICS).is_file():
        return None, f"the run's own test was not evaluated; {advice}"
    try:
        own = read_result(folder)
        model = own.model["identity"], own.model["tta"]
        _ = own.data["test_images"], _comparable(vars(own), own.data["test_groups"])
    except (RunError, ValueError, KeyError, TypeError):
        return None, f"the evaluation of the run's own test cannot be read; {advice}"
    if model != (test.predictor.identity, test.predictor.tta):
        return None, f"the run's own test was of another model or with another tta; {advice}"
    return own, None


def _compare(
    internal: Result, found: Mapping[str, Any], test: TestSet
) -> dict[str, dict[str, Any]]:
    """Each metric here, in the run's own test, and the difference: here minus there."""
    one_class = len(set(test.labels)) == 1
    there = _comparable(vars(internal), internal.data["test_groups"])
    rows = {}
    for name, metric in _comparable(found, len(set(test.groups))).items():
        difference = independent_difference(metric, there[name])
        if one_class and name in MIXED:
            reason = "this set has one class, the run's own test has both"
            difference = Metric(None, None, difference.n, None, None, None, reason)
        rows[name] = {
            "external": metric.as_dict(),
            "internal": there[name].as_dict(),
            "difference": difference.as_dict(),
        }
    return rows


def _comparable(found: Mapping[str, Any], groups: int) -> dict[str, Metric]:
    """The compared metrics; intervals are over groups if some groups have several images."""
    metrics: dict[str, Metric] = found["metrics"]
    if groups < metrics["accuracy"].n:
        metrics = metrics | found["grouped_metrics"]
    refused = {REFUSED: as_metric(found["abstention"][REFUSED])}
    return {name: (metrics | refused)[name] for name in COMPARED}


_Seen = tuple[Features, list[str]]  # features of some images, and their groups


def _shifts(own: Own, test: TestSet, step: Step) -> tuple[dict[str, Any] | None, str | None]:
    """The distance between both sets in each class and, for scale, between the run's own classes.

    The second value is the reason where the run's own images are missing.
    """
    if own.manifest is None or own.split is None:
        return None, own.reason
    held_out = own.split.indices("valid") + own.split.indices("test")
    sets = {
        "own": (own.manifest, held_out, own.split.groups),
        "other": (test.manifest, test.indices, test.set_groups),
    }
    seen: dict[tuple[str, int], _Seen] = {}
    try:
        for side, (manifest, indices, groups) in sets.items():
            for label in (BLAST, HEALTHY):
                part = _sample(manifest, indices, label)
                features = test.predictor.features(_pictures(manifest, part, step))
                seen[side, label] = features, [groups[index] for index in part]
    except AlldError as error:
        return None, f"the run's own images cannot be read: {error}"
    found = {
        name: _shift(seen["own", label], seen["other", label])
        for label, name in enumerate(LABEL_NAMES)
    }
    return {**found, "own_classes": _shift(seen["own", BLAST], seen["own", HEALTHY])}, None


def _pictures(manifest: Manifest, part: Sequence[int], step: Step) -> Iterator[NDArray[np.uint8]]:
    pictures = Pictures(manifest)
    for done, index in enumerate(part, start=1):
        yield pictures[index]
        step("comparing with the run's own images", done, len(part))


def _sample(manifest: Manifest, indices: Sequence[int], label: int) -> list[int]:
    members = [index for index in indices if manifest.records[index].label == label]
    if len(members) <= MOST:
        return members
    drawn = np.random.default_rng(0).choice(len(members), MOST, replace=False)
    return [members[place] for place in sorted(drawn.tolist())]


def _shift(first: _Seen, second: _Seen) -> dict[str, Any]:
    try:
        return feature_shift(first[0], second[0], first[1], second[1]).as_dict()
    except UndefinedMetric as undefined:
        return {"distance": None, "reason": str(undefined)}
