"""CSV tables and JSON files of unknown origin are read, or refused with one reason."""

import os
from pathlib import Path

import pytest

from alld.data.sources.class_names import ClassNames
from alld.data.sources.tables import read_table
from alld.errors import DataError
from alld.runtime.reading import csv_columns, parse_csv, parse_json, read_csv, read_json, read_text

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")


def test_rows_are_named_by_their_columns() -> None:
    """In small letters and without spaces; what a row lacks is empty, what it has too much left."""
    rows = parse_csv(" Path ,LABEL,,\na.tif,1,x,,,y\n\nb.tif\n")
    assert [row["path"] for row in rows] == ["a.tif", "b.tif"]
    assert [row["label"] for row in rows] == ["1", ""]
    assert parse_csv("") == parse_csv("path\n") == []


def test_a_row_knows_its_line() -> None:
    """Blank lines count, and a cell of two lines counts as two."""
    rows = parse_csv('path,label\n\na.tif,1\n"b\n.tif",0\nc.tif,1\n')
    assert [row.line for row in rows] == [3, 4, 6]


def test_other_separators_are_named(tmp_path: Path) -> None:
    """A table of semicolons or tabs is no table of one column."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        table = tmp_path / f"{name}.csv"
        table.write_text(f"path{mark}label\na.tif{mark}1\n")
        for read in (csv_columns, read_csv):
            with pytest.raises(ValueError, match=f"separated by {name}; save it with commas"):
                read(table)


def test_line_ends_of_old_macs_end_lines(tmp_path: Path) -> None:
    """The names of the columns are those of the first line alone."""
    (tmp_path / "mac.csv").write_bytes(b"path,label\ra.tif,1\r")
    assert csv_columns(tmp_path / "mac.csv") == ["path", "label"]


@pytest.mark.parametrize(
    "text", ["path,label,Label\na,1,0\n", "path\n" + "x" * 200_000 + "\n"], ids=["twice", "long"]
)
def test_no_row_of_a_table_that_can_be_taken_for_two_is_read(text: str) -> None:
    """Two columns of one name, and a cell that Python's reader gives up at."""
    with pytest.raises(ValueError, match=r"called label|field limit"):
        parse_csv(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"a": NaN}', "[-Infinity]", "[1e999]"]
)
def test_json_of_python_alone_is_a_value_error(text: str) -> None:
    """Nesting that ends the stack, numbers of thousands of digits, and numbers that are none."""
    with pytest.raises(ValueError, match=r"nested|digits|is no number"):
        parse_json(text)


@ON_POSIX
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it; it would be waited for for ever."""
    pipe = tmp_path / "x.csv"
    os.mkfifo(pipe)
    for read in (read_json, read_csv, csv_columns):
        with pytest.raises(ValueError, match="not a regular file"):
            read(pipe)
    with pytest.raises(DataError, match="not a regular file"):
        read_table(pipe, ClassNames(), None, None)


def test_no_more_is_read_than_a_file_says_it_has() -> None:
    """Files of /proc have bytes and say that they have none; some of them never end."""
    file = Path("/proc/self/status")
    if not file.is_file():
        pytest.skip("this system has no /proc")
    assert read_text(file) == ""


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    """By its size; of a large table of one line no more than a piece is read for its columns."""
    file = tmp_path / "x.csv"
    with file.open("wb") as sparse:
        sparse.truncate(2**33)
    with pytest.raises(ValueError, match="larger than"):
        read_csv(file)
    assert len(csv_columns(file)[0]) == 2**16
    file.write_text("four")
    with pytest.raises(ValueError, match="larger than 3 bytes"):
        read_text(file, 3)
