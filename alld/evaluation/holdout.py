"""The test of a run: its held-out images, or others that it has never seen; numbers into files."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from alld.data.manifest import LABEL_NAMES, Manifest
from alld.errors import ConfigError, RunError
from alld.evaluation.external import (
    check_other,
    external_facts,
    external_folder,
    external_test,
    own_images,
)
from alld.evaluation.heat_checks import write_checked
from alld.evaluation.measure import (
    Step,
    TestSet,
    background,
    explain,
    judge,
    judge_changed,
    measure,
    model_facts,
    set_facts,
)
from alld.evaluation.provenance import provenance
from alld.evaluation.result import (
    TABLE_COLUMNS,
    Evaluation,
    markdown_table,
    run_material,
    table_rows,
)
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor
from alld.report.metric_text import name_at
from alld.report.page import write_report
from alld.report.plots import draw_plots
from alld.runs.folder import Run, open_run, read_manifest, read_split
from alld.runtime.files import new_folder, write_csv, write_json, write_text
from alld.runtime.locks import live
from alld.stats.shift import predictive_values

PATIENCE = 300.0  # seconds in which another evaluation of the run writes its report


def evaluate(
    folder: Path,
    device: str = "auto",
    step: Step = lambda _step, _done, _total: None,
    *,
    data: Path | None = None,
    positive: str | None = None,
    prevalence: float | None = None,
    shake: bool = False,
    tta: bool | None = None,
    heat_maps: bool | None = None,
) -> Evaluation:
    """Test a finished run on the images it held out, and write `RUN/evaluation/`.

    With `data` that are other images it is an external validation of the model as it is, written
    to a folder of its own below `RUN/external/`.

    Args:
        folder: the run's.
        step: told what is done, how far, of how much.
        data: other labelled images; or the run's own, where they lie since they were moved.
        positive: which folder or label of `data` means blast; by default as in the training.
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
        DataError: no set at `data`, or images in it that trained the run.
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
    reading = partial(step, "reading images")
    manifest = read_manifest(run, data, reading, positive=positive, both_classes=data is None)
    load = partial(Predictor.load, run.folder, device, tta=tta)
    own = None
    if data is not None and manifest.fingerprint != run.info["data"]["fingerprint"]:
        own = own_images(run)
        check_other(run, manifest, own)
    test = external_test(run, manifest, load, step) if own else _own_test(run, manifest, load)
    predictions = judge(test, step)
    changed = judge_changed(test, step) if shake else None
    explained = explain(test, predictions, heat_maps, step)
    surroundings = background(test, step)
    found = measure(test, predictions)
    evaluation = Evaluation(
        folder=external_folder(run, manifest) if own else run.folder / "evaluation",
        model=model_facts(test.predictor),
        data=set_facts(test),
        external=external_facts(test, own, found, step) if own else None,
        background=surroundings,
        robustness=changed,
        explained=explained,
        provenance=provenance(
            run,
            device=str(test.predictor.device),
            threads=test.predictor.threads,
            seconds=time.monotonic() - began,
        ),
        **found,
    )
    assumed = run.config.evaluate.prevalence if prevalence is None else prevalence
    if assumed is not None:
        evaluation = _assuming(evaluation, assumed)
    with live(run.folder, PATIENCE):  # several sets may be tested side by side
        _write(run, evaluation)
    return evaluation


def _own_test(run: Run, manifest: Manifest, load: Callable[[], Predictor]) -> TestSet:
    split = read_split(run, manifest)
    held_out = split.indices("test")
    return TestSet(run, manifest, load(), held_out, split.groups, split.patients, split)


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
