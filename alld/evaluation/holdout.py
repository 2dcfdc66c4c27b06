"""Test a finished run on the images that it held out, or on other images."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from alld.data.manifest import Manifest
from alld.errors import ConfigError, RunError
from alld.evaluation.external import (
    check_other,
    external_facts,
    external_folder,
    external_test,
    own_images,
)
from alld.evaluation.measure import (
    Step,
    TestSet,
    background,
    explain,
    measure,
    model_facts,
    predict,
    provenance,
    set_facts,
)
from alld.evaluation.result import Result
from alld.evaluation.robustness import measure_robustness
from alld.evaluation.write import write_result
from alld.inference.predictor import Predictor
from alld.report.text import name_at
from alld.runs.folder import Run, open_run, read_manifest, read_split
from alld.runtime.files import check_writable
from alld.runtime.locks import live
from alld.stats.shift import predictive_values

PATIENCE = 300.0  # seconds to wait for another evaluation of the run to write its report


def evaluate(
    folder: Path,
    device: str = "auto",
    step: Step = lambda _step, _done, _total: None,
    *,
    data: Path | None = None,
    positive: Sequence[str] = (),
    healthy: Sequence[str] = (),
    prevalence: float | None = None,
    robustness: bool = False,
    tta: bool | None = None,
    heat_maps: bool | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Result:
    """Test a finished run on the images it held out, and write `RUN/evaluation/`.

    If `data` are other images, this is an external validation of the unchanged model, written to a
    folder of its own below `RUN/external/`.

    Args:
        folder: the run's.
        step: called with the name of each step, the units done, and all units.
        data: other labelled images; or the run's own, if they were moved.
        positive, healthy: which folders or labels of `data` mean blast or healthy; by default the
            known names, then those of the training.
        prevalence: adds PPV and NPV at that share of blasts, between 0 and 1; by default the
            run's `evaluate.prevalence`.
        robustness: predict changed pictures too; see `measure_robustness`.
        tta: average the predictions of eight orientations, or use one; by default as the model
            was calibrated.
        heat_maps: explain the test images and check the maps; by default the run's
            `evaluate.heat_maps`.
        note: called with each warning about the images.

    Raises:
        ConfigError: a prevalence out of range.
        RunError: no finished run, or other images than those it was trained on.
        DataError: no set at `data`, or images in it that trained the run.
        BundleError: the model does not have its hashes.
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
    check_writable(run.folder)
    reading = partial(step, "reading images")
    names = {"positive": positive, "healthy": healthy}
    manifest = read_manifest(run, data, reading, **names, both_classes=data is None)
    for warning in manifest.warnings if data is not None else ():
        note(warning)
    own = None
    if data is not None and manifest.fingerprint != run.info["data"]["fingerprint"]:
        own = own_images(run)
        manifest, own = check_other(run, manifest, own, step)
    load = partial(Predictor.load, run.folder, device, tta=tta)
    test = external_test(run, manifest, load, step) if own else _own_test(run, manifest, load)
    predictions = predict(test, step)
    changed = None
    if robustness:
        progress = partial(step, "predicting changed images")
        changed = measure_robustness(test.predictor, test.pictures, test.labels, progress)
    explained = explain(test, predictions, heat_maps, step)
    surroundings = background(test, step)
    numbers = measure(test, predictions)
    result = Result(
        folder=external_folder(run, manifest) if own else run.folder / "evaluation",
        model=model_facts(test.predictor),
        data=set_facts(test),
        external=external_facts(test, own, numbers, step) if own else None,
        background=surroundings,
        robustness=changed,
        heat_maps=explained.as_facts(),
        histories=(run.history(),),
        provenance=provenance(
            run,
            device=str(test.predictor.device),
            threads=test.predictor.threads,
            seconds=time.monotonic() - began,
        ),
        **numbers,
    )
    assumed = run.config.evaluate.prevalence if prevalence is None else prevalence
    if assumed is not None:
        result = _with_predictive_values(result, assumed)
    with live(run.folder, PATIENCE):  # several sets may be tested side by side
        write_result(result, explained)
    return result


def _own_test(run: Run, manifest: Manifest, load: partial[Predictor]) -> TestSet:
    split = read_split(run, manifest)
    held_out = split.indices("test")
    return TestSet(run, manifest, load(), held_out, split.groups, split.patients, split)


def _with_predictive_values(result: Result, prevalence: float) -> Result:
    """Return the result with PPV and NPV at an assumed share of blasts."""
    values = predictive_values(result.confusion, prevalence)
    named = {name_at(name, prevalence): metric for name, metric in values.items()}
    return replace(
        result,
        metrics={**result.metrics, **named},
        data={**result.data, "assumed_prevalence": prevalence},
    )
