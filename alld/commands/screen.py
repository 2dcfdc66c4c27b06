"""`alld screen`: find the white cells of whole fields, classify them, and sum up each sample."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld import NOTICE, display
from alld.commands.archive import Workforce
from alld.commands.models import place_of
from alld.commands.options import (
    AddressOption,
    DeviceOption,
    Engine,
    EngineOption,
    GpusOption,
    JsonOption,
    ModelOption,
    TtaOption,
    VerboseOption,
)
from alld.errors import ConfigError
from alld.runtime.files import check_writable, one_line

if TYPE_CHECKING:
    from alld.screen.screening import Screening

SCREENS = Path("screens")


def screen(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Fields, folders, globs, or CSV tables with the columns path and sample. The "
            "fields of a folder are one sample.",
        ),
    ],
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="New folder to write (default: a new one in ./screens)."),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Side in pixels of the square that is cut out around a cell; it should show as "
            "much of the smear as the model's training images do (default: as the model was "
            "trained on fields, or 257 as in ALL-IDB2).",
        ),
    ] = None,
    error_rates: Annotated[
        Path | None,
        typer.Option(
            metavar="EVALUATION",
            help="Correct the share of blasts for the model's sensitivity and specificity in this "
            "evaluation: its metrics.json, its folder, or that of its run.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of processes.")] = 1,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    gpus: GpusOption = None,
    tta: TtaOption = None,
    no_abstain: Annotated[
        bool,
        typer.Option("--no-abstain", help="Never answer uncertain or out of domain."),
    ] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Count the blasts in whole fields: find the white cells, cut each out, and classify it.

    Writes tables of cells, fields and samples, a picture and GeoJSON of each field, COCO JSON and
    report.html, with a page for each sample. After an interruption the same command with --out
    continues. The exit status is 1 if some fields cannot be read.

    Example: alld screen patient/ --out screens/patient

    Example: alld screen patients/ --error-rates runs/RUN --workers 2
    """
    from alld.inference.predictor import Predictor
    from alld.screen.look import ScreenJob, side_for
    from alld.screen.screening import check_out
    from alld.screen.screening import screen as screen_fields
    from alld.screen.sources import read_fields
    from alld.screen.summary import read_error_rates

    workforce = Workforce(engine, workers, None, address, gpus)
    workforce.check(alone=False)
    place = _default_place() if out is None else out
    check_out(place)
    check_writable(place.parent)
    fields = read_fields([os.path.expanduser(path) for path in paths])
    if fields.left_out:
        display.warn(fields.left_out)
    chosen, required = place_of(model, "alld screen --model RUN ...", None)
    predictor = Predictor.load(
        chosen,
        "cpu" if engine is Engine.ray else device,
        tta=tta,
        required=required,
        threads=workforce.threads_each,
        abstain=not no_abstain,
    )
    display.say(display.model_line(predictor))
    side = crop or side_for(predictor)
    known = predictor.info.data.crop is not None
    display.say(
        f"crops of {side} px{', as the model was trained' if known else ''}; whether its training "
        "images were magnified as these fields are is not recorded"
    )
    rates = None if error_rates is None else read_error_rates(error_rates, predictor)
    if out is None:
        display.say(f"folder: {place}; if stopped, go on with --out {place}")
    job = ScreenJob.of(predictor, chosen, "jsonl", side=side)

    def work(job: Any, doing: Any, progress: Any) -> "Screening":
        return screen_fields(fields, place, job, predictor, rates, engine=doing, progress=progress)

    done = workforce.run(job, work, "field")
    _show(done, as_json=as_json)
    if any(row["error"] for row in done.facts["fields"]):
        raise typer.Exit(1)


def _default_place() -> Path:
    """Return `screens/<local time>`, with a number after the time if taken."""
    stem = SCREENS / time.strftime("%Y%m%d-%H%M%S")
    places = [stem, *(stem.with_name(f"{stem.name}-{number}") for number in range(2, 100))]
    free = (place for place in places if not place.exists())
    place = next(free, None)
    if place is None:
        raise ConfigError(f"{stem}: taken, as are its numbers; name another with --out")
    return place


def _show(done: "Screening", *, as_json: bool) -> None:
    facts = done.facts
    for row in facts["fields"]:
        if row["error"]:
            display.say(f"error: {row['error']}")
        for note in filter(None, str(row["notes"]).split("; ")):
            display.detail(f"note: {one_line(row['field'])}: {note}")
    if as_json:
        display.print_json({"folder": str(done.folder), **facts})
        return
    mark = "SYNTHETIC " if facts["synthetic"] else ""
    for sample in facts["samples"]:
        display.write(f"{mark}{sample_line(sample)}")
    display.say(f"report: {done.folder / 'report.html'}")
    display.say(NOTICE)


def sample_line(sample: dict[str, Any]) -> str:
    """Return `patient: 12 blast, 3 healthy, ... in 4 fields; blasts 80.0 % (62.1 to 91.2)`."""
    counts = ", ".join(
        f"{sample[name]} {name.replace('_', ' ')}"
        for name in ("blast", "healthy", "uncertain", "out_of_domain")
    )
    fields = display.number_of(sample["fields"], "field")
    line = f"{sample['sample']}: {counts} in {fields}; blasts {_percent(sample['share'])}"
    return f"{line}; corrected {_percent(c)}" if (c := sample["corrected"]) else line


def _percent(entry: dict[str, Any]) -> str:
    if entry["value"] is None:
        return f"undefined ({entry['reason']})"
    if entry["ci_low"] is None:
        return f"{100 * entry['value']:.1f} % ({entry['reason']})"
    low, high = (100 * entry[name] for name in ("ci_low", "ci_high"))
    return f"{100 * entry['value']:.1f} % ({low:.1f} to {high:.1f})"
