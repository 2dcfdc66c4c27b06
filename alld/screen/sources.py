"""List the fields that the user names, and the sample that each of them is of.

A sample is a patient, or a slide: what one verdict is wanted for. Fields of one folder are of one
sample, unless a table names samples in a column.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alld.data.sources.listing import unread_line
from alld.errors import DataError
from alld.inference.inputs import expand
from alld.inference.path_table import is_path_table
from alld.runtime.files import one_line
from alld.runtime.reading import read_rows

_PLACES = ("path", "field")  # columns of a table, either


@dataclass(frozen=True)
class Fields:
    """The files of fields in order, the name of the sample of each, and what was left out."""

    files: tuple[Path, ...]
    samples: tuple[str, ...]
    left_out: str | None = None


def read_fields(arguments: Sequence[str]) -> Fields:
    """Return the fields of files, folders, globs and CSV tables, each file once.

    Raises:
        DataError: nothing of that name, a table without paths, or a file of two samples.
    """
    tables = [Path(argument) for argument in arguments if is_path_table(argument)]
    unread: Counter[str] = Counter()
    files = expand((one for one in arguments if not is_path_table(one)), unread)
    if not tables and not any(os.path.lexists(file) for file in files):
        raise DataError(f"{one_line(str(files[0]))}: no field or folder of that name")
    sample_of = dict(zip(files, _named_by_folder(files), strict=True))
    for table in tables:
        for file, sample in _rows(table):
            if sample_of.setdefault(file, sample) != sample:
                both = f"{sample_of[file]} and {sample}"
                raise DataError(f"{table}: {one_line(str(file))} is of two samples, {both}")
    return Fields(tuple(sample_of), tuple(sample_of.values()), unread_line(unread))


def _named_by_folder(files: Sequence[Path]) -> list[str]:
    """The folder of each file, without what all folders have in common."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files]
    if not folders:
        return []
    # One folder is called by its name; two of one name are told apart by the folders above.
    common = os.path.commonpath(folders) if len(set(folders)) > 1 else os.path.dirname(folders[0])
    names = (os.path.relpath(folder, common) for folder in folders)
    top = os.path.basename(common) or "fields"
    return [one_line(top if name == os.curdir else name.replace(os.sep, "/")) for name in names]


def _rows(table: Path) -> Iterator[tuple[Path, str]]:
    """The file and the sample of each row; without a column `sample` the folder is the sample."""
    if table.suffix.lower() == ".parquet":
        raise DataError(f"{table}: give the list of fields as a CSV table")
    try:
        rows = read_rows(table)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {reason}") from error
    if not rows:
        raise DataError(f"{table}: has no rows; give one for each field")
    column = next((name for name in _PLACES if name in rows[0]), None)
    if column is None:
        found = ", ".join(rows[0]) or "none"
        raise DataError(f"{table}: needs the column path; found {one_line(found)}")
    files = [table.parent / row[column].strip() for row in rows]
    named = "sample" in rows[0]
    samples: Iterable[str] = (row["sample"].strip() for row in rows) if named else ()
    for row, file, sample in zip(
        rows, files, samples if named else _named_by_folder(files), strict=True
    ):
        if not row[column].strip() or not sample:
            missing = "path" if not row[column].strip() else "sample"
            raise DataError(f"{table}, line {row.line}: no {missing}")
        yield file, one_line(sample)
