"""`alld train`: train one model, or resume a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld import display
from alld.commands.options import (
    GivenSettings,
    InexactOption,
    JsonOption,
    VerboseOption,
    takes_settings,
)
from alld.config.schema import Config
from alld.errors import ConfigError
from alld.runtime.launch import launched

if TYPE_CHECKING:
    from alld.runs.folder import Run
    from alld.training.train import Listener


@takes_settings(
    *("arch", "data", "split", "seed", "device"),
    *("epochs", "batch_size", "lr", "image_size", "pretrained", "tta", "weights", "groups"),
    *("positive", "log"),
)
def train(
    given: GivenSettings,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: runs/ARCH-TIME).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Continue this run; its settings are in its folder."),
    ] = None,
    allow_inexact: InexactOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train one model by the paper's recipe: first its head alone, then all layers.

    Example: alld train --arch efficientnet_lite0 --data ~/ALL-IDB2 --seed 1

    Example: alld train --resume runs/resnet50-20260101-120000
    """
    if resume is None:
        if allow_inexact:
            raise ConfigError("--allow-inexact goes with --resume")
        settings = _read(given)
    else:
        data = given.options.pop("data.root", None)
        if out or not given.are_none():
            raise ConfigError(f"--resume {resume} takes its settings from the run; give it alone")
    from alld.training import train as training  # takes seconds

    with training_progress() as listener:
        if resume is None:
            run = training.train(settings, out, listener)
        else:
            run = training.resume(resume, listener, data=data, allow_inexact=allow_inexact)
    if launched().is_first:  # which alone saves the model
        _print_run(run, as_json=as_json)


def _read(given: GivenSettings) -> Config:
    """Read the settings; of several processes the first one reports what is wrong with them."""
    if launched().world_size == 1:
        return given.read()
    from alld.training.distributed import distributed, together

    with distributed(), together():
        return given.read()


@contextmanager
def training_progress() -> Iterator["Listener"]:
    """Show a training in the terminal: its data, its split, its folder and a line per epoch."""
    from alld.data.manifest import class_counts
    from alld.training.train import Listener

    def begin(run: "Run", manifest: Any, split: Any) -> None:
        steps.close()
        mark = "SYNTHETIC " if manifest.synthetic else ""
        display.say(f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images")
        parts = ("train", "valid", "test")
        sizes = ", ".join(f"{len(split.indices(part))} {part}" for part in parts)
        display.say(f"{split.kind} split: {sizes}; groups: {split.groups_source}")
        if split.leaking_groups:
            display.warn(f"{split.leaking_groups} groups lie on both sides of this split")
        display.say(f"run folder: {run.folder}")
        facts = run.info
        if shared := facts["parallel"]:
            display.say(
                f"{shared['processes']} processes: batches of {shared['global_batch']} images, "
                f"{shared['batch_per_process']} in each; highest rate {shared['max_lr']:g}, as "
                f"with one; batch norm: {shared['batch_norm']}"
            )
        display.detail(f"device {facts['device']}, {facts['threads']} threads")
        display.detail(", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
        display.detail((run.folder / "config.yaml").read_text(encoding="utf-8").rstrip())

    with display.Steps() as steps, display.TrainingDisplay() as live:
        yield Listener(step=steps, note=display.warn, begin=begin, progress=live)


def _print_run(run: "Run", *, as_json: bool) -> None:
    from alld.model.bundle import bundle_identity, read_info

    info = read_info(run.bundle)
    fit, chosen = info.temperature_fit, info.threshold_choice
    if as_json:
        facts = info.model_dump(
            include={"temperature", "temperature_fit", "threshold", "threshold_choice"}
            | {"validation", "validation_note"}
        )
        model = bundle_identity(run.bundle)
        display.print_json({"run": str(run.folder), "model": model, **facts})
        return
    reason = fit.reason
    if fit.ci_low is not None and fit.ci_high is not None:
        reason = f"{fit.ci_low:.2f} to {fit.ci_high:.2f} on {fit.n} validation images"
    threshold = f"threshold {info.threshold:.3g}: {chosen.how}"
    display.say(f"temperature {info.temperature:.2f} ({reason}); {threshold}")
    display.write(f"run: {run.folder}")
    display.say(f"next: alld evaluate {run.folder}")
