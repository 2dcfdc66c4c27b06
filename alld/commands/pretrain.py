"""`alld pretrain`: pretrain a network on other images, for `alld train --weights`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from alld import display
from alld.commands.options import GivenSettings, JsonOption, VerboseOption, takes_settings


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
        typer.Option(help="The .safetensors file (default: runs/ARCH-pretrained-TIME)."),
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network on any classes of cells or tissue, and keep its body as initial weights.

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
