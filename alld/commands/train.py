"""`alld train`: one run of the recipe, or the rest of one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld import display, printed
from alld.commands.options import (
    DataOption,
    DeviceOption,
    JsonOption,
    VerboseOption,
    print_json,
)
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
from alld.runtime.launch import launched

if TYPE_CHECKING:
    from alld.runs.folder import Run

_TOLD_OF_A_MODEL = {
    "temperature",
    "temperature_fit",
    "threshold",
    "threshold_choice",
    "validation",
    "validation_note",
}


def train(
    arch: ArchOption = None,
    data: DataOption = None,
    split: Annotated[
        SplitKind | None,
        typer.Option(help="How test and validation images are drawn (default: grouped)."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draws the split and the training (default: 0).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder (default: runs/ARCH-TIME).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this run; no other option is needed.", metavar="RUN"),
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
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train one model: two frozen epochs, then eighteen with all layers, as in the paper.

    Example: [bold]alld train --arch efficientnet_lite0 --data ~/ALL-IDB2 --seed 1[/]
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
    if resume is not None:
        others = asked(options).keys() - {"data.root"}
        if others or out or config or assignments:
            raise ConfigError(f"--resume {resume} takes its settings from the run; give it alone")
        _report(
            lambda room, ear: room.resume(resume, ear, data=data, allow_inexact=allow_inexact),
            as_json,
        )
        return
    check_inexact(allow_inexact)
    with _one_for_all():
        settings = read_settings(config, assignments, options)
    _report(lambda room, ear: room.train(settings, out, ear), as_json)


@contextmanager
def _one_for_all() -> Iterator[None]:
    """What is wrong with the settings is said once, however many processes read them."""
    if launched().world_size == 1:
        yield  # no torch is needed to say it
        return
    from alld.training.ranks import joined, together

    with joined(), together():
        yield


def _report(work: Callable[[Any, Any], "Run"], as_json: bool) -> None:
    """Let the training's room do its work, and say what came out."""
    from alld.training import train as room

    with listening() as listener:
        run = work(room, listener)
    if launched().rank > 0:
        return  # the model may not be there yet; the first process says when it is
    from alld.model.bundle import bundle_identity, read_info

    info = read_info(run.bundle)
    if as_json:
        facts = info.model_dump(include=_TOLD_OF_A_MODEL)
        print_json({"run": str(run.folder), "model": bundle_identity(run.bundle), **facts})
        return
    display.say(printed.calibration_line(info))
    display.output.print(f"run: {run.folder}", markup=False)
    display.say(f"next: alld evaluate {run.folder}")


@contextmanager
def listening() -> Iterator[Any]:
    """The terminal's ear on a training; whatever is live is taken down at the end."""
    from alld.data.manifest import class_counts
    from alld.training.train import Listener

    steps, live = display.Steps(), display.TrainingDisplay()

    def begin(run: Any, manifest: Any, split: Any) -> None:
        steps.close()
        mark = "SYNTHETIC " if manifest.synthetic else ""
        display.say(f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images")
        sizes = ", ".join(
            f"{len(split.indices(part))} {part}" for part in ("train", "valid", "test")
        )
        display.say(f"{split.kind} split: {sizes}; groups: {split.groups_source}")
        if split.leaking_groups:
            display.warn(f"{split.leaking_groups} groups lie on both sides of this split")
        display.say(f"run folder: {run.folder}")
        facts = run.info
        if shared := facts["parallel"]:
            display.say(printed.parallel_line(shared))
        display.detail(f"device {facts['device']}, {facts['threads']} threads")
        display.detail(
            ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        )
        display.detail((run.folder / "config.yaml").read_text(encoding="utf-8").rstrip())

    try:
        yield Listener(step=steps, note=display.warn, begin=begin, progress=live)
    finally:
        steps.close()
        live.close()
