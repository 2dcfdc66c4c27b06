"""Tables of images to predict: a column of paths, row by row, in bounded memory."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Answer
from drawn import draw_all_idb2
from pyarrow.parquet import write_table
from untrained import write_untrained

from alld.errors import DataError
from alld.inference import path_table
from alld.inference.inputs import read_inputs
from alld.inference.path_table import LONGEST_LINE, LONGEST_PATH, paths_in

NAMES = ["b.tif", "a.tif", "b.tif", "deep/c.png", "/far/d.tif", "line\nbreak.tif", 'x,"y".tif']
BOTH = pytest.mark.parametrize("name", ["list.csv", "list.parquet"])


def write(path: Path, names: list[str | None], column: str = "path") -> Path:
    """A table of paths, of the kind that its own name says."""
    if path.suffix == ".parquet":
        write_table(pa.table({column: names, "n": range(len(names))}), path)
    else:
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["n", column], *(["0", name] for name in names)])
    return path


@BOTH
def test_rows_are_images_in_their_order_beside_the_table(tmp_path: Path, name: str) -> None:
    """Repeated rows stay; an absolute path is kept; other columns are ignored."""
    column = " Path " if name == "list.csv" else "path"
    expected = [tmp_path / image for image in NAMES]
    assert list(paths_in(write(tmp_path / name, [*NAMES], column))) == expected


def test_tables_come_after_the_files_that_are_sorted(tmp_path: Path) -> None:
    """Files come once each, rows as they are; a folder of such a name is a folder."""
    (tmp_path / "cells.csv").mkdir()
    (tmp_path / "cells.csv" / "z.png").touch()
    table = write(tmp_path / "list.CSV", ["z.tif", "a.tif", "z.tif"])
    inputs = read_inputs([str(table), "q.tif", str(tmp_path / "cells.csv"), "q.tif"])
    assert inputs.images == 5
    assert [path.name for path in inputs][-3:] == ["z.tif", "a.tif", "z.tif"]
    assert sorted(path.name for path in inputs.files) == ["q.tif", "z.png"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("list.csv", b"name\na.tif\n", "needs the column path; found name"),
        ("list.csv", b"", "needs the column path; found none"),
        ("list.csv", b"path\n", "has no rows"),
        ("list.csv", b"path,label\na.tif,1\n  ,0\n", "line 3: no path"),
        ("list.csv", b"label,path\n1,a.tif\n0\n", "line 3: no path"),
        ("list.csv", b'path\n"' + b"x" * 200_000 + b'"\n', "field larger than field limit"),
        ("list.csv", b"path\n" + b"x" * LONGEST_LINE, "letters; is it a table"),
        ("list.csv", b"path\n\xff.tif\n", "UTF-8"),
        ("list.csv", b"path,Path\na.tif,b.tif\n", "two columns are called path"),
        ("list.csv", None, "No such file"),
        ("list.parquet", {"name": ["a.tif"]}, "needs the column path; found name"),
        ("list.parquet", pa.table([["a"], ["b"]], ["path"] * 2), "two columns are called path"),
        ("list.parquet", {"path": [1, 2]}, "holds int64, not text"),
        ("list.parquet", {"path": ["a.tif", None]}, "row 2: no path"),
        ("list.parquet", {"path": pa.array([], pa.string())}, "has no rows"),
        ("list.parquet", b"PAR1 not a table PAR1", "cannot be read as a Parquet table"),
        ("list.parquet", None, "No such file|not found|Failed to open"),
    ],
)
def test_a_file_that_is_no_such_table_is_one_line(
    name: str, content: bytes | dict[str, object] | pa.Table | None, reason: str, tmp_path: Path
) -> None:
    """The line names the table, and what was found there."""
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        write_table(pa.table(content) if isinstance(content, dict) else content, tmp_path / name)
    with pytest.raises(DataError, match=reason) as caught:
        list(paths_in(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_rows_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """A fault far below is met only there: nothing is read ahead into memory."""
    rows = paths_in(write(tmp_path / "list.csv", [*["a.tif"] * 50_000, " "]))
    assert next(rows) == tmp_path / "a.tif"
    with pytest.raises(DataError, match="line 50002"):
        list(rows)


def test_the_command_predicts_each_row_of_a_table(
    alld: Callable[..., Answer], tmp_path: Path
) -> None:
    """A name with a null byte is a row that failed; a row without a name stops before any work."""
    cells = draw_all_idb2(tmp_path / "cells", per_class=1)
    names = [cells / "Im002_0.tif", cells / "Im001_1.tif", cells / "Im002_0.tif", "\0"]
    table = write(tmp_path / "list.parquet", [str(name) for name in names])
    model = write_untrained(tmp_path / "model.alld")
    status, out, _ = alld("predict", table, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert status == 1
    assert [row["path"] for row in rows[:3]] == [str(name) for name in names[:3]]
    assert rows[0] == rows[2] != rows[1]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True]
    bad = write(tmp_path / "list.csv", ["a.tif", "", " "])
    status, out, err = alld("predict", bad, "--model", tmp_path / "gone")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "line 3: no path" in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
@BOTH
def test_a_pipe_of_such_a_name_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """Nobody writes into it, so the command would never end."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="not a regular file"):
        list(paths_in(tmp_path / name))


@BOTH
def test_a_path_longer_than_any_system_takes_is_refused(tmp_path: Path, name: str) -> None:
    """A row for each would print megabytes; 600 bytes of Parquet can hold gigabytes of them."""
    table = write(tmp_path / name, ["a.tif", "x" * (LONGEST_PATH + 1)])
    with pytest.raises(DataError, match=r"(row 2|line 3): a path of over 32768 letters"):
        list(paths_in(table))


def test_parquet_paths_that_fill_the_memory_are_refused_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's own sizes tell; text of every kind that Arrow has is read."""
    table = tmp_path / "list.parquet"
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        write_table(pa.table({"path": pa.array(["a.tif"], kind)}), table)
        assert [path.name for path in paths_in(table)] == ["a.tif"]
    monkeypatch.setattr(path_table, "_GROUP_BYTES", 10)
    with pytest.raises(DataError, match="MiB of paths in one row group"):
        list(paths_in(table))
