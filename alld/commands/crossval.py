"""`alld crossval`: every image tested once in each repeat, by a model that never saw it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld import display, printed
from alld.commands.engines import AddressOption, Engine, EngineOption, GpusOption, cluster_for
from alld.commands.options import DataOption, DeviceOption, JsonOption, VerboseOption, print_json
from alld.commands.settings import (
    ArchOption,
    BatchSizeOption,
    ConfigOption,
    EpochsOption,
    GroupsOption,
    ImageSizeOption,
    InexactOption,
    LogOption,
    PositiveOption,
    PretrainedOption,
    RateOption,
    SetOption,
    SplitKind,
    TtaOption,
    WeightsOption,
    asked,
    check_inexact,
    read_settings,
)
from alld.errors import ConfigError

if TYPE_CHECKING:
    from alld.evaluation.crossval.result import CrossValidation


def crossval(
    arch: ArchOption = None,
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
    allow_inexact: InexactOption = False,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    lr: RateOption = None,
    image_size: ImageSizeOption = None,
    pretrained: PretrainedOption = None,
    tta: TtaOption = None,
    weights: WeightsOption = None,
    groups: GroupsOption = None,
    positive: PositiveOption = None,
    log: LogOption = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    gpus: GpusOption = None,
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
        "train.batch_size": batch_size,
        "train.max_lr": lr,
        "data.image_size": image_size,
        "model.pretrained": pretrained,
        "model.tta": tta,
        "model.weights": weights,
        "split.groups": groups,
        "data.positive": positive,
        "runtime.device": device,
        "runtime.log": log and log.value,
    }
    plan = asked({"folds": folds, "repeats": repeats})
    if resume is not None and (asked(options) or out or config or assignments or plan):
        raise ConfigError(f"--resume {resume} takes its settings from there; give it alone")
    if resume is not None:
        from alld.evaluation.crossval.folds import read_plan

        settings = read_plan(resume).config
        with cluster_for(engine, address, gpus, settings.runtime.threads) as cluster:
            how: dict[str, Any] = {"allow_inexact": allow_inexact, "cluster": cluster}
            _report(lambda room, ear: room.resume_crossval(resume, ear, **how), as_json)
        return
    check_inexact(allow_inexact)
    settings = read_settings(config, assignments, options)
    with cluster_for(engine, address, gpus, settings.runtime.threads) as cluster:
        how = {**plan, "out": out, "cluster": cluster}
        _report(lambda room, ear: room.crossval(settings, **how, listener=ear), as_json)


def _report(work: Callable[[Any, Any], "CrossValidation"], as_json: bool) -> None:
    """Let the cross-validation's room do its work, and say what came out."""
    from alld.evaluation.crossval import train as room

    with listening() as listener:
        result = work(room, listener)
    if as_json:
        print_json(result.as_dict())
        return
    printed.print_crossval(result)


@contextmanager
def listening() -> Iterator[Any]:
    """The terminal's ear: a line a fold, and the live line of the training under way."""
    from alld.evaluation.crossval.train import CrossvalListener
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
        display.say(printed.fold_line(fold, number, of, left))

    def end(fold: Any, metrics: Any) -> None:
        live.close()
        display.say(f"  {printed.fold_result(metrics)}")

    training = Listener(step=steps, note=note, begin=lambda *_: steps.close(), progress=live)
    try:
        yield CrossvalListener(training=training, begin=begin, end=end)
    finally:
        steps.close()
        live.close()
