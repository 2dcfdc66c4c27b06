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


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_parquet(path: Path, columns: dict[str, object]) -> Path:
    write_table(pa.table(columns), path)
    return path


def test_rows_are_images_in_their_order_beside_the_table(tmp_path: Path) -> None:
    """As often as they stand there; an absolute path is that one; other columns are left alone."""
    expected = [tmp_path / name for name in NAMES]
    rows = [["label", " Path "], *(["blast", name] for name in NAMES)]
    assert list(paths_in(write_csv(tmp_path / "list.csv", rows))) == expected
    table = write_parquet(tmp_path / "list.parquet", {"n": range(7), "path": NAMES})
    assert list(paths_in(table)) == expected


def test_tables_come_after_the_files_that_are_sorted(tmp_path: Path) -> None:
    """Files once each, rows as they stand; a folder of such a name is a folder."""
    (tmp_path / "cells.csv").mkdir()
    (tmp_path / "cells.csv" / "z.png").touch()
    table = write_csv(tmp_path / "list.CSV", [["path"], ["z.tif"], ["a.tif"], ["z.tif"]])
    given = [str(table), "q.tif", str(tmp_path / "cells.csv"), "q.tif"]
    inputs = read_inputs(given)
    assert inputs.images == 5
    assert [path.name for path in inputs][-3:] == ["z.tif", "a.tif", "z.tif"]
    assert sorted(path.name for path in inputs.files) == ["q.tif", "z.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\na.tif\n", "needs the column path; found name"),
        ("", "needs the column path; found none"),
        ("path\n", "has no rows"),
        ("path,label\na.tif,1\n  ,0\n", "row 2: no path"),
        ("label,path\n1,a.tif\n0\n", "row 2: no path"),
        ('path\n"' + "x" * 200_000 + '"\n', "field larger than field limit"),
        ("path\n" + "x" * LONGEST_LINE, "letters; is it a table"),
        (b"path\n\xff.tif\n", "UTF-8"),
    ],
)
def test_what_is_no_such_csv_table_is_one_line(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    """The table, what was seen, what to do."""
    table = tmp_path / "list.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=said) as caught:
        list(paths_in(table))
    assert str(table) in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"name": ["a.tif"]}, "needs the column path; found name"),
        ({"path": [1, 2]}, "holds int64, not text"),
        ({"path": ["a.tif", None]}, "row 2: no path"),
        ({"path": pa.array([], pa.string())}, "has no rows"),
        (None, "cannot be read as a Parquet table"),
    ],
)
def test_what_is_no_such_parquet_table_is_one_line(
    columns: dict[str, object] | None, said: str, tmp_path: Path
) -> None:
    """The same rules as for CSV."""
    table = tmp_path / "list.parquet"
    if columns is None:
        table.write_bytes(b"PAR1 this is none PAR1")
    else:
        write_parquet(table, columns)
    with pytest.raises(DataError, match=said):
        list(paths_in(table))


def test_a_table_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Of either kind; an image that is not there would be a row."""
    for name in ("list.csv", "list.parquet"):
        with pytest.raises(DataError, match=r"No such file|not found|Failed to open"):
            list(paths_in(tmp_path / name))


def test_rows_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """A fault far below is met only there: nothing is read ahead into memory."""
    table = write_csv(tmp_path / "list.csv", [["path"], *[["a.tif"]] * 50_000, [" "]])
    rows = paths_in(table)
    assert next(rows) == tmp_path / "a.tif"
    with pytest.raises(DataError, match="row 50001"):
        list(rows)


def test_the_command_judges_each_row_of_a_table(
    alld: Callable[..., Answer], tmp_path: Path
) -> None:
    """On standard output too; a name with a null byte is a row that failed."""
    cells = draw_all_idb2(tmp_path / "cells", per_class=1)
    names = [cells / "Im002_0.tif", cells / "Im001_1.tif", cells / "Im002_0.tif", "\0"]
    table = write_parquet(tmp_path / "list.parquet", {"path": [str(name) for name in names]})
    model = write_untrained(tmp_path / "model.alld")
    status, out, _ = alld("predict", table, "--model", model, "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert status == 1
    assert [row["path"] for row in rows[:3]] == [str(name) for name in names[:3]]
    assert rows[0] == rows[2] != rows[1]
    assert [bool(row["error"]) for row in rows] == [False, False, False, True]


def test_a_bad_row_is_said_before_any_image_is_judged(
    alld: Callable[..., Answer], tmp_path: Path
) -> None:
    """Not after hours: a list is read to its end first."""
    table = write_csv(tmp_path / "list.csv", [["path"], ["a.tif"], [""], [" "]])
    status, out, err = alld("predict", table, "--model", tmp_path / "model.alld")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "row 2: no path" in err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_pipe_of_such_a_name_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """Nobody writes into it; the command would never end."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="not a regular file"):
        list(paths_in(tmp_path / name))


def test_a_table_with_two_columns_of_paths_is_refused(tmp_path: Path) -> None:
    """Which one is meant is not said; the first was taken."""
    table = write_csv(tmp_path / "list.csv", [["path", "Path"], ["a.tif", "b.tif"]])
    write_table(pa.table([["a.tif"], ["b.tif"]], names=["path"] * 2), tmp_path / "list.parquet")
    for two in (table, tmp_path / "list.parquet"):
        with pytest.raises(DataError, match="two columns are called path"):
            list(paths_in(two))


def test_a_path_longer_than_any_system_takes_is_refused(tmp_path: Path) -> None:
    """A row for each would print megabytes; 600 bytes of Parquet hold gigabytes of them."""
    name = "x" * (LONGEST_PATH + 1)
    table = write_csv(tmp_path / "list.csv", [["path"], ["a.tif"], [name]])
    packed = write_parquet(tmp_path / "list.parquet", {"path": ["a.tif", name]})
    for long in (table, packed):
        with pytest.raises(DataError, match="row 2: a path of over 32768 letters"):
            list(paths_in(long))


def test_parquet_paths_that_fill_the_memory_are_refused_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the file says of them; text of every kind that Arrow has is read."""
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        packed = write_parquet(tmp_path / "list.parquet", {"path": pa.array(["a.tif"], kind)})
        assert [path.name for path in paths_in(packed)] == ["a.tif"]
    monkeypatch.setattr(path_table, "_GROUP_BYTES", 10)
    with pytest.raises(DataError, match="MiB of paths in one row group"):
        list(paths_in(packed))
