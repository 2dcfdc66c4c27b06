"""`alld compare`: runs on identical images."""

from pathlib import Path
from typing import Annotated

import typer

from alld import printed
from alld.commands.options import JsonOption, VerboseOption, print_json


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Two or more evaluated runs or cross-validations.")
    ],
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Compare runs on the images that all of them tested: can chance explain the difference?

    Example: [bold]alld compare runs/resnet50-20260101-120000 runs/vgg16-20260101-150000[/]
    """
    from alld.evaluation.compare import compare as comparing

    comparison = comparing.compare(runs)
    if as_json:
        print_json(comparison.as_dict())
        return
    printed.print_comparison(comparison)
