"""Predictions as CSV or JSON lines, written as they come: to standard output or to a whole file."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from alld.files import cell, replacing
from alld.inference.prediction import COLUMNS, Prediction


def write_rows(
    predictions: Iterable[Prediction],
    table: str,
    out: Path | None,
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Stream rows as `csv` or `jsonl`; a file appears only when it is complete."""
    if out is None:
        _stream(predictions, table, sys.stdout, columns)
        return
    with (
        replacing(out) as beside,
        open(beside, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        _stream(predictions, table, file, columns)


def _stream(
    predictions: Iterable[Prediction], table: str, file: TextIO, columns: Sequence[str]
) -> None:
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    if table == "csv":
        writer.writeheader()
    for prediction in predictions:
        row = prediction.as_row(columns)
        if table == "csv":
            writer.writerow({name: cell(value) for name, value in row.items()})
        else:
            file.write(json.dumps(row) + "\n")
        file.flush()  # whoever reads along waits for no buffer to fill
