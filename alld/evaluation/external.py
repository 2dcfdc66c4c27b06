"""Test the unchanged model of a run on images of another set, and compare with its own test.

The distance of the other set from the run's own is measured class by class, in the features of the
model: whole sets differ already where their shares of blasts do. A run's own images are those that
did not train it, because features of training images lie closer together.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alld.data.groups.load import load_groups
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Pictures
from alld.data.sources.all_idb2 import is_field
from alld.data.splits import Part, Split
from alld.errors import AlldError, DataError, RunError
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
MOST = 1000  # images of a class and a set in a shift; more would only slow it


@dataclass(frozen=True)
class Own:
    """The run's own images and their parts, or the reason why they are not known."""

    manifest: Manifest | None
    split: Split | None
    reason: str | None = None

    def hashes(self, part: Part) -> set[str]:
        """Return the SHA-256 of the images of one part; empty where it is not known."""
        if self.manifest is None or self.split is None:
            return set()
        return {self.manifest.records[index].sha256 for index in self.split.indices(part)}

    def patients(self) -> set[str]:
        """Return the patients whose cells trained the model."""
        pairs = zip(self.split.patients, self.split.parts, strict=True) if self.split else ()
        return {patient for patient, part in pairs if part != "test"} - {""}


def own_images(run: Run) -> Own:
    """Return the run's own set as it was recorded; of an older run, as it is found on disk."""
    facts = run.info["data"]
    try:
        try:
            records = read_records(run)
            root, synthetic = Path(facts["root"]), bool(facts["synthetic"])
            manifest = Manifest(root, facts["name"], records, synthetic)
        except RunError:
            manifest = read_manifest(run)
        return Own(manifest, read_split(run, manifest))
    except AlldError as error:
        return Own(None, None, str(error))


def check_other(run: Run, manifest: Manifest, own: Own) -> None:
    """Refuse another state of the run's own set, and a set with images that trained the model.

    Raises:
        DataError: one of both.
    """
    facts = run.info["data"]
    state = f"{len(manifest)} images now, {facts['images']} then"
    if manifest.kind == facts["name"] == "ALL-IDB2" and not manifest.synthetic | facts["synthetic"]:
        raise DataError(
            f"{manifest.root}: ALL-IDB2, but not the images that {run.folder} was trained on "
            f"({state}); bring the same set back. No copy of it is an external test"
        )
    trained = own.hashes("train") | own.hashes("valid")
    seen = [record.path for record in manifest if record.sha256 in trained]
    if seen:
        raise DataError(
            f"{manifest.root}: {len(seen)} of these images trained {run.folder} (first: {seen[0]});"
            f" take them out of an external validation. If these are the run's own, they are not "
            f"the images that it was trained on ({state}): bring the same set back"
        )


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
    """Compare this test, as `measure` found it, with the run's own, and both sets' images."""
    run, manifest = test.run, test.manifest
    trained, held_out = run.info["data"], own.hashes("test")
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
        "held_out_there": sum(record.sha256 in held_out for record in manifest),
        "fields_of_all_idb1": sum(is_field(record.path) for record in manifest),
        "shared_patients": len(own.patients() & set(test.patients)) if both else 0,
        "internal": internal and {"images": internal.data["test_images"]},
        "comparison": internal and _compare(internal, found, test),
        "no_comparison": reason,
        "shift": shift,
        "no_shift": no_shift,
    }


def _name(manifest: Manifest) -> str:
    """The set's name for files and titles: letters, digits and dashes of its folder's name."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.root.resolve().name).strip("-.")
    return plain[:60] or "set"


def read_own_test(test: TestSet) -> tuple[Result | None, str | None]:
    """Return the run's own test by the very same model, or the reason why there is none."""
    folder = test.run.folder / "evaluation"
    advice = f"for a comparison first: alld evaluate {test.run.folder}"
    if not (folder / METRICS).is_file():
        return None, f"the run's own test was not evaluated; {advice}"
    try:
        own = read_result(folder)
        model = own.model["identity"], own.model["tta"]
        _ = own.data["test_images"], [_own_metric(name, own) for name in COMPARED]
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
    rows = {}
    for name in COMPARED:
        here = _metric_here(name, found, test.groups)
        there = _own_metric(name, internal)
        difference = independent_difference(here, there)
        if one_class and name in MIXED:
            reason = "one class here, both there: no comparison"
            difference = Metric(None, None, difference.n, None, None, None, reason)
        named = {"external": here, "internal": there, "difference": difference}
        rows[name] = {side: metric.as_dict() for side, metric in named.items()}
    return rows


def _metric_here(name: str, found: Mapping[str, Any], groups: Sequence[str]) -> Metric:
    """With an interval over groups, where images are correlated within groups."""
    if name == REFUSED:
        return as_metric(found["abstention"][REFUSED])
    grouped: Mapping[str, Metric] = found["grouped_metrics"]
    metrics: Mapping[str, Metric] = found["metrics"]
    return grouped[name] if name in grouped and len(set(groups)) < len(groups) else metrics[name]


def _own_metric(name: str, own: Result) -> Metric:
    """As `_metric_here`, of the run's own test."""
    if name == REFUSED:
        return as_metric(own.abstention[REFUSED])
    grouped = own.data["test_groups"] < own.metrics["accuracy"].n
    metrics = own.grouped_metrics if grouped else own.metrics
    return metrics.get(name, own.metrics[name])


_Seen = tuple[Features, list[str]]  # features of some images, and their groups


def _shifts(own: Own, test: TestSet, step: Step) -> tuple[dict[str, Any] | None, str | None]:
    """The distance between both sets in each class and, for scale, between the run's own classes.

    Without the run's own images there is a reason instead.
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
