"""An external validation: a run's model, as it is, on images that it has never seen."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from alld.data.groups.load import load_groups
from alld.data.manifest import LABEL_NAMES, Manifest
from alld.data.sources.all_idb2 import is_field
from alld.data.splits import Part, Split
from alld.errors import AlldError, DataError, RunError
from alld.evaluation.measure import Step, TestSet
from alld.evaluation.shifted import shifts
from alld.inference.predictor import Predictor
from alld.runs.folder import Run, read_manifest, read_records, read_split
from alld.runtime.reading import read_json
from alld.stats.metrics import Metric
from alld.stats.shift import independent_difference

REFUSED = "out_of_domain"
COMPARED = ("accuracy", "sensitivity", "specificity", "roc_auc", "brier", "ece", REFUSED)
# Sensitivity and specificity are of one class each; these change with the share of blasts alone.
MIXED = ("accuracy", "brier", "ece")
_METRIC = TypeAdapter(Metric)


@dataclass(frozen=True)
class Own:
    """The run's own images and their parts; without them the reason why they are not known."""

    manifest: Manifest | None
    split: Split | None
    reason: str | None = None

    def hashes(self, part: Part) -> set[str]:
        """The content of the images of one part; empty where it is not known."""
        if self.manifest is None or self.split is None:
            return set()
        return {self.manifest.records[index].sha256 for index in self.split.indices(part)}

    def patients(self) -> set[str]:
        """Whose cells trained the model."""
        pairs = zip(self.split.patients, self.split.parts, strict=True) if self.split else ()
        return {patient for patient, part in pairs if part != "test"} - {""}


def own_images(run: Run) -> Own:
    """The run's own set as it wrote it down; of an older run, as it still lies there."""
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
    """All images of another set, in groups of their own."""
    groups = load_groups(manifest, progress=partial(step, "comparing images for shared cells"))
    patients = manifest.patients if any(manifest.patients) else ()
    everything = list(range(len(manifest)))
    names, source = groups.of_image, groups.source
    return TestSet(run, manifest, load(), everything, names, patients, groups_source=source)


def external_folder(run: Run, manifest: Manifest) -> Path:
    """Where the validation on this set goes: the same set goes to the same place."""
    return run.folder / "external" / f"{_name(manifest)}-{manifest.fingerprint[:8]}"


def external_facts(test: TestSet, own: Own, found: Mapping[str, Any], step: Step) -> dict[str, Any]:
    """What stands beside the numbers: the run's own test, the differences, how far the sets lie.

    Args:
        found: what `measure` gave.
    """
    run, manifest = test.run, test.manifest
    trained, held_out = run.info["data"], own.hashes("test")
    internal, reason = _internal(test)
    shift, no_shift = _shift(test, own, step)
    both = manifest.kind == trained["name"] == "C-NMC 2019"  # names of two sources mean nothing
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
        "internal": internal and {"images": internal["data"]["test_images"]},
        "comparison": internal and _compare(internal, found, test),
        "no_comparison": reason,
        "shift": shift,
        "no_shift": no_shift,
    }


def _name(manifest: Manifest) -> str:
    """The set's name for files and titles: letters, digits and dashes of its folder's."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", manifest.root.resolve().name).strip("-.")
    return plain[:60] or "set"


def _internal(test: TestSet) -> tuple[dict[str, Any] | None, str | None]:
    """The metrics.json of the run's own test by the very same model, or why there is none."""
    path = test.run.folder / "evaluation" / "metrics.json"
    ask = f"for a comparison first: alld evaluate {test.run.folder}"
    try:
        facts: dict[str, Any] = read_json(path)
        model = facts["model"]["identity"], facts["model"]["tta"]
        _ = facts["metrics"], facts["grouped_metrics"], facts["data"]["test_images"]
        _ = [_stored(name, facts) for name in COMPARED]
    except FileNotFoundError:
        return None, f"the run's own test was not evaluated; {ask}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, f"the evaluation of the run's own test cannot be read; {ask}"
    if model != (test.predictor.identity, test.predictor.tta):
        return None, f"the run's own test was judged by another model or otherwise; {ask}"
    return facts, None


def _compare(
    internal: Mapping[str, Any], found: Mapping[str, Any], test: TestSet
) -> dict[str, dict[str, Any]]:
    """Each metric here, in the run's own test, and the difference: here minus there."""
    one_class = len(set(test.labels)) == 1
    rows = {}
    for name in COMPARED:
        here = _here(name, found, test.groups)
        there = _stored(name, internal)
        difference = independent_difference(here, there)
        if one_class and name in MIXED:
            reason = "one class here, both there: no comparison"
            difference = Metric(None, None, difference.n, None, None, None, reason)
        named = {"external": here, "internal": there, "difference": difference}
        rows[name] = {side: metric.as_dict() for side, metric in named.items()}
    return rows


def _here(name: str, found: Mapping[str, Any], groups: Sequence[str]) -> Metric:
    """With an interval that counts groups, where images hang together."""
    if name == REFUSED:
        return Metric(**found["abstention"][REFUSED])
    grouped: Mapping[str, Metric] = found["grouped_metrics"]
    metrics: Mapping[str, Metric] = found["metrics"]
    return grouped[name] if name in grouped and len(set(groups)) < len(groups) else metrics[name]


def _stored(name: str, facts: Mapping[str, Any]) -> Metric:
    """As `_here`, of a metrics.json."""
    if name == REFUSED:
        return _METRIC.validate_python(facts["abstention"][REFUSED])
    grouped = facts["data"]["test_groups"] < facts["metrics"]["accuracy"]["n"]
    metrics = facts["grouped_metrics" if grouped else "metrics"]
    return _METRIC.validate_python(metrics.get(name, facts["metrics"][name]))


def _shift(test: TestSet, own: Own, step: Step) -> tuple[dict[str, Any] | None, str | None]:
    if own.manifest is None or own.split is None:
        return None, own.reason
    try:
        return shifts(own.manifest, own.split, test, step), None
    except AlldError as error:
        return None, f"the run's own images cannot be read: {error}"
