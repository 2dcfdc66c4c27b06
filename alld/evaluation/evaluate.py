"""The held-out test of a run: its test images through the predictor, its numbers into files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from alld.data.manifest import LABEL_NAMES, Manifest, Progress, class_counts
from alld.data.splits import Split
from alld.errors import ConfigError, DataError, RunError
from alld.evaluation.plots import draw_plots
from alld.evaluation.result import (
    TABLE_COLUMNS,
    Evaluation,
    markdown_table,
    name_at,
    table_rows,
)
from alld.files import new_folder, write_csv, write_json, write_text
from alld.inference.predictor import COLUMNS, Prediction, Predictor
from alld.stats.metrics import all_metrics, confusion
from alld.stats.predictive import predictive_values
from alld.training.run import Run, open_run, read_manifest, read_split


def evaluate(
    folder: Path,
    device: str = "auto",
    progress: Progress | None = None,
    *,
    data: Path | None = None,
    prevalence: float | None = None,
) -> Evaluation:
    """Test a finished run on the images it held out, and write `RUN/evaluation/`.

    Args:
        folder: of the run.
        device: auto, cpu, cuda, cuda:N or mps.
        progress: called with the images done and the images in all.
        data: where these images lie now, if they were moved since the training.
        prevalence: adds PPV and NPV at that share of blasts, 0..1, both excluded; by default the
            run's `evaluate.prevalence`.

    Raises:
        ConfigError: a prevalence out of range.
        RunError: no finished run, or other images than those it was trained on.
        BundleError: the model fails its hashes.
        ImageError: a test image that can no longer be read.
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(
            f"--prevalence {prevalence:g}: a share of blasts lies between 0 and 1, such as 0.1"
        )
    run = open_run(folder)
    if run.state != "finished":
        raise RunError(f"{folder}: {run.state}; finish it with `alld train --resume {folder}`")
    manifest = read_manifest(run, data)
    split = read_split(run, manifest)
    predictor = Predictor.load(run.folder, device)
    test = split.indices("test")
    predictions = _predict(predictor, manifest, test, progress)
    evaluation = _measure(run, manifest, split, predictor, predictions)
    assumed = run.config.evaluate.prevalence if prevalence is None else prevalence
    if assumed is not None:
        evaluation = _assuming(evaluation, assumed)
    _write(run, evaluation)
    return evaluation


def _predict(
    predictor: Predictor, manifest: Manifest, test: Sequence[int], progress: Progress | None
) -> list[Prediction]:
    predictions = []
    for prediction in predictor.iterate(manifest.file(index) for index in test):
        if prediction.error:
            raise DataError(f"a test image cannot be read: {prediction.error}")
        predictions.append(prediction)
        if progress:
            progress(len(predictions), len(test))
    return predictions


def _measure(
    run: Run,
    manifest: Manifest,
    split: Split,
    predictor: Predictor,
    predictions: Sequence[Prediction],
) -> Evaluation:
    test = split.indices("test")
    y_true = np.array([manifest.records[index].label for index in test])
    y_prob = np.array([prediction.probability for prediction in predictions], dtype=float)
    threshold, info = predictor.info.threshold, predictor.info
    facts = run.info
    groups = [split.groups[index] for index in test]
    return Evaluation(
        folder=run.folder / "evaluation",
        model={
            "arch": info.arch,
            "identity": predictor.identity,
            "initial_weights": info.initial_weights,
            "threshold": threshold,
            "threshold_how": info.threshold_choice.how,
            "threshold_warning": info.threshold_choice.warning,
            "temperature": info.temperature,
        },
        data={
            "name": manifest.kind,
            "fingerprint": manifest.fingerprint,
            "synthetic": manifest.synthetic,
            "split": split.kind,
            "split_seed": split.seed,
            "split_sha256": facts["split"]["sha256"],
            "groups": split.groups_source,
            "test_groups": len(set(groups)),
            "torn_groups": split.torn_groups,
            "test_images": class_counts(y_true.tolist()),
        },
        metrics=all_metrics(
            y_true,
            y_prob,
            threshold=threshold,
            groups=groups,
            draws=run.config.evaluate.bootstrap_draws,
        ),
        confusion=confusion(y_true, (y_prob >= threshold).astype(int)),
        predictions=tuple(predictions),
        labels=tuple(int(label) for label in y_true),
    )


def _assuming(evaluation: Evaluation, prevalence: float) -> Evaluation:
    """The evaluation with PPV and NPV at an assumed share of blasts."""
    values = predictive_values(evaluation.confusion, prevalence)
    named = {name_at(name, prevalence): metric for name, metric in values.items()}
    return replace(
        evaluation,
        metrics={**evaluation.metrics, **named},
        data={**evaluation.data, "assumed_prevalence": prevalence},
    )


def _write(run: Run, evaluation: Evaluation) -> None:
    with new_folder(evaluation.folder) as folder:
        write_json(folder / "metrics.json", evaluation.as_dict())
        write_csv(folder / "table.csv", TABLE_COLUMNS, table_rows(evaluation))
        write_text(folder / "table.md", markdown_table(evaluation))
        rows = zip(evaluation.predictions, evaluation.labels, strict=True)
        write_csv(
            folder / "predictions.csv",
            (*COLUMNS, "label"),
            ({**prediction.as_row(), "label": LABEL_NAMES[label]} for prediction, label in rows),
        )
        draw_plots(folder, evaluation, run.history())
