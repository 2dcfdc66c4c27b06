"""`alld crossval`: every image tested once in each repeat, by a model that never saw it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from alld import display
from alld.commands.options import DataOption, DeviceOption, JsonOption, VerboseOption, print_json
from alld.commands.train import (
    SETTINGS,
    SplitKind,
    complete_arch,
    complete_config,
    complete_setting,
)
from alld.errors import ConfigError


def crossval(
    arch: Annotated[
        str | None,
        typer.Option(
            help="Network; `alld models` lists them (default: resnet50).",
            autocompletion=complete_arch,
        ),
    ] = None,
    data: DataOption = None,
    folds: Annotated[int | None, typer.Option(help="Parts of the set (default: 5).")] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Times over, with other folds and seeds (default: 1).")
    ] = None,
    split: Annotated[
        SplitKind | None,
        typer.Option(help="What stays in one fold: grouped, blocks or random (default: grouped)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first repeat (default: 0).")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of all runs (default: runs/ARCH-cv-TIME).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this one; no other option is needed.", metavar="FOLDER"),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs with all layers (default: 18).", rich_help_panel=SETTINGS),
    ] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="Start from ImageNet weights, or from random ones (default: pretrained).",
            rich_help_panel=SETTINGS,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="YAML file, or the name of a shipped one such as quick.",
            rich_help_panel=SETTINGS,
            autocompletion=complete_config,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting; may be repeated.",
            rich_help_panel=SETTINGS,
            autocompletion=complete_setting,
        ),
    ] = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train and test a model for each fold, and pool what they say of images they never saw.

    Example: [bold]alld crossval --arch efficientnet_lite0 --folds 5 --repeats 3[/]
    """
    options = {
        "model.arch": arch,
        "data.root": data,
        "split.kind": split and split.value,
        "seed": seed,
        "train.epochs": epochs,
        "model.pretrained": pretrained,
        "runtime.device": device,
    }
    given = {key: value for key, value in options.items() if value is not None}
    asked = {"folds": folds, "repeats": repeats}
    plan = {name: number for name, number in asked.items() if number is not None}
    if resume is not None and (given or out or config or assignments or plan):
        raise ConfigError(f"--resume {resume} takes its settings from there; give it alone")
    _crossval(given, config, assignments or [], plan, out, resume, as_json)


def _crossval(
    given: dict[str, Any],
    file: str | None,
    assignments: list[str],
    plan: dict[str, int],
    out: Path | None,
    resume: Path | None,
    as_json: bool,
) -> None:
    from alld.config import load_config

    config = None if resume else load_config(file, assignments, given)
    if config is not None:
        from alld.data.sources import check_place
        from alld.model.architectures import check_arch

        check_arch(config.model.arch)
        check_place(config.data)
    from alld.evaluation import crossval as room

    with listening() as listener:
        if config is None:
            result = room.resume_crossval(Path(resume or ""), listener)
        else:
            result = room.crossval(config, **plan, out=out, listener=listener)
    if as_json:
        print_json(result.as_dict())
        return
    display.print_crossval(result)


@contextmanager
def listening() -> Iterator[Any]:
    """The terminal's ear: a line a fold, and the live line of the training under way."""
    from alld.evaluation.crossval import CrossvalListener
    from alld.training.train import Listener

    steps, live = display.Steps(), display.TrainingDisplay(epoch_lines=False)
    noted: set[str] = set()

    def note(text: str) -> None:
        if text not in noted:  # every fold reads the same set
            noted.add(text)
            display.warn(text)

    def begin(fold: Any, number: int, of: int, left: float | None) -> None:
        steps.close()
        if number == 1:
            display.say(f"folder: {fold.folder.parents[1]}")
        display.say(display.fold_line(fold, number, of, left))

    def end(fold: Any, metrics: Any) -> None:
        live.close()
        display.say(f"  {display.fold_result(metrics)}")

    training = Listener(step=steps, note=note, begin=lambda *_: steps.close(), progress=live)
    try:
        yield CrossvalListener(training=training, begin=begin, end=end)
    finally:
        steps.close()
        live.close()
