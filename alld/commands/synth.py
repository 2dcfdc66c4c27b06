"""`alld synth`: draw a look-alike set with known truth."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alld import display
from alld.commands.options import JsonOption, print_json


class Layout(StrEnum):
    """How the drawn files are named and laid out."""

    all_idb2 = "all-idb2"
    folders = "folders"
    c_nmc = "c-nmc"


def synth(
    folder: Annotated[Path, typer.Argument(help="New folder for the images and truth.csv.")],
    n: Annotated[int, typer.Option("--n", help="Number of images, half of them blasts.")] = 260,
    seed: Annotated[int, typer.Option(help="Draws the set; equal seeds, equal files.")] = 0,
    confound: Annotated[
        float, typer.Option(help="How far the background betrays the class, 0 to 1.")
    ] = 0.0,
    difficulty: Annotated[float, typer.Option(help="How far the classes overlap, 0 to 1.")] = 0.4,
    layout: Annotated[
        Layout, typer.Option(help="ALL-IDB2's names, a folder for each class, or C-NMC 2019's.")
    ] = Layout.all_idb2,
    as_json: JsonOption = False,
) -> None:
    """Draw a SYNTHETIC look-alike of ALL-IDB2: same names, same traps, known truth.

    Example: [bold]alld synth drawn/ --seed 1 --confound 0.5[/]
    """
    from alld.synthetic.dataset import draw_set
    from alld.synthetic.plan import Recipe

    steps = display.Steps()
    try:
        recipe = Recipe(n, seed, confound, difficulty, layout.value)
        files = draw_set(folder, recipe, lambda done, total: steps("drawing cells", done, total))
    finally:
        steps.close()
    if as_json:
        print_json({"folder": str(folder), "images": len(files), "synthetic": True})
        return
    display.output.print(f"SYNTHETIC: {len(files)} images in {folder}", markup=False)
    display.say(f"truth: {folder / 'truth.csv'}")
    display.say(f"next: alld train --data {folder} --config quick")
