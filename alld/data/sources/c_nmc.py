"""C-NMC 2019 on disk: cells cut out on black, whose names say class and subject.

Its authors give it in three parts. Training: `fold_*/all` and `fold_*/hem`, with names such as
`UID_11_10_1_all.bmp` and `UID_H10_1_1_hem.bmp`, that is subject, image, cell and class; the H is
part of a healthy subject's id. Preliminary test: numbered files, and a table
`Patient_ID,new_names,labels` that gives each its name of that kind and 1 (all) or 0 (hem). Final
test: numbered files without labels, which are of no use here. A set is whatever of it has a label.

Source: the data descriptor of C-NMC 2019, Gupta and Gupta, The Cancer Imaging Archive (2019).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Progress
from alld.data.sources.labelled import (
    Labelled,
    Problems,
    build_manifest,
    list_files,
    list_images,
    noted,
)
from alld.errors import DataError
from alld.runtime.files import one_line
from alld.runtime.reading import csv_columns, read_csv

_NAME = re.compile(r"UID_(H?\d+)_\d+_\d+_(all|hem)", re.IGNORECASE)
_CLASSES = {"all": BLAST, "hem": HEALTHY}
_COLUMNS = ("patient_id", "new_names", "labels")


class _Row(NamedTuple):
    """A row of the preliminary test: C-NMC's own name, the file, 1 or 0."""

    name: str
    file: str
    label: str


def cell_label(path: str | Path) -> int | None:
    """The class that a name of C-NMC says, 0 or 1, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).stem)
    return _CLASSES[match.group(2).lower()] if match else None


def subject(path: str | Path) -> str | None:
    """The subject that a name of C-NMC says, such as `11` or `H10`, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).stem)
    return match.group(1).upper() if match else None


def is_table(columns: Sequence[str]) -> bool:
    """Whether a CSV table with these columns labels C-NMC's preliminary test."""
    return set(columns) >= set(_COLUMNS)


def find_tables(root: Path) -> list[Path]:
    """The tables below a folder that label images of the preliminary test."""
    return [table for table in list_files(root, {".csv"}) if is_table(_columns(table))]


def read_c_nmc(
    root: Path,
    images: Sequence[Path],
    tables: Sequence[Path],
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """The manifest of everything that has a label.

    Args:
        root: paths are given from here.
        images: those with names of C-NMC have a label.
        tables: of the preliminary test; they give others theirs.

    Raises:
        DataError: one name twice, a name that contradicts its folder or its row, a table whose
            images are not there.
    """
    named: dict[str, Labelled] = {}  # by C-NMC's own name
    for path in images:
        if (label := cell_label(path)) is not None:
            with noted(path, problems):
                _add(named, path.stem, _from_name(path, label))
    for table in tables:
        for place, row, path in _rows(table):
            with noted(path, problems):
                _add(named, PurePosixPath(row.name).stem, _from_row(place, row, path))
    labelled = list(named.values())
    built = build_manifest(root, "C-NMC 2019", labelled, progress, problems)
    others = len(set(images) - {one.path for one in labelled})
    if not others:
        return built
    told = f"{others} other images below {root} have no label that C-NMC gives and stay unused"
    return replace(built, warnings=(told,))


def _from_name(path: Path, label: int) -> Labelled:
    folder = _CLASSES.get(path.parent.name.lower(), label)
    if folder != label:
        raise DataError(
            f"{one_line(str(path))}: its name says {LABEL_NAMES[label]} and its folder "
            f"{LABEL_NAMES[folder]}; find out which is right"
        )
    return Labelled(path, label, patient=subject(path))


def _rows(table: Path) -> Iterator[tuple[str, _Row, Path]]:
    """Where each row stands, what it says, and the image that it is about."""
    try:
        rows = read_csv(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    entries = [_Row(*(row[name].strip() for name in _COLUMNS)) for row in rows]
    folder = _folder_of(table, {entry.file for entry in entries})
    for number, entry in enumerate(entries, start=2):  # line 1 holds the column names
        yield f"{table}, line {number}", entry, folder / PurePosixPath(entry.file).name


def _from_row(place: str, row: _Row, path: Path) -> Labelled:
    label = {"1": BLAST, "0": HEALTHY}.get(row.label)
    if label is None or label != cell_label(row.name):
        raise DataError(
            f"{place}: label {row.label!r} for {row.name!r}; expected 1 with a name such as "
            "UID_57_29_1_all.bmp, or 0 with one such as UID_H49_35_1_hem.bmp"
        )
    if path.name != row.file:
        raise DataError(f"{place}: {row.file!r} is no name of a file")
    return Labelled(path, label, patient=subject(row.name))


def _add(named: dict[str, Labelled], name: str, one: Labelled) -> None:
    other = named.setdefault(name.lower(), one)
    if other is not one:
        raise DataError(
            f"{one_line(str(one.path))}: C-NMC's {one_line(name)} lies in "
            f"{one_line(str(other.path.parent))} too; name one folder with --data"
        )


def _folder_of(table: Path, names: set[str]) -> Path:
    """The folder that holds the images of a table: both tests have files called 1.bmp.

    Raises:
        DataError: none does, or several do and none is called as the table is.
    """
    held = Counter(path.parent for path in list_images(table.parent) if path.name in names)
    most = max(held.values(), default=0)
    folders = [folder for folder, count in held.items() if count == most]
    called = table.stem.lower().removesuffix("_labels")
    alike = [f for f in folders if called in (part.lower() for part in f.parts)]
    found = alike if len(alike) == 1 else folders
    if not found:
        raise DataError(f"{table}: none of its {len(names)} images lies in or below its folder")
    if len(found) > 1:
        raise DataError(
            f"{table}: its images may be those in {found[0]} or in {found[1]}; put the table into "
            "the folder that holds them"
        )
    return found[0]


def _columns(table: Path) -> list[str]:
    """The first line of a table; nothing of a file that is no UTF-8 CSV."""
    try:
        return csv_columns(table)
    except (OSError, ValueError):
        return []
