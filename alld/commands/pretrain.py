"""`alld pretrain`: first weights from other cells or tissue, for `alld train --weights`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from alld import display
from alld.commands.options import DeviceOption, JsonOption, VerboseOption, print_json
from alld.commands.settings import (
    ArchOption,
    BatchSizeOption,
    ConfigOption,
    EpochsOption,
    ImageSizeOption,
    PretrainedOption,
    RateOption,
    SetOption,
    WeightsOption,
    read_settings,
)


def pretrain(
    data: Annotated[Path, typer.Option(help="Folder that holds a folder for each class.")],
    arch: ArchOption = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The .safetensors file (default: runs/ARCH-pretrained-TIME)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, images and order.")] = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    lr: RateOption = None,
    image_size: ImageSizeOption = None,
    pretrained: PretrainedOption = None,
    weights: WeightsOption = None,
    config: ConfigOption = "pretrain",
    assignments: SetOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Let a network learn any classes of cells or tissue, and keep its body as first weights.

    It begins with the settings of `--config pretrain`: random weights, 40 epochs, batches of 32.

    Example: [bold]alld pretrain --data cells/ --arch resnet18 --out cells.safetensors[/]
    """
    options = {
        "data.root": data,
        "model.arch": arch,
        "seed": seed,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.max_lr": lr,
        "data.image_size": image_size,
        "model.pretrained": pretrained,
        "model.weights": weights,
        "runtime.device": device,
    }
    settings = read_settings(config, assignments, options)
    from alld.training import pretrain as room
    from alld.training.train import Listener

    steps, live = display.Steps(), display.TrainingDisplay()
    try:
        listener = Listener(step=steps, note=display.warn, progress=live)
        found = room.pretrain(settings, out, listener)
    finally:
        steps.close()
        live.close()
    if as_json:
        print_json({**asdict(found), "path": str(found.path)})
        return
    mark = "SYNTHETIC " if found.synthetic else ""
    classes = ", ".join(f"{name} {count}" for name, count in found.classes.items())
    display.say(f"{mark}{sum(found.classes.values())} images: {classes}")
    display.say(
        f"{found.right} of {found.tested} held-out images right; always the commonest class: "
        f"{found.commonest}. Images of one cell were not kept on one side"
    )
    display.output.print(f"{mark}weights: {found.path}", markup=False)
    display.say(f"next: alld train --arch {found.arch} --weights {found.path}")
