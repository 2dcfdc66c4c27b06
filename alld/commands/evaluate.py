"""`alld evaluate`: the held-out test of a run."""

from pathlib import Path
from typing import Annotated

import typer

from alld import display, printed
from alld.commands.options import DeviceOption, JsonOption, VerboseOption, newest_run, print_json
from alld.commands.settings import TtaOption
from alld.errors import ConfigError


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder (default: the newest on real data under ./runs)."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Other labelled images, folder or CSV table: an external validation, without "
            "refitting anything. Also where the run's own lie now, if they were moved."
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="With --data: the folder or label that means blast, in a set of its own names."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Share of blasts among the cells to be judged: adds PPV and NPV at it."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Judge the images blurred, recoloured and scaled too."),
    ] = False,
    heat_maps: Annotated[
        bool | None,
        typer.Option(
            "--heat-maps/--no-heat-maps",
            help="Measure what heat maps of the test images are worth (default: yes).",
        ),
    ] = None,
    tta: TtaOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a run on the images it held out, or on others: numbers with intervals, and a report.

    Example: [bold]alld evaluate runs/resnet50-20260101-120000[/]

    Example: [bold]alld evaluate runs/resnet50-20260101-120000 --data other-lab/labels.csv[/]
    """
    from alld.evaluation import holdout as evaluation_room

    if positive is not None and data is None:
        raise ConfigError("--positive goes with --data: the run's own images have their names")
    folder = run or newest_run()
    steps = display.Steps()
    try:
        evaluation = evaluation_room.evaluate(
            folder,
            device or "auto",
            steps,
            data=data,
            positive=positive,
            prevalence=prevalence,
            shake=robustness,
            tta=tta,
            heat_maps=heat_maps,
        )
    finally:
        steps.close()
    if as_json:
        print_json(evaluation.as_dict())
        return
    printed.print_evaluation(evaluation)
