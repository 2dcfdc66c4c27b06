"""`alld train` and `alld pretrain`: train one model, or only its body on other images."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alld import display
from alld.commands.options import (
    TRAINING,
    GivenSettings,
    InexactOption,
    JsonOption,
    VerboseOption,
    takes_settings,
)
from alld.errors import ConfigError
from alld.runtime.launch import launched

if TYPE_CHECKING:
    from alld.runs.folder import Run


@takes_settings(*TRAINING)
def train(
    given: GivenSettings,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run (default: runs/ARCH-TIME).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Continue this run with its own settings."),
    ] = None,
    allow_inexact: InexactOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train one model by the paper's recipe: first its head alone, then all layers.

    Example: alld train --arch efficientnet_lite0 --data ~/ALL-IDB2 --seed 1

    Example: alld train --resume runs/resnet50-20260101-120000
    """
    data = None
    if resume is None:
        if allow_inexact:
            raise ConfigError("--allow-inexact goes with --resume")
        settings = given.read()
    else:
        data = given.options.pop("data.root", None)
        if out or not given.are_none():
            raise ConfigError(f"--resume {resume} takes its settings from the run; give it alone")
    from alld.training import train as training  # takes seconds

    with display.training_progress() as listener:
        if resume is None:
            run = training.train(settings, out, listener)
        else:
            run = training.resume(resume, listener, data=data, allow_inexact=allow_inexact)
    if launched().is_first:  # which alone saves the model
        _print_run(run, data, as_json=as_json)


def _print_run(run: "Run", data: Path | None, *, as_json: bool) -> None:
    """Write the facts of a finished run; `data` is where a resume found its moved images."""
    from alld.inference.prediction import shown
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
    display.say(f"temperature: {info.temperature:.2f} ({reason})")
    display.say(f"threshold: {shown(info.threshold)} ({chosen.how})")
    display.write(f"run: {run.folder}")
    moved = "" if data is None else f" --data {data}"
    display.say(f"next: alld evaluate {run.folder}{moved}")


@takes_settings(
    *("arch", "seed", "device"),
    *("epochs", "batch_size", "lr", "image_size", "pretrained", "weights"),
    base="pretrain",
)
def pretrain(
    given: GivenSettings,
    data: Annotated[Path, typer.Option(help="Folder with one folder of images per class.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (default: runs/ARCH-pretrained-TIME.safetensors)."),
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network on any classes of cells or tissue, and save its backbone as initial weights.

    Example: alld pretrain --data cells/ --arch resnet18 --out cells.safetensors
    """
    given.options["data.root"] = data
    settings = given.read()
    from alld.training.pretrain import pretrain as pretrain_network
    from alld.training.train import Listener

    with display.Steps() as steps, display.TrainingDisplay() as live:
        listener = Listener(step=steps, note=display.warn, progress=live)
        found = pretrain_network(settings, out, listener)
    if as_json:
        display.print_json({**asdict(found), "path": str(found.path)})
        return
    mark = "SYNTHETIC " if found.synthetic else ""
    classes = ", ".join(f"{name} {count}" for name, count in found.classes.items())
    display.say(f"{mark}{display.images(sum(found.classes.values()))}: {classes}")
    display.say(
        f"{found.right} of {found.tested} held-out images right; always the commonest class: "
        f"{found.commonest}. Images of one cell were not kept on one side"
    )
    display.write(f"{mark}weights: {found.path}")
    display.say(f"next: alld train --arch {found.arch} --weights {found.path}")
