"""`alld predict`: classify images, one row per image."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from alld.runtime.files import check_writable, one_line, well_formed
from alld.runtime.process import output_is_closed

if TYPE_CHECKING:
    from alld.inference.inputs import Inputs
    from alld.inference.prediction import Prediction, Tally
    from alld.inference.predictor import Predictor


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, globs, or tables (.csv, .parquet) with a column path.",
        ),
    ],
    model: ModelOption = None,
    form: Annotated[
        Literal["text", "csv", "jsonl", "parquet"],
        typer.Option("--format", help="Format of the rows."),
    ] = "text",
    out: Annotated[
        Path | None, typer.Option(help="Write the rows to this file (.csv, .jsonl or .parquet).")
    ] = None,
    require_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Refuse any model but the one with this identity."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw a heat map of each image into this folder."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Number of processes for more than 1,024 images with --out. One process already "
            "uses all cores; several share them."
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads per process (default: the cores divided by --workers). The rows do not "
            "depend on it."
        ),
    ] = None,
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
    """Classify each image as blast, healthy, uncertain or out of domain, with P(blast).

    With --out, more than 1,024 images are predicted in shards; after an interruption the same
    command continues. The exit status is 1 if some images cannot be read.

    Example: alld predict cells/ --format csv --out rows.csv

    Example: alld predict cells/ --explain maps

    Example: alld predict archive.csv --out rows.parquet
    """
    from alld.inference.inputs import SHARD, read_inputs
    from alld.inference.predictor import Predictor
    from alld.model.place import is_exported, no_heat_map

    table = _check_format(form, out, as_json=as_json)
    workforce = Workforce(engine, workers, threads, address, gpus)
    workforce.check(alone=out is None or explain is not None)
    required = None if require_sha256 is None else _identity(require_sha256)
    arguments = [os.path.expanduser(path) for path in paths]
    inputs = read_inputs(arguments)  # reads whole tables: their errors come before any work
    if inputs.left_out:
        display.warn(inputs.left_out)
    if explain is not None:
        if model is not None and is_exported(Path(model)):
            raise no_heat_map(model)
        from alld.inference import heat_pictures

        heat_pictures.check_place(explain, arguments, inputs)
    long = inputs.images > SHARD or engine is Engine.ray
    sharded = out if long and explain is None else None
    chosen, required = place_of(model, "alld predict --model RUN ...", required)
    threads = workforce.threads_each if sharded else threads
    # This machine need not have the devices of a cluster.
    place = "cpu" if engine is Engine.ray else device
    predictor = Predictor.load(
        chosen, place, tta=tta, required=required, threads=threads, abstain=not no_abstain
    )
    display.say(display.model_line(predictor))
    if sharded:
        from alld.inference.archives.engines import Job

        job = Job.of(predictor, chosen, table)
        del predictor  # each process loads its own
        tally = workforce.predict(inputs, sharded, job)
    else:
        tally = _classify(predictor, inputs, table, out, explain, as_json=as_json)
    for note, images in tally.notes.items():
        display.say(f"note: {note} ({display.images(images)})")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally.verdicts.items())
    display.say(f"{display.images(sum(tally.verdicts.values()))}: {counts}")
    if explain is not None:
        display.say(f"heat maps: {explain}")
    display.say(NOTICE)
    if tally.verdicts["failed"]:
        raise typer.Exit(1)


def _classify(
    predictor: "Predictor",
    inputs: "Inputs",
    table: str,
    out: Path | None,
    explain: Path | None,
    *,
    as_json: bool,
) -> "Tally":
    """Classify one image after the other and write each row at once."""
    from alld.inference.prediction import COLUMNS, EXPLAINED, Tally
    from alld.inference.rows import write_rows

    tally, predictions = Tally.empty(), predictor.iterate(inputs)
    columns: tuple[str, ...] = COLUMNS
    if explain is not None:
        from alld.inference import heat_pictures

        predictions, columns = heat_pictures.draw_all(predictions, explain, predictor), EXPLAINED
        if as_json or out is not None:  # nothing else shows the progress
            predictions = display.counted(predictions, "drawing heat maps", inputs.images)

    def watched() -> "Iterator[Prediction]":
        for prediction in tally.counting(predictions):
            for note in prediction.notes:
                display.detail(f"note: {one_line(prediction.path)}: {note}")
            yield prediction

    if as_json:
        rows = [prediction.as_row(columns) for prediction in watched()]
        display.print_json({"model": _model_facts(predictor), "predictions": rows})
    elif table == "text":
        for prediction in watched():
            display.write(display.prediction_line(prediction))
    else:
        write_rows(watched(), table, out, columns)
    return tally


def _identity(text: str) -> str:
    """Check that these are the 64 hexadecimal digits of a model's identity."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        digits = len(re.findall(r"[0-9a-fA-F]", text))
        odd = len(text) - digits
        seen = f"{digits} hexadecimal digits" + (f" and {odd} other letters" if odd else "")
        raise ConfigError(
            f"--require-sha256: has {seen}, and a model's identity has 64; "
            "`alld predict --json` says it as model.identity"
        )
    return text.lower()


def _check_format(table: str, out: Path | None, *, as_json: bool) -> str:
    """Return the format of the rows: --format, or by the name of the file."""
    if out is None:
        if table == "parquet":
            raise ConfigError("--format parquet needs a file; name one with --out rows.parquet")
        if output_is_closed():
            raise ConfigError("standard output is closed; name a file with --out rows.csv")
        return table
    check_writable(out.parent)
    if as_json:
        raise ConfigError("--json answers on standard output; with --out use --format csv or jsonl")
    if table == "text":
        table = out.suffix.lower().removeprefix(".")
        if table not in ("csv", "jsonl", "parquet"):
            raise ConfigError(
                f"--out {out}: end it in .csv, .jsonl or .parquet, or add --format csv"
            )
    if table == "parquet":
        from alld.inference.rows import pyarrow

        pyarrow()  # raises before any work if it is missing
    return table


def _model_facts(predictor: Any) -> dict[str, Any]:
    info = predictor.info
    return {
        "path": well_formed(str(predictor.path)),
        "identity": predictor.identity,
        "exported_from": predictor.exported_from,
        "members": predictor.members,
        "arch": info.arch,
        "initial_weights": info.initial_weights,
        "synthetic": info.data.synthetic,
        "threshold": info.threshold,
        "temperature": info.temperature,
        "tta": predictor.tta,
        "notice": info.notice,
    }
