"""`alld crossval`: cross-validate a network, or resume a cross-validation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alld import display
from alld.commands.evaluate import print_result
from alld.commands.options import (
    TRAINING,
    AddressOption,
    Engine,
    EngineOption,
    GivenSettings,
    GpusOption,
    InexactOption,
    JsonOption,
    VerboseOption,
    cluster_for,
    takes_settings,
)
from alld.errors import ConfigError

if TYPE_CHECKING:
    from alld.evaluation.crossval.folds import Fold
    from alld.evaluation.crossval.train import CrossvalListener
    from alld.stats.metrics import Metric


@takes_settings(*TRAINING)
def crossval(
    given: GivenSettings,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Number of folds (default: 5; with --split session the set says how many)."
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="Number of repeats, each with the next seed (default: 1; with --split session 2 "
            "where no session holds both classes)."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all runs (default: runs/ARCH-cv-TIME).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Continue this cross-validation with its own settings."
        ),
    ] = None,
    allow_inexact: InexactOption = False,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train one model per fold, test each image once per repeat, and pool the predictions.

    Example: alld crossval --arch efficientnet_lite0 --folds 5 --repeats 3
    """
    plan = {name: n for name, n in (("folds", folds), ("repeats", repeats)) if n is not None}
    if resume is not None:
        if plan or out or not given.are_none():
            raise ConfigError(f"--resume {resume} takes its settings from there; give it alone")
        from alld.evaluation.crossval.folds import read_plan

        settings = read_plan(resume).config
    else:
        if allow_inexact:
            raise ConfigError("--allow-inexact goes with --resume")
        settings = given.read()
    with cluster_for(engine, address, gpus, settings.runtime.threads) as cluster:
        from alld.evaluation.crossval import train as training

        with _progress() as listener:
            if resume is None:
                result = training.crossval(
                    settings, **plan, out=out, listener=listener, cluster=cluster
                )
            else:
                result = training.resume_crossval(
                    resume, listener, allow_inexact=allow_inexact, cluster=cluster
                )
        print_result(result, as_json=as_json)


@contextmanager
def _progress() -> Iterator["CrossvalListener"]:
    """Show a line per fold, and a live line for the training at work."""
    from alld.evaluation.crossval.train import CrossvalListener
    from alld.training.train import Listener

    noted: set[str] = set()

    def note(text: str) -> None:
        if text not in noted:  # every fold reads the same data set
            noted.add(text)
            display.warn(text)

    def planned(lines: Sequence[str]) -> None:
        steps.close()
        for line in lines:
            display.say(line)

    def begin(fold: "Fold", number: int, of: int, seconds_left: float | None) -> None:
        steps.close()
        if number == 1:
            display.say(f"folder: {fold.folder.parents[1]}")
        left = "" if seconds_left is None else f"; {display.duration(seconds_left)} left"
        display.say(f"run {number} of {of}: repeat {fold.repeat}, fold {fold.fold}{left}")

    def end(_fold: "Fold", metrics: "dict[str, Metric]") -> None:
        live.close()
        accuracy, auc = metrics["accuracy"], metrics["roc_auc"]
        area = "undefined" if auc.value is None else f"{auc.value:.3f}"
        display.say(f"  {accuracy.k}/{accuracy.n} right, ROC AUC {area}")

    with display.Steps() as steps, display.TrainingDisplay(epoch_lines=False) as live:
        training = Listener(step=steps, note=note, begin=lambda *_: steps.close(), progress=live)
        yield CrossvalListener(training=training, planned=planned, begin=begin, end=end)
