"""`alld evaluate`, `alld compare` and `alld runs`: how well trained models do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alld import NOTICE, display
from alld.commands.options import (
    DeviceOption,
    HealthyOption,
    JsonOption,
    PositiveOption,
    TtaOption,
    VerboseOption,
    newest_run,
)
from alld.errors import ConfigError
from alld.runtime.files import one_line

if TYPE_CHECKING:
    from alld.evaluation.compare.result import RunComparison
    from alld.evaluation.result import Result

_FEW = 8  # images on which two runs differ; more are listed under --verbose


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run folder (default: the newest run on real data in ./runs)."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder or CSV table of other labelled images for an external validation; or "
            "where the run's own images are now, if they were moved."
        ),
    ] = None,
    positive: PositiveOption = None,
    healthy: HealthyOption = None,
    prevalence: Annotated[
        float | None,
        typer.Option(help="Expected share of blasts, between 0 and 1: adds PPV and NPV."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option("--robustness", help="Also test blurred, recoloured and rescaled images."),
    ] = False,
    heat_maps: Annotated[
        bool | None,
        typer.Option(
            "--heat-maps/--no-heat-maps",
            help="Test whether heat maps show what matters to the model (default: yes).",
        ),
    ] = None,
    tta: TtaOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Test a run on the images it held out, or on images from elsewhere, and write a report.

    Example: alld evaluate runs/resnet50-20260101-120000

    Example: alld evaluate runs/resnet50-20260101-120000 --data labels.csv
    """
    from alld.evaluation import holdout

    if (positive or healthy) and data is None:
        option = "--positive" if positive else "--healthy"
        raise ConfigError(f"{option} goes with --data: the run's own images have their names")
    folder = run or newest_run("alld evaluate RUN")
    with display.Steps() as steps:
        result = holdout.evaluate(
            folder,
            device,
            steps,
            data=data,
            positive=positive or (),
            healthy=healthy or (),
            prevalence=prevalence,
            robustness=robustness,
            tta=tta,
            heat_maps=heat_maps,
            note=display.warn,
        )
    print_result(result, as_json=as_json)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Two or more evaluated runs or cross-validations.")
    ],
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Compare runs on the images that all of them tested, with paired tests.

    Example: alld compare runs/resnet50-20260101-120000 runs/vgg16-20260101-150000
    """
    from alld.evaluation.compare import compare as comparing

    comparison = comparing.compare(runs)
    if as_json:
        display.print_json(comparison.as_dict())
    else:
        _print_comparison(comparison)


def runs(as_json: JsonOption = False) -> None:
    """List the runs in ./runs: state, network, split and test accuracy.

    Example: alld runs --json
    """
    from alld.evaluation.crossval.overview import COLUMNS, run_overview

    rows = run_overview()
    if as_json:
        display.print_json(rows)
    elif rows:
        display.write_list(COLUMNS, [[str(row[name]) for name in COLUMNS] for row in rows])
    else:
        display.say("no runs under ./runs; `alld train` makes one")


def print_result(result: "Result", *, as_json: bool) -> None:
    """Write metrics, caveats and the path of the report; errors or folds under --verbose."""
    from alld.evaluation import result as results

    if as_json:
        display.print_json(result.as_dict())
        return
    headings, rows = results.metric_table(result)
    shown = 5 if result.kind == "crossval" else 4  # methods are in table.md
    display.write_table(result.marked_title, headings[:shown], (row[:shown] for row in rows))
    if line := results.patient_line(result):
        display.write(line)
    headings, rows = results.comparison_table(result)
    if rows:
        display.write_table("against the run's own test, by the same model", headings, rows)
    for prediction, label in result.errors():
        display.detail(f"wrong: {display.prediction_line(prediction)} is {label}")
    headings, rows = results.outside_table(result)
    if rows:
        display.write_table("outside and inside, by direction", headings, rows)
    _, rows = results.fold_table(result)
    for repeat, fold, right, blasts, healthy, *_ in rows:
        display.detail(
            f"repeat {repeat}, fold {fold}: {right} right, blasts {blasts}, healthy {healthy}"
        )
    for sentence in (*results.caveats(result), NOTICE):
        display.write(f"- {sentence}")
    display.write(f"evaluation: {result.folder}")
    display.say(f"read it in a browser: {result.report}")


def _print_comparison(comparison: "RunComparison") -> None:
    from alld.evaluation.compare import result

    columns = result.run_columns(comparison)
    display.write_table(result.title(comparison), columns, result.run_rows(comparison))
    title = "differences, the first run minus the second"
    display.write_table(title, result.PAIR_COLUMNS, result.pair_rows(comparison))
    for pair in comparison.pairs:
        display.write(one_line(pair.verdict))
        few = len(pair.disagreements) <= _FEW
        for image in pair.disagreements:
            line = one_line(f"  {result.disagreement_line(pair, image)}")
            display.write(line) if few else display.detail(line)
        if not few and display.details.quiet:
            display.say(f"-v lists the {len(pair.disagreements)} images on which they differ")
    for sentence in (*comparison.caveats, NOTICE):
        display.write(f"- {sentence}")
