"""Read images to predict from the column `path` of a CSV or Parquet table, in bounded memory."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from alld.errors import DataError
from alld.runtime.reading import check_regular, check_separator

SUFFIXES = (".csv", ".parquet")
COLUMN = "path"
LONGEST_LINE = 2**20  # letters; a file without lines would fill the memory
LONGEST_PATH = 2**15  # letters; no system has longer ones
_ROWS = 8192  # of a Parquet file that are read at once
_TEXTS = ("string", "large_string", "string_view")
_GROUP_BYTES = 2**29  # of the column in a row group, unpacked: some millions of paths


def is_path_table(argument: str) -> bool:
    """Return whether an argument names a table, by its suffix; a folder never does."""
    return argument.lower().endswith(SUFFIXES) and not os.path.isdir(argument)


def paths_in(table: Path) -> Iterator[Path]:
    """Yield the image of each row; paths are relative to the table's folder.

    Raises:
        DataError: no such file or column, no rows, or a row without a path or with one too long.
    """
    read, unit = (_parquet, "row") if table.suffix.lower() == ".parquet" else (_csv, "line")
    number = 0
    for number, path in read(table):
        if not path:
            raise DataError(f"{table}, {unit} {number}: no path; name an image file")
        if len(path) > LONGEST_PATH:
            raise DataError(f"{table}, {unit} {number}: a path of over {LONGEST_PATH} letters")
        yield table.parent / path
    if not number:
        raise DataError(f"{table}: has no rows; give one for each image")


def _csv(table: Path) -> Iterator[tuple[int, str]]:
    """Yield the path of each row, and the line of the file where the row ends."""
    try:
        check_regular(table)
        with open(table, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(_lines(file, table))
            names = [name.strip().lower() for name in next(filter(None, rows), [])]
            check_separator(names)
            at = _place(table, names)
            for row in rows:
                if row:  # an empty line is no row
                    yield rows.line_num, row[at].strip() if at < len(row) else ""
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error


def _lines(file: TextIO, table: Path) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"{table}: has a line of over {LONGEST_LINE} letters; is it a table?")
        yield line


def _parquet(table: Path) -> Iterator[tuple[int, str | None]]:
    from alld.inference.rows import pyarrow

    arrow = pyarrow()
    from pyarrow.parquet import ParquetFile

    try:
        check_regular(table)
        with ParquetFile(table) as file:
            _check_column(table, file)
        # A path that many rows share is kept once, as in the file.
        with ParquetFile(table, read_dictionary=[COLUMN]) as file:
            batches = file.iter_batches(_ROWS, columns=[COLUMN])
            texts = (text.as_py() for rows in batches for text in rows.column(0))
            yield from enumerate(texts, start=1)
    except (OSError, ValueError, arrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{table}: cannot be read as a Parquet table: {reason}") from error


def _check_column(table: Path, file: Any) -> None:
    """Reject paths that are not text or would fill the memory, before they are unpacked."""
    kind = str(file.schema_arrow.field(_place(table, file.schema_arrow.names)).type)
    if kind not in _TEXTS and not kind.startswith("dictionary<values=string,"):
        raise DataError(f"{table}: its column {COLUMN} holds {kind}, not text")
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        parts = [group.column(place) for place in range(group.num_columns)]
        size = sum(one.total_uncompressed_size for one in parts if one.path_in_schema == COLUMN)
        if size > _GROUP_BYTES:
            raise DataError(f"{table}: over {_GROUP_BYTES >> 20} MiB of paths in one row group")


def _place(table: Path, names: list[str]) -> int:
    if names.count(COLUMN) > 1:
        raise DataError(f"{table}: two columns are called {COLUMN}")
    if COLUMN not in names:
        found = ", ".join(names[:20]) or "none"
        raise DataError(f"{table}: needs the column {COLUMN}; found {found}")
    return names.index(COLUMN)
