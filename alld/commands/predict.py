"""`alld predict`: one row for every image."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld import NOTICE, display, printed
from alld.commands.archive import Workforce, job_of
from alld.commands.engines import AddressOption, Engine, EngineOption, GpusOption
from alld.commands.options import DeviceOption, JsonOption, VerboseOption, newest_run, print_json
from alld.commands.settings import TtaOption
from alld.errors import ConfigError
from alld.runtime.files import one_line, well_formed

if TYPE_CHECKING:
    from alld.inference.inputs import Inputs
    from alld.inference.prediction import Prediction, Tally
    from alld.inference.predictor import Predictor


class TableFormat(StrEnum):
    """How `predict` writes its rows."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, globs, or tables (.csv, .parquet) with a column path."
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run, bundle or .onnx (default: the newest run on real data under ./runs)."
        ),
    ] = None,
    table: Annotated[
        TableFormat, typer.Option("--format", help="How the rows are written.")
    ] = TableFormat.text,
    out: Annotated[
        Path | None, typer.Option(help="Write the rows to this file (.csv, .jsonl or .parquet).")
    ] = None,
    require_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Refuse every model but the one of this identity."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw a heat map of each image into this folder."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes for a list of over 1,024 images that goes to --out (default: 1). They "
            "share the cores, all of which one process uses too: it has a thread for each."
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads of each process (default: the cores, divided by --workers). The rows "
            "depend on neither. To see what a second process gains, give both 1 thread."
        ),
    ] = None,
    engine: EngineOption = Engine.local,
    address: AddressOption = None,
    gpus: GpusOption = None,
    tta: TtaOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Say blast or healthy for each image, with its probability; one row an input.

    Example: [bold]alld predict cells/ --format csv --out rows.csv[/]

    What the model looked at, as pictures: [bold]alld predict cells/ --explain maps[/]

    A list of over 1,024 images that goes to --out is judged in shards. Whatever stops that, the
    same command does what is missing: [bold]alld predict archive.csv --out rows.parquet[/]
    """
    from alld.inference.inputs import SHARD, read_inputs
    from alld.inference.predictor import Predictor
    from alld.model.place import is_exported, no_heat_map

    table = _table_format(table, out, as_json)
    workforce = Workforce(engine, workers, threads, address, gpus)
    workforce.check(alone=out is None or explain is not None)
    required = None if require_sha256 is None else _identity(require_sha256)
    inputs = read_inputs(paths)
    if explain is not None:
        if model is not None and is_exported(model):
            raise no_heat_map(model)
        from alld.inference import heat_pictures

        heat_pictures.check_place(explain, paths, inputs)
    # Tables are read to their ends here: what is wrong with one is said before any work.
    long = inputs.images > SHARD or engine is Engine.ray
    sharded = out if long and explain is None else None
    chosen = model or newest_run()
    threads = workforce.threads_each if sharded else threads
    # Of a cluster, this machine need not have what judges.
    place = "cpu" if engine is Engine.ray else device or "auto"
    predictor = Predictor.load(chosen, place, tta=tta, required=required, threads=threads)
    info = predictor.info
    drawn = " SYNTHETIC" if info.data.synthetic else ""
    display.say(f"model: {predictor.path}{drawn} ({info.arch}, {predictor.identity[:12]})")
    if sharded:
        job = job_of(predictor, chosen, table.value)
        del predictor  # every process has one of its own
        tally = workforce.predict(inputs, sharded, job)
    else:
        tally = _judge(predictor, inputs, table, out, explain, as_json=as_json)
    for note, images in tally.notes.items():
        display.say(f"note: {note} ({printed.images(images)})")
    display.say(printed.summary(tally.verdicts))
    if explain is not None:
        display.say(f"heat maps: {explain}")
    display.say(NOTICE)
    if tally.verdicts["failed"]:
        raise typer.Exit(1)


def _judge(
    predictor: "Predictor",
    inputs: "Inputs",
    table: TableFormat,
    out: Path | None,
    explain: Path | None,
    *,
    as_json: bool,
) -> "Tally":
    """Judge a list from its beginning to its end and write each row as it comes."""
    from alld.inference import heat_pictures
    from alld.inference.prediction import COLUMNS, EXPLAINED, Tally
    from alld.inference.rows import write_rows

    tally, predictions = Tally.empty(), predictor.iterate(inputs)
    columns: tuple[str, ...] = COLUMNS
    if explain is not None:
        from alld.inference import heat_pictures

        predictions, columns = heat_pictures.draw_all(predictions, explain, predictor), EXPLAINED
        if as_json or out is not None:  # no line an image tells how far it is
            predictions = display.counted(predictions, "drawing heat maps", inputs.images)

    def watched() -> "Iterator[Prediction]":
        for prediction in tally.counting(predictions):
            for note in prediction.notes:
                display.detail(f"note: {one_line(prediction.path)}: {note}")
            yield prediction

    if as_json:
        rows = [prediction.as_row(columns) for prediction in watched()]
        print_json({"model": _model_facts(predictor), "predictions": rows})
    elif table is TableFormat.text:
        for prediction in watched():
            display.output.print(printed.prediction_line(prediction), markup=False)
    else:
        write_rows(watched(), table.value, out, columns)
    return tally


def _identity(text: str) -> str:
    """The 64 hexadecimal digits of a model's identity; fewer would pin nothing."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        digits = len(re.findall(r"[0-9a-fA-F]", text))
        odd = len(text) - digits
        seen = f"{digits} hexadecimal digits" + (f" and {odd} other letters" if odd else "")
        raise ConfigError(
            f"--require-sha256: has {seen}, and a model's identity has 64; "
            "`alld predict --json` says it as model.identity"
        )
    return text.lower()


def _table_format(table: TableFormat, out: Path | None, as_json: bool) -> TableFormat:
    if out is None:
        if table is TableFormat.parquet:
            raise ConfigError("--format parquet needs a file; name one with --out rows.parquet")
        return table
    if as_json:
        raise ConfigError("--json answers on standard output; with --out use --format csv or jsonl")
    if table is TableFormat.text:
        suffix = out.suffix.lower().removeprefix(".")
        if suffix not in ("csv", "jsonl", "parquet"):
            raise ConfigError(
                f"--out {out}: end it in .csv, .jsonl or .parquet, or add --format csv"
            )
        table = TableFormat(suffix)
    if table is TableFormat.parquet:
        from alld.inference.parquet import pyarrow

        pyarrow()  # says before any work that it is missing
    return table


def _model_facts(predictor: Any) -> dict[str, Any]:
    info = predictor.info
    return {
        "path": well_formed(str(predictor.path)),
        "identity": predictor.identity,
        "exported_from": predictor.exported_from,
        "arch": info.arch,
        "initial_weights": info.initial_weights,
        "synthetic": info.data.synthetic,
        "threshold": info.threshold,
        "temperature": info.temperature,
        "tta": predictor.tta,
        "notice": info.notice,
    }
