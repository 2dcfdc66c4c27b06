"""Read C-NMC 2019: cells cut out on black, whose names state class and subject.

It comes in three parts. Training: `fold_*/all` and `fold_*/hem`, with names such as
`UID_11_10_1_all.bmp` and `UID_H10_1_1_hem.bmp` (subject, image, cell and class; the H belongs to
the id of a healthy subject). Preliminary test: numbered files and a table
`Patient_ID,new_names,labels`, which gives each its name of that kind and 1 (all) or 0 (hem). Final
test: numbered files without labels. ALLD uses whatever has a label.

Source: the data descriptor of C-NMC 2019, Gupta and Gupta, The Cancer Imaging Archive (2019).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Manifest, Progress
from alld.data.sources.labelled import (
    Labelled,
    Problems,
    build_manifest,
    noted,
)
from alld.data.sources.listing import list_files, list_images
from alld.errors import DataError
from alld.runtime.files import one_line
from alld.runtime.reading import csv_columns, read_rows

_NAME = re.compile(r"UID_(H?\d+)_\d+_\d+_(all|hem)", re.IGNORECASE)
_CLASSES = {"all": BLAST, "hem": HEALTHY}
_COLUMNS = {"patient_id", "new_names", "labels"}


def cell_label(path: str | Path) -> int | None:
    """Return the class that a name of C-NMC states, 0 or 1, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).stem)
    return _CLASSES[match.group(2).lower()] if match else None


def subject_of(path: str | Path) -> str | None:
    """Return the subject that a name of C-NMC states, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).stem)
    return match.group(1).upper() if match else None


def is_table(columns: Sequence[str]) -> bool:
    """Return whether a CSV table with these columns labels C-NMC's preliminary test."""
    return set(columns) >= _COLUMNS


def find_tables(root: Path) -> list[Path]:
    """Return the tables below a folder that label images of the preliminary test."""
    return [table for table in list_files(root, {".csv"}) if is_table(_columns(table))]


def read_c_nmc(
    root: Path,
    images: Sequence[Path],
    tables: Sequence[Path],
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """Return the manifest of every image that has a label.

    Args:
        root: the folder that paths are relative to.
        images: image files, of which those with names of C-NMC have a label.
        tables: tables of the preliminary test, which label others.

    Raises:
        DataError: one name twice, a name that contradicts its folder or its row, or a table whose
            images are missing.
    """
    by_name: dict[str, Labelled] = {}

    def add(name: str, path: Path, label: int) -> None:
        one = Labelled(path, label, patient=subject_of(f"{name}.bmp"))
        other = by_name.setdefault(name.lower(), one)
        if other is not one:
            raise DataError(
                f"{one_line(str(path))}: C-NMC's {one_line(name)} lies in "
                f"{one_line(str(other.path.parent))} too; name one folder with --data"
            )

    for path in images:
        if (label := cell_label(path)) is not None:
            with noted(path, problems):
                _check_folder(path, label)
                add(path.stem, path, label)
    for table in tables:
        for place, row, path in _rows(table):
            with noted(path, problems):
                label = _row_label(place, row, path)
                add(PurePosixPath(row["patient_id"]).stem, path, label)
    labelled = list(by_name.values())
    manifest = build_manifest(root, "C-NMC 2019", labelled, progress, problems)
    others = len(set(images) - {one.path for one in labelled})
    if not others:
        return manifest
    warning = f"{others} other images below {root} have no label that C-NMC gives and stay unused"
    return replace(manifest, warnings=(warning,))


def _check_folder(path: Path, label: int) -> None:
    folder = _CLASSES.get(path.parent.name.lower(), label)
    if folder != label:
        raise DataError(
            f"{one_line(str(path))}: its name says {LABEL_NAMES[label]} and its folder "
            f"{LABEL_NAMES[folder]}; find out which is right"
        )


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str], Path]]:
    """The place of each row in words, its cells, and the image that it is about."""
    try:
        rows = read_rows(table)
    except (OSError, ValueError) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    folder = _folder_of(table, {row["new_names"].strip() for row in rows})
    for row in rows:
        cells = {name: text.strip() for name, text in row.items()}
        yield f"{table}, line {row.line}", cells, folder / PurePosixPath(cells["new_names"]).name


def _row_label(place: str, row: dict[str, str], path: Path) -> int:
    name, file, text = row["patient_id"], row["new_names"], row["labels"]
    label = {"1": BLAST, "0": HEALTHY}.get(text)
    if label is None or label != cell_label(name):
        raise DataError(
            f"{place}: label {text!r} for {name!r}; expected 1 with a name such as "
            "UID_57_29_1_all.bmp, or 0 with one such as UID_H49_35_1_hem.bmp"
        )
    if path.name != file:
        raise DataError(f"{place}: {file!r} is no name of a file")
    return label


def _folder_of(table: Path, names: set[str]) -> Path:
    """The folder that holds the images of a table: both tests have files called 1.bmp.

    Raises:
        DataError: no folder holds them, or several do and none is named after the table.
    """
    held = Counter(path.parent for path in list_images(table.parent).files if path.name in names)
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
    try:
        return csv_columns(table)
    except (OSError, ValueError):  # not a CSV table in UTF-8
        return []
