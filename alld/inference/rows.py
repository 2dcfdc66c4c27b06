"""Write predictions as CSV, JSON lines or Parquet, to standard output or to a file."""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from alld import NOTICE
from alld.errors import ConfigError
from alld.inference.inputs import SHARD
from alld.inference.prediction import COLUMNS, Prediction
from alld.runtime.files import cell, replacing

_NUMBERS = ("probability", "threshold")  # 64-bit in Parquet; all else is text


def write_rows(
    predictions: Iterable[Prediction],
    table: str,
    out: Path | None,
    columns: Sequence[str] = COLUMNS,
) -> None:
    """Stream rows as `csv`, `jsonl` or `parquet`; a file appears only when it is complete.

    Parquet needs a file: its rows cannot be read while it is written.
    """
    if out is None:
        sys.stdout.write(_head(table, columns))
        _write(predictions, table, sys.stdout, columns)
        return
    waiting = iter(predictions)
    with replacing(out) as beside, opened(beside, table, columns) as add:
        while rows := list(islice(waiting, SHARD)):
            add(body(rows, table, columns))


def body(predictions: Iterable[Prediction], table: str, columns: Sequence[str]) -> bytes:
    """Return rows without the head of the table, for `opened` to add."""
    if table == "parquet":
        file = BytesIO()
        rows = [prediction.as_row(columns) for prediction in predictions]
        with _parquet_writer(file, columns) as writer:
            writer.write_table(pyarrow().Table.from_pylist(rows, schema=_schema(columns)))
        return file.getvalue()
    text = StringIO(newline="")
    _write(predictions, table, text, columns)
    return text.getvalue().encode("utf-8", errors="backslashreplace")


@contextmanager
def opened(path: Path, table: str, columns: Sequence[str]) -> Iterator[Callable[[bytes], object]]:
    """Open a table; what is yielded adds the rows in a `body`, in Parquet as a row group."""
    with open(path, "wb") as file:
        if table == "parquet":
            pyarrow()
            from pyarrow.parquet import read_table

            with _parquet_writer(file, columns) as writer:
                yield lambda rows: writer.write_table(read_table(BytesIO(rows)))
        else:
            file.write(_head(table, columns).encode())
            yield file.write


def pyarrow() -> Any:
    """Return the library of the extra `parquet`, which takes 170 MB.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow


def _head(table: str, columns: Sequence[str]) -> str:
    text = StringIO(newline="")
    if table == "csv":
        csv.DictWriter(text, columns, lineterminator="\n").writeheader()
    return text.getvalue()


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
        file.flush()  # a reader of the stream gets each row at once


def _parquet_writer(file: Any, columns: Sequence[str]) -> Any:
    pyarrow()
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(file, _schema(columns))


def _schema(columns: Sequence[str]) -> Any:
    arrow = pyarrow()
    kinds = {name: arrow.float64() if name in _NUMBERS else arrow.string() for name in columns}
    return arrow.schema(list(kinds.items()), metadata={"notice": NOTICE})
