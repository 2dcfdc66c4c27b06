"""`alld synth` and `alld demo`: draw synthetic images, and try everything on them."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from alld import display
from alld.commands.evaluate import print_result
from alld.commands.options import JsonOption, VerboseOption
from alld.commands.screen import sample_line
from alld.errors import ConfigError


def synth(
    folder: Annotated[Path, typer.Argument(help="New folder for the images and truth.csv.")],
    n: Annotated[
        int | None,
        typer.Option("--n", help="Number of images; half of them are blasts (default: 260)."),
    ] = None,
    fields: Annotated[
        int | None,
        typer.Option(
            help="Draw so many whole fields in place of cell images, four for each sample, with "
            "the place and the class of every white cell."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed; the same seed draws the same files.")] = 0,
    confound: Annotated[
        float,
        typer.Option(help="How much the background, or the session, reveals the class, 0 to 1."),
    ] = 0.0,
    difficulty: Annotated[float, typer.Option(help="How much the classes overlap, 0 to 1.")] = 0.4,
    layout: Annotated[
        Literal["all-idb2", "folders", "c-nmc"],
        typer.Option(help="File names of ALL-IDB2, a folder per class, or those of C-NMC 2019."),
    ] = "all-idb2",
    sessions: Annotated[
        int, typer.Option(help="Number of sessions with cameras of their own (default: none).")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draw a SYNTHETIC data set like ALL-IDB2, or fields like those of ALL-IDB1, with known truth.

    Example: alld synth drawn/ --seed 1 --confound 0.5

    Example: alld synth drawn/ --sessions 4 --confound 1

    Example: alld synth fields/ --fields 8
    """
    from alld.synthetic.dataset import draw_set
    from alld.synthetic.fields import draw_fields
    from alld.synthetic.plan import Recipe

    if fields is not None and (n is not None or layout != "all-idb2"):
        raise ConfigError("--fields draws whole fields; give it without --n and --layout")
    draw, number = (draw_set, 260 if n is None else n) if fields is None else (draw_fields, fields)
    what = "drawing cells" if fields is None else "drawing fields"
    with display.Steps() as steps:
        recipe = Recipe(number, seed, confound, difficulty, layout, sessions)
        files = draw(folder, recipe, lambda done, total: steps(what, done, total))
    if as_json:
        display.print_json({"folder": str(folder), "images": len(files), "synthetic": True})
        return
    drawn = display.number_of(len(files), "image" if fields is None else "field")
    display.write(f"SYNTHETIC: {drawn} in {folder}")
    display.say(f"truth: {folder / 'truth.csv'}")
    if fields is None:
        display.say(f"next: alld train --data {folder} --config quick")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the drawn images and the run.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of the images, the split and the training.")] = 0,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Try everything on SYNTHETIC images in minutes: draw, train, evaluate, predict and screen.

    Example: alld demo
    """
    from alld.demo import IMAGES, RUN, run_demo

    with display.training_progress() as listener:
        shown = run_demo(out, seed, listener)
    if as_json:
        display.print_json(shown.evaluation.as_dict())
        return
    images, run = (shlex.quote(str(shown.folder / name)) for name in (IMAGES, RUN))
    for prediction in shown.predictions:
        display.write(f"SYNTHETIC {display.prediction_line(prediction)}")
    print_result(shown.evaluation, as_json=False)
    for sample in shown.screening.facts["samples"]:
        display.write(f"SYNTHETIC {sample_line(sample)}")
    display.say(f"report of the screened field: {shown.screening.folder / 'report.html'}")
    display.say(f"next: alld predict {images} --model {run}")
    display.say(f"      alld serve --model {run} --open")
    display.say("your own images: alld train --data FOLDER, then alld evaluate and alld predict,")
    display.say("your own fields: alld screen FOLDER")
