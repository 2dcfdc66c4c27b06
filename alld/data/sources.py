"""Finds a labelled set on disk: ALL-IDB2 wherever it lies, a folder per class, or a CSV table."""

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from alld.config import DataConfig
from alld.data.decode import is_synthetic, read_image_bytes
from alld.data.manifest import (
    BLAST,
    HEALTHY,
    ImageRecord,
    Kind,
    Manifest,
    Progress,
    check_manifest,
)
from alld.data.original import deviation
from alld.errors import DataError, ImageError
from alld.files import cell, one_line, plain_path, sha256_hex, spelt

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".bmp", ".png", ".jpg", ".jpeg"})

# ALL-IDB1's whole fields are ImNNN_0.jpg and ImNNN_1.jpg: only .tif is a crop of ALL-IDB2.
_ALL_IDB2_NAME = re.compile(r"Im(\d{3,})_(\d)\.tif", re.IGNORECASE)
_CLASS_FOLDERS = {
    **dict.fromkeys(
        ("blast", "blasts", "all", "lymphoblast", "lymphoblasts", "leukemia", "leukaemia"), BLAST
    ),
    **dict.fromkeys(("healthy", "hem", "normal"), HEALTHY),
}
_TABLE_LABELS = {**_CLASS_FOLDERS, "1": BLAST, "0": HEALTHY}

NO_DATA = """\
ALL-IDB2 is free for research: ask its authors (Labati, Piuri, Scotti; Milan) for it.
Unpack it anywhere below that folder, or name another one with --data DIR. Your own images: a folder
a class (blast/ and healthy/), or --data FILE.csv with path,label. `alld demo` needs no images."""


@dataclass(frozen=True)
class Problem:
    """A file or a row that a survey left out, and why."""

    path: str
    reason: str


Problems = list[Problem] | None  # None: the first one is an error
Labelled = tuple[Path, int, str | None]  # file, label, group


def load_manifest(data: DataConfig, progress: Progress | None = None) -> Manifest:
    """Read the set that `data.root` names and hash every image of it.

    A folder is searched for ALL-IDB2 first, then for one folder a class; a `.csv` file is a table
    with the columns `path,label` and optionally `patient` or `group`.

    Raises:
        DataError: nothing there, two copies, a label that is neither, one class only.
    """
    manifest = _read(data, progress, None)
    check_manifest(manifest)
    return manifest


def survey_manifest(
    data: DataConfig, progress: Progress | None = None
) -> tuple[Manifest, list[Problem]]:
    """Read a set as `load_manifest` does, but go on after what would stop a training.

    Left out, as problems: a file that cannot be read, an image without a label, and every further
    row of a path. One class alone is let through. In several class folders the folders give the
    labels, whatever ALL-IDB2's names in them say.

    Raises:
        DataError: there is no set, or `data.positive` names nothing in it.
    """
    problems: list[Problem] = []
    manifest = _read(data, progress, problems)
    first: dict[str, ImageRecord] = {}
    for record in manifest:
        if first.setdefault(record.path, record) is record:
            continue
        other = "" if first[record.path].label == record.label else ", under the other label"
        problems.append(Problem(record.path, f"{record.path}: listed again{other}"))
    return replace(manifest, records=tuple(first.values())), problems


def name_label(path: str) -> int | None:
    """The class that a name of ALL-IDB2 says, 0 or 1, or None for another name."""
    match = _ALL_IDB2_NAME.fullmatch(PurePosixPath(path).name)
    return int(match.group(2)) if match and match.group(2) in "01" else None


def folder_label(folder: str) -> int | None:
    """The class that the name of a folder says, 0 or 1, or None."""
    return _CLASS_FOLDERS.get(folder.lower())


def _read(data: DataConfig, progress: Progress | None, problems: Problems) -> Manifest:
    root = check_place(data)
    read = _read_folder if root.is_dir() else _read_table
    manifest = read(root, data.positive, progress, problems)
    if data.positive is not None and BLAST not in manifest.labels:
        raise DataError(f"--positive {data.positive}: no folder or label in {root} is called so")
    return manifest


def _no_data(place: Path, seen: str) -> DataError:
    """One line, and how to come by images as lines of their own."""
    error = DataError(f"{place}: {seen}")
    error.add_note(NO_DATA)
    return error


def check_place(data: DataConfig) -> Path:
    """The folder or the table that `data.root` names; this takes no time.

    Raises:
        DataError: there is neither.
    """
    root = data.root.expanduser()
    if not root.exists():
        raise _no_data(root, "there is no such folder")
    if not root.is_dir() and root.suffix.lower() != ".csv":
        raise DataError(f"{root}: neither a folder nor a .csv table; see `alld train --help`")
    return root


def list_images(root: Path) -> list[Path]:
    """All files below `root` with an image suffix, sorted; linked folders are not entered.

    A folder that cannot be read is listed too: whoever reads the images learns of it.
    """
    found: list[Path] = []

    def unread(error: OSError) -> None:
        found.append(Path(error.filename))

    for folder, inner, names in os.walk(root, onerror=unread, followlinks=False):
        inner[:] = [name for name in inner if not name.startswith(".")]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _read_folder(
    root: Path, positive: str | None, progress: Progress | None, problems: Problems
) -> Manifest:
    images = list_images(root)
    if not images:
        raise _no_data(root, "no image lies in or below that folder")
    crops = [path for path in images if _ALL_IDB2_NAME.fullmatch(path.name)]
    if crops and positive is not None:
        raise DataError(
            f"--positive {positive}: {crops[0].parent} is ALL-IDB2, whose file names say "
            "the class; leave the option out"
        )
    # In class folders a survey asks whether the names agree; a training asks for one folder.
    homes = {path.parent for path in crops}
    classes = {folder_label(home.name) for home in homes} if len(homes) > 1 else {None}
    in_classes = problems is not None and None not in classes
    if crops and not in_classes:
        return _read_all_idb2(crops, len(images) - len(crops), progress, problems)
    labelled: list[Labelled] = []
    for path in images:
        with _noted(path, problems):
            labelled.append((path, _folder_label(path, root, positive), None))
    built = _build(root, "folders", labelled, progress, problems)
    if positive is None:
        return built
    healthy = {path.parent.name for path, label, _ in labelled if label == HEALTHY}
    return replace(built, warnings=(_told_healthy(positive, healthy),))


def _read_all_idb2(
    crops: Sequence[Path], others: int, progress: Progress | None, problems: Problems
) -> Manifest:
    folders = sorted({path.parent for path in crops})
    if len(folders) > 1:
        raise DataError(
            f"ALL-IDB2 lies in {len(folders)} folders ({folders[0]}, {folders[1]}); "
            "name one with --data"
        )
    labelled: list[Labelled] = []
    for path in crops:
        with _noted(path, problems):
            labelled.append((path, _crop_label(path), None))
    built = _build(folders[0], "ALL-IDB2", labelled, progress, problems)
    warnings = []
    if others:
        warnings.append(
            f"{others} other images below the data folder are not part of ALL-IDB2 and stay unused"
        )
    other = "" if built.synthetic else deviation(built.records)
    if other:
        warnings.append(f"{folders[0]}: not the original ALL-IDB2: {other}")
    original = not built.synthetic and not other
    return replace(built, original=original, warnings=tuple(warnings))


def _told_healthy(positive: str, names: set[str]) -> str:
    """Everything that is not `positive` counts as healthy: a misspelt name must be seen."""
    return f"--positive {positive}: counted as healthy: {', '.join(sorted(names))}"


def _crop_label(path: Path) -> int:
    match = _ALL_IDB2_NAME.fullmatch(path.name)
    label = match.group(2) if match else ""
    if label not in ("0", "1"):
        raise DataError(f"{path}: the label _{label} is neither _1 (blast) nor _0 (healthy)")
    return int(label)


def _folder_label(path: Path, root: Path, positive: str | None) -> int:
    """The label by the nearest folder between the image and `root` that names a class."""
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
    if positive is not None and folders:
        return BLAST if positive.lower() in folders else HEALTHY
    for name in reversed(folders):
        if name in _CLASS_FOLDERS:
            return _CLASS_FOLDERS[name]
    raise DataError(
        f"{one_line(str(path))}: its folder names no class; use folders blast/ and healthy/ "
        f"(also {', '.join(sorted(_CLASS_FOLDERS))}), or --positive NAME for the one that is blast"
    )


def _read_table(
    table: Path, positive: str | None, progress: Progress | None, problems: Problems
) -> Manifest:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            columns, rows = list(reader.fieldnames), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    if not {"path", "label"} <= set(columns):
        raise DataError(f"{table}: needs the columns path,label; found {','.join(columns)}")
    labelled: list[Labelled] = []
    for number, row in enumerate(rows, start=2):  # line 1 holds the column names
        place, path = f"{table}, line {number}", (row["path"] or "").strip()
        owner = (row.get("patient") or row.get("group") or "").strip() or None
        with _noted(path or place, problems):
            if not path:
                raise DataError(f"{place}: no path; name an image file")
            label = _table_label(row["label"], positive, place)
            labelled.append((table.parent / path, label, cell(owner)))
    built = _build(table.parent, "table", labelled, progress, problems)
    warnings = []
    unused = sorted(set(columns) - {"path", "label", "patient", "group"})
    if unused:
        warnings.append(f"{table}: columns that mean nothing to ALLD: {', '.join(unused)}")
    if positive is not None:
        healthy = {str(row["label"]).strip() for row in rows} - {positive}
        warnings.append(_told_healthy(positive, healthy))
    return replace(built, warnings=tuple(warnings))


def _table_label(text: str | None, positive: str | None, place: str) -> int:
    label = (text or "").strip().lower()
    if positive is not None and label:
        return BLAST if label == positive.lower() else HEALTHY
    if label not in _TABLE_LABELS:
        raise DataError(
            f"{place}: label {text!r} is neither blast nor healthy "
            f"(known: {', '.join(sorted(_TABLE_LABELS))}); --positive NAME says which one is blast"
        )
    return _TABLE_LABELS[label]


@contextmanager
def _noted(path: Path | str, problems: Problems) -> Iterator[None]:
    """In a survey what goes wrong with one image is noted; else it is raised."""
    try:
        yield
    except (DataError, ImageError) as error:
        if problems is None:
            raise
        problems.append(Problem(str(path), str(error)))


def _build(
    root: Path,
    kind: Kind,
    labelled: Sequence[Labelled],
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """Hash every image once; the mark of a drawn image makes the whole set synthetic."""
    records, synthetic = [], False
    for done, (path, label, group) in enumerate(labelled, start=1):
        relative = PurePosixPath(os.path.relpath(path, root).replace(os.sep, "/"))
        with _noted(str(relative), problems):
            name = _table_name(root, str(relative))
            data = read_image_bytes(path)
            synthetic = synthetic or is_synthetic(data)
            records.append(ImageRecord(name, label, sha256_hex(data), group))
        if progress:
            progress(done, len(labelled))
    return Manifest(root=root, kind=kind, records=tuple(records), synthetic=synthetic)


def _table_name(root: Path, name: str) -> str:
    """The name as tables hold it; what `cell` would have to change cannot stand there.

    Raises:
        DataError: such a name.
    """
    if cell(plain_path(name)) != plain_path(name):
        raise DataError(
            f"{root}: the name {spelt(name)} holds a control character, a line break, a mark of "
            "direction, a formula behind a semicolon or bytes that are no UTF-8; rename the file"
        )
    return plain_path(name)
