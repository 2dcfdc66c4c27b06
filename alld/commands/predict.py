"""`alld predict`: one row for every image."""

import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alld import NOTICE, display
from alld.commands.options import DeviceOption, JsonOption, VerboseOption, newest_run, print_json
from alld.commands.settings import TtaOption
from alld.errors import ConfigError
from alld.files import one_line, well_formed


class TableFormat(StrEnum):
    """How `predict` writes its rows."""

    text = "text"
    csv = "csv"
    jsonl = "jsonl"


def predict(
    paths: Annotated[list[str], typer.Argument(help="Image files, folders or globs.")],
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
        Path | None, typer.Option(help="Write the rows to this file (.csv or .jsonl).")
    ] = None,
    require_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Refuse every model but the one of this identity."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Draw a heat map of each image into this folder."),
    ] = None,
    tta: TtaOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Say blast or healthy for each image, with its probability; one row an input.

    Example: [bold]alld predict cells/ --format csv --out rows.csv[/]

    What the model looked at, as pictures: [bold]alld predict cells/ --explain maps[/]
    """
    from alld.inference.batch import expand
    from alld.inference.prediction import COLUMNS, EXPLAINED, VERDICTS
    from alld.inference.predictor import Predictor
    from alld.inference.rows import write_rows
    from alld.model.place import is_exported, no_heat_map

    table = _table_format(table, out, as_json)
    required = None if require_sha256 is None else _identity(require_sha256)
    files = expand(paths)
    if explain is not None:
        if model is not None and is_exported(model):
            raise no_heat_map(model)
        from alld.inference import heat_pictures

        heat_pictures.check_place(explain, paths, files)
    predictor = Predictor.load(model or newest_run(), device or "auto", tta=tta, required=required)
    info = predictor.info
    drawn = " SYNTHETIC" if info.data.synthetic else ""
    display.say(f"model: {predictor.path}{drawn} ({info.arch}, {predictor.identity[:12]})")
    counts = Counter(dict.fromkeys((*VERDICTS, "failed"), 0))
    notes: Counter[str] = Counter()
    predictions = predictor.iterate(files)
    columns: tuple[str, ...] = COLUMNS
    if explain is not None:
        predictions = heat_pictures.draw_all(predictions, explain, predictor)
        columns = EXPLAINED
        if as_json or out is not None:  # no line an image tells how far it is
            predictions = display.counted(predictions, "drawing heat maps", len(files))

    def watched() -> Iterator[Any]:
        for prediction in predictions:
            counts[prediction.verdict or "failed"] += 1
            notes.update(prediction.notes)
            for note in prediction.notes:
                display.detail(f"note: {one_line(prediction.path)}: {note}")
            yield prediction

    if as_json:
        rows = [prediction.as_row(columns) for prediction in watched()]
        print_json({"model": _model_facts(predictor), "predictions": rows})
    elif table is TableFormat.text:
        for prediction in watched():
            display.output.print(display.prediction_line(prediction), markup=False)
    else:
        write_rows(watched(), table.value, out, columns)
    for note, images in notes.items():
        display.say(f"note: {note} ({display.images(images)})")
    display.say(display.summary(counts))
    if explain is not None:
        display.say(f"heat maps: {explain}")
    display.say(NOTICE)
    if counts["failed"]:
        raise typer.Exit(1)


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
        return table
    if as_json:
        raise ConfigError("--json answers on standard output; with --out use --format csv or jsonl")
    if table is not TableFormat.text:
        return table
    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in ("csv", "jsonl"):
        raise ConfigError(f"--out {out}: end it in .csv or .jsonl, or add --format csv")
    return TableFormat(suffix)


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
