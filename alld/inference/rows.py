"""Predictions as CSV, JSON lines or Parquet: to standard output as they come, or to a file."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import TextIO

from alld.inference import parquet
from alld.inference.inputs import SHARD
from alld.inference.prediction import COLUMNS, Prediction
from alld.runtime.files import cell, replacing


def write_rows(
    predictions: Iterable[Prediction],
    table: str,
    out: Path | None,
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Stream rows as `csv`, `jsonl` or `parquet`; a file appears only when it is complete.

    Parquet needs a file: it has no rows that could be read along.
    """
    if out is None:
        _stream(predictions, table, sys.stdout, columns)
        return
    with replacing(out) as beside:
        if table == "parquet":
            _write_parquet(predictions, beside, columns)
            return
        with open(beside, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            _stream(predictions, table, file, columns)


def body(predictions: Iterable[Prediction], table: str, columns: Sequence[str]) -> bytes:
    """Some rows of a table without what stands once in it: what `merge` puts together."""
    if table == "parquet":
        return parquet.to_bytes(predictions, columns)
    text = StringIO(newline="")
    _write(predictions, table, text, columns)
    return text.getvalue().encode("utf-8", errors="backslashreplace")


def head(table: str, columns: Sequence[str]) -> bytes:
    """What stands before the rows."""
    text = StringIO(newline="")
    if table == "csv":
        csv.DictWriter(text, columns, lineterminator="\n").writeheader()
    return text.getvalue().encode()


def _stream(
    predictions: Iterable[Prediction], table: str, file: TextIO, columns: Sequence[str]
) -> None:
    file.write(head(table, columns).decode())
    _write(predictions, table, file, columns)


def _write(
    predictions: Iterable[Prediction], table: str, file: TextIO, columns: Sequence[str]
) -> None:
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    for prediction in predictions:
        row = prediction.as_row(columns)
        if table == "csv":
            writer.writerow({name: cell(value) for name, value in row.items()})
        else:
            file.write(json.dumps(row) + "\n")
        file.flush()  # whoever reads along waits for no buffer to fill


def _write_parquet(predictions: Iterable[Prediction], path: Path, columns: Sequence[str]) -> None:
    waiting = iter(predictions)
    with parquet.parquet_file(path, columns) as add:
        while rows := list(islice(waiting, SHARD)):
            add(parquet.to_table(rows, columns))
