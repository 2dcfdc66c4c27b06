"""Images through the predictor, numbers out: the same for a run's own test and for other images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from alld.audit.background import background_auc
from alld.data.manifest import LABEL_NAMES, Manifest, Pictures, class_counts
from alld.data.splits import Split
from alld.errors import DataError
from alld.evaluation.abstention import abstention
from alld.evaluation.explanation import Explanation, explain_test
from alld.evaluation.robustness import Shaken, robustness
from alld.inference.prediction import Prediction
from alld.inference.predictor import Predictor
from alld.runs.folder import Run
from alld.stats.metrics import Metric, all_metrics, confusion, grouped_proportions
from alld.stats.patients import by_patient
from alld.stats.reliability import reliability_curve

Step = Callable[[str, int, int], None]  # what is done, how far, of how much


@dataclass(frozen=True)
class TestSet:
    """What is tested: some images of a set, by the model of a run."""

    run: Run
    manifest: Manifest
    predictor: Predictor
    indices: list[int]  # of the manifest
    set_groups: Sequence[str]  # of all images of the manifest
    set_patients: Sequence[str]  # as many, or none where the set names nobody
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
        """Whose cell each tested image shows; empty where that is not known."""
        return [self.set_patients[index] if self.set_patients else "" for index in self.indices]

    @property
    def pictures(self) -> Pictures:
        """Of the test, in their order, decoded when they are asked for."""
        records = tuple(self.manifest.records[index] for index in self.indices)
        return Pictures(replace(self.manifest, records=records))


def judge(test: TestSet, step: Step) -> list[Prediction]:
    """What the model says of each tested image.

    Raises:
        DataError: an image that cannot be read, or changed after its hash was taken.
    """
    predictions: list[Prediction] = []
    files = (test.manifest.file(index) for index in test.indices)
    for index, prediction in zip(test.indices, test.predictor.iterate(files), strict=True):
        test.manifest.check(index, prediction.sha256)
        if prediction.error:
            raise DataError(f"a test image cannot be read: {prediction.error}")
        predictions.append(prediction)
        step("judging test images", len(predictions), len(test.indices))
    return predictions


def judge_changed(test: TestSet, step: Step) -> tuple[Shaken, ...]:
    """What it says of the images changed as another microscope would; see `robustness`."""
    progress = partial(step, "judging changed images")
    return tuple(robustness(test.predictor, test.pictures, test.labels, progress))


def explain(
    test: TestSet, predictions: Sequence[Prediction], wanted: bool | None, step: Step
) -> Explanation:
    """Heat maps of the tested images and what they are worth, unless left out; see `explain_test`.

    `wanted` wins over the run's `evaluate.heat_maps`.
    """
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
        progress=partial(step, "judging heat maps"),
    )


def background(test: TestSet, step: Step) -> Metric:
    """What the background of the whole set predicts, unless the run's settings leave it out."""
    if not test.run.config.evaluate.background:
        reason = "evaluate.background is false in the run's config.yaml"
        return Metric(None, None, len(test.manifest), None, None, None, reason)
    progress = partial(step, "judging backgrounds")
    return background_auc(test.manifest, test.set_groups, progress)


def measure(test: TestSet, predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Every number of the predictions, as fields of `Evaluation`.

    Where patients are known they are the groups: no interval then takes cells for independent.
    """
    y_true = np.array(test.labels)
    y_prob = np.array([prediction.probability for prediction in predictions], dtype=float)
    threshold = test.predictor.info.threshold
    draws = test.run.config.evaluate.bootstrap_draws
    how: dict[str, Any] = {"threshold": threshold, "groups": test.groups, "draws": draws}
    verdicts = (y_prob >= threshold).astype(int)
    metrics, grouped = (
        all_metrics(y_true, y_prob, **how),
        grouped_proportions(y_true, y_prob, **how),
    )
    return {
        "metrics": metrics | grouped if any(test.patients) else metrics,
        "grouped_metrics": grouped,
        "by_patient": by_patient(y_true, verdicts, test.patients, draws=draws),
        "confusion": confusion(y_true, verdicts),
        "reliability": reliability_curve(y_true, y_prob),
        "abstention": {
            **abstention(
                [LABEL_NAMES[label] for label in test.labels],
                y_prob.tolist(),
                [threshold] * len(predictions),
                [str(prediction.verdict) for prediction in predictions],
                test.groups,
                draws,
            ),
            **_abstention_rules(test.predictor),
        },
        "predictions": tuple(predictions),
        "labels": tuple(test.labels),
    }


def _abstention_rules(predictor: Predictor) -> dict[str, Any]:
    limits, band = predictor.info.limits, predictor.info.uncertain
    return {"limits": limits.model_dump(), "band": band and band.model_dump()}


def model_facts(predictor: Predictor) -> dict[str, Any]:
    """Which model it is, and how its threshold and temperature came about."""
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
    """Which set it is, and what of it was tested."""
    manifest, labels, split = test.manifest, test.manifest.labels, test.split
    facts: dict[str, Any] = {
        "name": manifest.kind,
        "fingerprint": manifest.fingerprint,
        "synthetic": manifest.synthetic,
        "images": len(manifest),
        "classes": {name: labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        "groups": test.groups_source if split is None else split.groups_source,
        "test_groups": len(set(test.groups)),
        "leaking_groups": 0 if split is None else split.leaking_groups,
        "test_images": class_counts(test.labels),
    }
    if split is None:
        return facts
    return facts | {
        "parts": {part: len(split.indices(part)) for part in ("train", "valid", "test")},
        "split": split.kind,
        "split_seed": split.seed,
        "split_sha256": test.run.info["split"]["sha256"],
    }
