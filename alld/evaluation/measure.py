"""Predict images with the model of a run and measure the predictions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from alld.auditing.background import background_auc
from alld.data.domains import domain_table
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Pictures, class_counts
from alld.data.splits import Split
from alld.errors import DataError
from alld.evaluation.explanation import Explanation, explain_test
from alld.evaluation.out_of_fold import HeldOut, by_repeat, pooled_by_patient, separate_metrics
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, VERDICTS, Prediction
from alld.inference.predictor import Predictor
from alld.model.bundle import library_versions
from alld.runs.folder import Run
from alld.runs.machine import git_commit
from alld.stats.confusion import confusion
from alld.stats.metrics import Metric, proportion
from alld.stats.reliability import reliability_curve
from alld.stats.selective import gain_in_accuracy, risk_coverage

Step = Callable[[str, int, int], None]  # name of the step, units done, units in all
NAMED = 5  # of the groups that leak through a split
_OF_TRAINING = (
    "started", "seconds", "device", "precision", "threads", "workers", "world_size", "git_commit",
    "versions",
)  # fmt: skip


@dataclass(frozen=True)
class TestSet:
    """Some images of a set, to be tested with the model of a run."""

    run: Run
    manifest: Manifest
    predictor: Predictor
    indices: list[int]  # of the manifest
    set_groups: Sequence[str]  # of all images of the manifest
    set_patients: Sequence[str]  # as many, or none where the set names no patients
    split: Split | None = None  # None where all images are tested, by a model that saw none
    groups_source: str = ""

    @property
    def labels(self) -> list[int]:
        """0 or 1 for each tested image."""
        return [self.manifest.records[index].label for index in self.indices]

    @property
    def groups(self) -> list[str]:
        """The group of each tested image."""
        return [self.set_groups[index] for index in self.indices]

    @property
    def patients(self) -> list[str]:
        """The patient of each tested image; empty where that is not known."""
        return [self.set_patients[index] if self.set_patients else "" for index in self.indices]

    @property
    def pictures(self) -> Pictures:
        """The tested images in their order, decoded when they are read."""
        records = tuple(self.manifest.records[index] for index in self.indices)
        return Pictures(replace(self.manifest, records=records))


def predict(test: TestSet, step: Step) -> list[Prediction]:
    """Return a prediction for each tested image.

    Raises:
        DataError: an image cannot be read, or has changed since its hash was taken.
    """
    predictions: list[Prediction] = []
    files = (test.manifest.file(index) for index in test.indices)
    for index, prediction in zip(test.indices, test.predictor.iterate(files), strict=True):
        test.manifest.check(index, prediction.sha256)
        if prediction.error:
            raise DataError(f"a test image cannot be read: {prediction.error}")
        predictions.append(prediction)
        step("predicting test images", len(predictions), len(test.indices))
    return predictions


def explain(
    test: TestSet, predictions: Sequence[Prediction], wanted: bool | None, step: Step
) -> Explanation:
    """Check heat maps of the tested images; if `wanted` is None, the run's settings decide."""
    config = test.run.config.evaluate
    if wanted is False or (wanted is None and not config.heat_maps):
        left_out = "--no-heat-maps" if wanted is False else "evaluate.heat_maps is false"
        return Explanation(reason=f"left out of this evaluation ({left_out})")
    return explain_test(
        test.predictor,
        test.pictures,
        predictions,
        test.groups,
        draws=config.bootstrap_draws,
        progress=partial(step, "checking heat maps"),
    )


def background(test: TestSet, step: Step) -> Metric:
    """Return how well the background of the whole set predicts the label, unless left out."""
    if not test.run.config.evaluate.background:
        reason = "evaluate.background is false in the run's config.yaml"
        return Metric(None, None, len(test.manifest), None, None, None, reason)
    progress = partial(step, "measuring backgrounds")
    return background_auc(test.manifest, test.set_groups, progress)


def measure(test: TestSet, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return every number that follows from the predictions, as fields of `Result`.

    Where patients are known they are the groups of every interval.
    """
    threshold, draws = test.predictor.info.threshold, test.run.config.evaluate.bootstrap_draws
    columns = zip(predictions, test.labels, test.groups, test.patients, strict=True)
    rows = [
        HeldOut(
            repeat=1,
            fold=1,
            path=one.path,
            sha256=str(one.sha256),
            group=group,
            label=label,
            probability=float(one.probability or 0),
            threshold=threshold,
            answer=one.verdict,
            patient=patient,
            pixels_sha256=one.pixels_sha256 or "",
        )
        for one, label, group, patient in columns
    ]
    metrics, grouped = separate_metrics(rows, draws)
    info = test.predictor.info
    return {
        **shared_numbers(rows, draws),
        "metrics": metrics | grouped if any(test.patients) else metrics,
        "grouped_metrics": grouped,
        "reliability": reliability_curve(test.labels, [row.probability for row in rows]),
        "abstention": {
            **abstention(rows, draws),
            "limits": info.limits.model_dump(),
            "band": info.uncertain and info.uncertain.model_dump(),
        },
        "predictions": tuple(predictions),
    }


def shared_numbers(rows: Sequence[HeldOut], draws: int) -> dict[str, Any]:
    """Return the fields of `Result` that a run and a cross-validation measure in the same way."""
    return {
        "by_patient": pooled_by_patient(by_repeat(rows), draws),
        "confusion": confusion([row.label for row in rows], [row.verdict for row in rows]),
        "wrong": sum(row.wrong for row in rows),
        "rows": tuple(rows),
    }


def abstention(rows: Sequence[HeldOut], draws: int) -> dict[str, Any]:
    """Return how many images get no verdict, and the accuracy on the others.

    `stats.selective` defines `gain` and `curve`.
    """
    answers = [str(row.answer) for row in rows]
    counts = {verdict: answers.count(verdict) for verdict in VERDICTS}
    kept = [answer not in (UNCERTAIN, OUT_OF_DOMAIN) for answer in answers]
    correct = [not row.wrong for row in rows]
    kept_correct = sum(ok for ok, given in zip(correct, kept, strict=True) if given)
    labels = np.array([row.label == BLAST for row in rows], dtype=int)
    curve = risk_coverage(labels, [r.probability for r in rows], [r.threshold for r in rows])
    reason = "there is no image"
    none = "no image of this class has a verdict"
    right = {
        label: [
            ok
            for ok, given, row in zip(correct, kept, rows, strict=True)
            if given and row.label == label
        ]
        for label in (BLAST, HEALTHY)
    }
    return {
        "verdicts": counts,
        "out_of_domain": proportion(counts[OUT_OF_DOMAIN], len(rows), reason).as_dict(),
        "uncertain": proportion(counts[UNCERTAIN], len(rows), reason).as_dict(),
        "kept": proportion(sum(kept), len(rows), reason).as_dict(),
        "kept_accuracy": proportion(kept_correct, sum(kept), "no image has a verdict").as_dict(),
        "kept_sensitivity": proportion(sum(right[BLAST]), len(right[BLAST]), none).as_dict(),
        "kept_specificity": proportion(sum(right[HEALTHY]), len(right[HEALTHY]), none).as_dict(),
        "gain": gain_in_accuracy(correct, kept, [row.group for row in rows], draws=draws).as_dict(),
        "curve": [asdict(point) for point in curve],
    }


def model_facts(predictor: Predictor) -> dict[str, Any]:
    """Return which model it is, and how its threshold and temperature were chosen."""
    info = predictor.info
    named = ("arch", "initial_weights", "image_size", "threshold", "temperature")
    fit, choice = info.temperature_fit, info.threshold_choice
    return {
        "identity": predictor.identity,
        "tta": predictor.tta,
        "calibrated_with_tta": info.tta,
        **{name: getattr(info, name) for name in named},
        "resize": info.preparation,
        "threshold_how": choice.how,
        "threshold_warning": choice.warning,
        "temperature_how": fit.reason or fit.method or "",
    }


def set_facts(test: TestSet) -> dict[str, Any]:
    """Return which set it is, and which of its images were tested."""
    manifest, labels, split = test.manifest, test.manifest.labels, test.split
    facts = {
        "name": manifest.kind,
        "fingerprint": manifest.fingerprint,
        "synthetic": manifest.synthetic,
        "images": len(manifest),
        "classes": {name: labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        "groups": test.groups_source if split is None else split.groups_source,
        "test_groups": len(set(test.groups)),
        "leaking_groups": 0 if split is None else split.leaking_groups,
        "leaking": [] if split is None else split.leaking[:NAMED],
        "test_images": class_counts(test.labels),
        "domains": (table := domain_table(manifest)) and table.as_dict(),
    }
    if split is None:
        return facts
    return facts | {
        "parts": {part: len(split.indices(part)) for part in ("train", "valid", "test")},
        "split": split.kind,
        **({"tested_domains": _tested_domains(test)} if split.kind == "session" else {}),
        "split_seed": split.seed,
        "split_sha256": test.run.info["split"]["sha256"],
    }


def _tested_domains(test: TestSet) -> list[str]:
    return sorted({test.manifest.records[index].domain or "" for index in test.indices})


def provenance(run: Run, *, device: str, threads: int, seconds: float) -> dict[str, Any]:
    """Return settings, versions, machine, times and commit of a run's training and evaluation."""
    training = run.info
    parallel: Mapping[str, Any] = training.get("parallel") or {}
    changed = training.get("inexact")  # what differed when the run was resumed
    return {
        "config": run.config.model_dump(mode="json"),
        "training": {
            **{name: training.get(name) for name in _OF_TRAINING},  # older runs recorded fewer
            **{name: value for name, value in parallel.items() if name != "processes"},
            **({"resumed_inexactly": "; ".join(changed)} if changed else {}),
        },
        "evaluation": {
            **finished_now(),
            "seconds": round(seconds, 1),
            "device": device,
            "threads": threads,
        },
    }


def finished_now() -> dict[str, Any]:
    """Return the time, the commit and the versions of what is finished now."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "versions": library_versions(),
    }
