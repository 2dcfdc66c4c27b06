"""Images to predict out of the column `path` of a CSV or Parquet table, in bounded memory."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from alld.errors import DataError
from alld.reading import check_regular

SUFFIXES = (".csv", ".parquet")
COLUMN = "path"
LONGEST_LINE = 2**20  # letters; a file without lines would fill the memory
_ROWS = 8192  # of a Parquet file that are read at once


def is_path_table(argument: str) -> bool:
    """Whether an argument is read as a table and not as an image; a folder never is."""
    return argument.lower().endswith(SUFFIXES) and not os.path.isdir(argument)


def paths_in(table: Path) -> Iterator[Path]:
    """The image of each row, in their order and as often as it stands there.

    Paths are relative to the table's folder.

    Raises:
        DataError: no such file or column, a row without a path, or no rows at all.
    """
    read = _parquet if table.suffix.lower() == ".parquet" else _csv
    number = 0
    for number, path in enumerate(read(table), start=1):
        if not path:
            raise DataError(f"{table}, row {number}: no path; name an image file")
        yield table.parent / path
    if not number:
        raise DataError(f"{table}: has no rows; give one for each image")


def _csv(table: Path) -> Iterator[str]:
    try:
        check_regular(table)
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(_lines(file, table))
            names = [name.strip().lower() for name in next(rows, [])]
            at = _place(table, names)
            for row in rows:
                if row:  # an empty line is no row
                    yield row[at].strip() if at < len(row) else ""
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error


def _lines(file: TextIO, table: Path) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"{table}: has a line of over {LONGEST_LINE} letters; is it a table?")
        yield line


def _parquet(table: Path) -> Iterator[str | None]:
    from alld.inference.parquet import pyarrow

    arrow = pyarrow()
    from pyarrow.parquet import ParquetFile

    try:
        check_regular(table)
        with ParquetFile(table) as file:
            kind = file.schema_arrow.field(_place(table, file.schema_arrow.names)).type
            if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind)):
                raise DataError(f"{table}: its column {COLUMN} holds {kind}, not text")
            for rows in file.iter_batches(_ROWS, columns=[COLUMN]):
                yield from rows.column(0).to_pylist()
    except (OSError, ValueError, arrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{table}: cannot be read as a Parquet table: {reason}") from error


def _place(table: Path, names: list[str]) -> int:
    if COLUMN not in names:
        found = ", ".join(names[:20]) or "none"
        raise DataError(f"{table}: needs the column {COLUMN}; found {found}")
    return names.index(COLUMN)
