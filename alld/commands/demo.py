"""`alld demo`: the whole way on drawn images."""

from pathlib import Path
from typing import Annotated

import typer

from alld import display, printed
from alld.commands.options import JsonOption, VerboseOption, print_json
from alld.commands.train import listening


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the drawn images and the run.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Draws the images, the split and the training.")] = 0,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """See all of ALLD in minutes on SYNTHETIC images: draw, train, evaluate, predict.

    Example: [bold]alld demo[/]
    """
    from alld.demo import run_demo

    with listening() as listener:
        shown = run_demo(out, seed, listener)
    if as_json:
        print_json(shown.evaluation.as_dict())
        return
    for prediction in shown.predictions:
        display.output.print(f"SYNTHETIC {printed.prediction_line(prediction)}", markup=False)
    printed.print_evaluation(shown.evaluation)
    display.say("your own images: alld train --data FOLDER, then alld evaluate and alld predict")
