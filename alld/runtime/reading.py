"""Read small text files that others may have written, within bounds, or refuse them."""

import csv
import json
import os
import stat
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

MOST_BYTES = 2**28  # a table of two million images is half of it
_HEADER_BYTES = 2**16


def check_regular(path: Path) -> None:
    """Raises ValueError for a pipe or a device, which may never end."""
    with _opened(path):
        pass


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """A file of UTF-8, with or without a mark at its beginning.

    Raises:
        OSError: it is not there, or may not be read.
        ValueError: it is no regular file, no UTF-8, or larger than `most` bytes.
    """
    with _opened(path) as (file, size):
        if size > most:
            raise ValueError(f"larger than {most} bytes")
        return file.read(size).decode("utf-8-sig")  # files of /proc say 0, and some never end


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises what `read_text` does, ValueError for what is no JSON."""
    return parse_json(read_text(path))


def parse_json(text: str | bytes) -> Any:
    """The content of JSON; raises ValueError, also where it is nested too deeply.

    Numbers that are none, which Python alone takes for JSON, are refused.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class Row(dict[str, str]):
    """The cells of a row by its columns' names, and the line of the file where it begins."""

    line = 0


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table by its columns' names, in small letters; what a row lacks is empty.

    Raises what `read_text` does, and ValueError for two columns of one name, or for other
    separators than commas.
    """
    return [*read_rows(path)]


def read_rows(path: Path) -> list[Row]:
    """As `read_csv`, with the line of each row."""
    return parse_csv(read_text(path))


def parse_csv(text: str) -> list[Row]:
    """As `read_csv`, of a text."""
    (_, names), *rows = [(line, row) for line, row in _cells(text) if row] or [(0, [])]
    columns = [name.strip().lower() for name in names]
    check_separator(columns)
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice}")
    found = []
    for line, cells in rows:
        row = Row(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=False))
        row.line = line
        found.append(row)
    return found


def csv_columns(path: Path) -> list[str]:
    """The names in the first line of a CSV table; raises what `read_csv` does."""
    with _opened(path) as (file, size):
        head = file.read(min(size, _HEADER_BYTES))
    lines = head.splitlines()  # also at the line ends of old Macs
    first = next((line for line in lines if line.removeprefix(BOM_UTF8)), b"")
    columns = [n.strip().lower() for _, row in _cells(first.decode("utf-8-sig")) for n in row]
    check_separator(columns)
    return columns


def check_separator(columns: Sequence[str]) -> None:
    """Raises ValueError where the only name of a column holds semicolons or tabs."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and mark in columns[0]:
            raise ValueError(f"its cells are separated by {name}; save it with commas")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file and its bytes: of the very file that is read, whatever takes its name."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        yield file, status.st_size


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe waits for its writer


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _cells(text: str) -> list[tuple[int, list[str]]]:
    """The cells of each row with the line where it begins; a cell may span several."""
    reader, rows, line = csv.reader(StringIO(text, newline="")), [], 1
    try:
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
        return rows
    except csv.Error as error:
        raise ValueError(str(error)) from error
