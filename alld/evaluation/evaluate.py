"""The held-out test of a run: its test images through the predictor, its numbers into files."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alld.data.background import background_auc
from alld.data.manifest import LABEL_NAMES, Manifest, Pictures, class_counts
from alld.data.splits import Split
from alld.errors import ConfigError, DataError, RunError
from alld.evaluation.abstention import abstention
from alld.evaluation.explanation import Explanation, explain_test
from alld.evaluation.heat_checks import write_checked
from alld.evaluation.plots import draw_plots
from alld.evaluation.provenance import provenance
from alld.evaluation.report import write_report
from alld.evaluation.result import (
    TABLE_COLUMNS,
    Evaluation,
    markdown_table,
    name_at,
    run_material,
    table_rows,
)
from alld.evaluation.robustness import Shaken, robustness
from alld.files import new_folder, write_csv, write_json, write_text
from alld.inference.prediction import COLUMNS, Prediction
from alld.inference.predictor import Predictor
from alld.stats.metrics import Metric, all_metrics, confusion, grouped_proportions
from alld.stats.predictive import predictive_values
from alld.stats.reliability import reliability_curve
from alld.training.run import Run, open_run, read_manifest, read_split

Step = Callable[[str, int, int], None]  # what is done, how far, of how much


@dataclass(frozen=True)
class _Test:
    """What is tested: the images of one part of a split, by one model."""

    run: Run
    manifest: Manifest
    split: Split
    predictor: Predictor

    @property
    def indices(self) -> list[int]:
        return self.split.indices("test")

    @property
    def labels(self) -> list[int]:
        return [self.manifest.records[index].label for index in self.indices]

    @property
    def groups(self) -> list[str]:
        return [self.split.groups[index] for index in self.indices]

    @property
    def pictures(self) -> Pictures:
        """Of the test, in their order, decoded when they are asked for."""
        records = tuple(self.manifest.records[index] for index in self.indices)
        return Pictures(replace(self.manifest, records=records))


def evaluate(
    folder: Path,
    device: str = "auto",
    step: Step = lambda _step, _done, _total: None,
    *,
    data: Path | None = None,
    prevalence: float | None = None,
    shake: bool = False,
    tta: bool | None = None,
    heat_maps: bool | None = None,
) -> Evaluation:
    """Test a finished run on the images it held out, and write `RUN/evaluation/`.

    Args:
        folder: the run's.
        step: told what is done, how far, of how much.
        data: where the images lie now, if they were moved since the training.
        prevalence: adds PPV and NPV at that share of blasts, 0..1, both excluded; by default the
            run's `evaluate.prevalence`.
        shake: judge changed pictures too; see `robustness`.
        tta: judge each image in its eight orientations, or in one; by default as the model was
            calibrated.
        heat_maps: explain the test images and measure what the maps are worth; by default the
            run's `evaluate.heat_maps`.

    Raises:
        ConfigError: a prevalence out of range.
        RunError: no finished run, or other images than those it was trained on.
        BundleError: the model fails its hashes.
        ImageError: an image that can no longer be read.
    """
    began = time.monotonic()
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(
            f"--prevalence {prevalence:g}: a share of blasts lies between 0 and 1, such as 0.1"
        )
    run = open_run(folder)
    if run.state != "finished":
        raise RunError(f"{folder}: {run.state}; finish it with `alld train --resume {folder}`")
    manifest = read_manifest(run, data, partial(step, "reading images"))
    split = read_split(run, manifest)
    test = _Test(run, manifest, split, Predictor.load(run.folder, device, tta=tta))
    predictions = _predict(test, step)
    shaken = _shake(test, step) if shake else None
    explained = _explain(test, predictions, heat_maps, step)
    evaluation = _measure(test, predictions, shaken, explained, _background(test, step), began)
    assumed = run.config.evaluate.prevalence if prevalence is None else prevalence
    if assumed is not None:
        evaluation = _assuming(evaluation, assumed)
    _write(run, evaluation)
    return evaluation


def _predict(test: _Test, step: Step) -> list[Prediction]:
    predictions: list[Prediction] = []
    files = (test.manifest.file(index) for index in test.indices)
    for index, prediction in zip(test.indices, test.predictor.iterate(files), strict=True):
        test.manifest.check(index, prediction.sha256)
        if prediction.error:
            raise DataError(f"a test image cannot be read: {prediction.error}")
        predictions.append(prediction)
        step("judging test images", len(predictions), len(test.indices))
    return predictions


def _shake(test: _Test, step: Step) -> tuple[Shaken, ...]:
    progress = partial(step, "judging changed images")
    return tuple(robustness(test.predictor, test.pictures, test.labels, progress))


def _explain(
    test: _Test, predictions: Sequence[Prediction], wanted: bool | None, step: Step
) -> Explanation:
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


def _background(test: _Test, step: Step) -> Metric:
    if not test.run.config.evaluate.background:
        reason = "evaluate.background is false in the run's config.yaml"
        return Metric(None, None, len(test.manifest), None, None, None, reason)
    progress = partial(step, "judging backgrounds")
    return background_auc(test.manifest, test.split.groups, progress)


def _measure(
    test: _Test,
    predictions: Sequence[Prediction],
    shaken: tuple[Shaken, ...] | None,
    explained: Explanation,
    background: Metric,
    began: float,
) -> Evaluation:
    y_true = np.array(test.labels)
    y_prob = np.array([prediction.probability for prediction in predictions], dtype=float)
    threshold = test.predictor.info.threshold
    draws = test.run.config.evaluate.bootstrap_draws
    how: dict[str, Any] = {"threshold": threshold, "groups": test.groups, "draws": draws}
    return Evaluation(
        folder=test.run.folder / "evaluation",
        model=_model_facts(test.predictor),
        data=_data_facts(test),
        metrics=all_metrics(y_true, y_prob, **how),
        grouped_metrics=grouped_proportions(y_true, y_prob, **how),
        confusion=confusion(y_true, (y_prob >= threshold).astype(int)),
        reliability=reliability_curve(y_true, y_prob),
        background=background,
        abstention={
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
        robustness=shaken,
        explained=explained,
        predictions=tuple(predictions),
        labels=tuple(test.labels),
        provenance=provenance(
            test.run,
            device=str(test.predictor.device),
            threads=test.predictor.threads,
            seconds=time.monotonic() - began,
        ),
    )


def _abstention_rules(predictor: Predictor) -> dict[str, Any]:
    limits, band = predictor.info.limits, predictor.info.uncertain
    return {"limits": limits.model_dump(), "band": band and band.model_dump()}


def _assuming(evaluation: Evaluation, prevalence: float) -> Evaluation:
    """The evaluation with PPV and NPV at an assumed share of blasts."""
    values = predictive_values(evaluation.confusion, prevalence)
    named = {name_at(name, prevalence): metric for name, metric in values.items()}
    return replace(
        evaluation,
        metrics={**evaluation.metrics, **named},
        data={**evaluation.data, "assumed_prevalence": prevalence},
    )


def _model_facts(predictor: Predictor) -> dict[str, Any]:
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


def _data_facts(test: _Test) -> dict[str, Any]:
    manifest, split = test.manifest, test.split
    return {
        "name": manifest.kind,
        "fingerprint": manifest.fingerprint,
        "synthetic": manifest.synthetic,
        "images": len(manifest),
        "classes": {name: manifest.labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        "parts": {part: len(split.indices(part)) for part in ("train", "valid", "test")},
        "split": split.kind,
        "split_seed": split.seed,
        "split_sha256": test.run.info["split"]["sha256"],
        "groups": split.groups_source,
        "test_groups": len(set(test.groups)),
        "torn_groups": split.torn_groups,
        "test_images": class_counts(test.labels),
    }


def _write(run: Run, evaluation: Evaluation) -> None:
    facts = evaluation.as_dict()
    rows = evaluation.predictions, evaluation.labels
    material = run_material(facts, *rows, run.history(), evaluation.explained)
    with new_folder(evaluation.folder) as folder:
        write_json(folder / "metrics.json", facts)
        write_csv(folder / "table.csv", TABLE_COLUMNS, table_rows(evaluation))
        write_text(folder / "table.md", markdown_table(evaluation))
        write_csv(
            folder / "predictions.csv",
            (*COLUMNS, "label"),
            (
                {**prediction.as_row(), "label": LABEL_NAMES[label]}
                for prediction, label in zip(*rows, strict=True)
            ),
        )
        if evaluation.explained.checked:
            write_checked(folder, evaluation.explained.checked)
        draw_plots(folder, material)
        write_report(folder, material)
