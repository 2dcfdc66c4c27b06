"""Read small text files that others may have written, within bounds, or refuse them."""

import csv
import json
import os
import stat
from collections.abc import Iterator
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


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table by its columns' names, in small letters; what a row lacks is empty.

    Raises what `read_text` does, and ValueError for two columns of one name.
    """
    return parse_csv(read_text(path))


def parse_csv(text: str) -> list[dict[str, str]]:
    """As `read_csv`, of a text."""
    names, *rows = [row for row in _cells(text) if row] or [[]]
    columns = [name.strip().lower() for name in names]
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two columns are called {twice}")
    return [
        dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=False)) for row in rows
    ]


def csv_columns(path: Path) -> list[str]:
    """The names in the first line of a CSV table; raises what `read_csv` does."""
    with _opened(path) as (file, size):
        line = file.readline(min(size, _HEADER_BYTES))
    return [name.strip().lower() for row in _cells(line.decode("utf-8-sig")) for name in row]


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


def _cells(text: str) -> list[list[str]]:
    try:
        return list(csv.reader(StringIO(text, newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
