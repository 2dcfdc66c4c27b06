"""Finds a labelled set on disk: ALL-IDB2 wherever it lies, a folder per class, or a CSV table."""

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
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
from alld.errors import DataError
from alld.files import sha256_hex

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".bmp", ".png", ".jpg", ".jpeg"})

# ALL-IDB1's whole fields are ImNNN_0.jpg and ImNNN_1.jpg: only .tif is a crop of ALL-IDB2.
_ALL_IDB2_NAME = re.compile(r"Im(\d{3})_(\d)\.tif", re.IGNORECASE)
_CLASS_FOLDERS = {
    **dict.fromkeys(
        ("blast", "blasts", "all", "lymphoblast", "lymphoblasts", "leukemia", "leukaemia"), BLAST
    ),
    **dict.fromkeys(("healthy", "hem", "normal"), HEALTHY),
}
_TABLE_LABELS = {**_CLASS_FOLDERS, "1": BLAST, "0": HEALTHY}

NO_DATA = """{place}: {seen}.
ALL-IDB2 is free for research: ask its authors (Labati, Piuri, Scotti; Milan) for it.
Unpack it anywhere below that folder, or name another one with --data DIR. Your own images: a folder
a class (blast/ and healthy/), or --data FILE.csv with path,label. `alld demo` needs no images."""


def load_manifest(data: DataConfig, progress: Progress | None = None) -> Manifest:
    """Read the set that `data.root` names and hash every image of it.

    A folder is searched for ALL-IDB2 first, then for one folder a class; a `.csv` file is a table
    with the columns `path,label` and optionally `patient` or `group`.

    Raises:
        DataError: nothing there, two copies, a label that is neither, one class only.
    """
    root = check_place(data)
    read = _read_folder if root.is_dir() else _read_table
    manifest = read(root, data.positive, progress)
    if data.positive is not None and BLAST not in manifest.labels:
        raise DataError(f"--positive {data.positive}: no folder or label in {root} is called so")
    check_manifest(manifest)
    return manifest


def check_place(data: DataConfig) -> Path:
    """The folder or the table that `data.root` names; this takes no time.

    Raises:
        DataError: there is neither.
    """
    root = data.root.expanduser()
    if not root.exists():
        raise DataError(NO_DATA.format(place=root, seen="there is no such folder"))
    if not root.is_dir() and root.suffix.lower() != ".csv":
        raise DataError(f"{root}: neither a folder nor a .csv table; see `alld train --help`")
    return root


def list_images(root: Path) -> list[Path]:
    """All files below `root` with an image suffix, sorted; linked folders are not entered."""
    found = []
    for folder, inner, names in os.walk(root, followlinks=False):
        inner[:] = [name for name in inner if not name.startswith(".")]
        paths = (Path(folder, name) for name in names if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _read_folder(root: Path, positive: str | None, progress: Progress | None) -> Manifest:
    images = list_images(root)
    if not images:
        raise DataError(NO_DATA.format(place=root, seen="no image lies in or below that folder"))
    crops = [path for path in images if _ALL_IDB2_NAME.fullmatch(path.name)]
    if crops and positive is not None:
        raise DataError(
            f"--positive {positive}: {crops[0].parent} is ALL-IDB2, whose file names say "
            "the class; leave the option out"
        )
    if crops:
        return _read_all_idb2(crops, len(images) - len(crops), progress)
    labelled = [(path, _folder_label(path, root, positive), None) for path in images]
    built = _build(root, "folders", labelled, progress)
    if positive is None:
        return built
    healthy = {path.parent.name for path, label, _ in labelled if label == HEALTHY}
    return replace(built, warnings=(_told_healthy(positive, healthy),))


def _read_all_idb2(crops: Sequence[Path], others: int, progress: Progress | None) -> Manifest:
    folders = sorted({path.parent for path in crops})
    if len(folders) > 1:
        raise DataError(
            f"ALL-IDB2 lies in {len(folders)} folders ({folders[0]}, {folders[1]}); "
            "name one with --data"
        )
    labelled = [(path, _crop_label(path), None) for path in crops]
    built = _build(folders[0], "ALL-IDB2", labelled, progress)
    warnings = []
    if others:
        warnings.append(
            f"{others} other images below the data folder are not part of ALL-IDB2 and stay unused"
        )
    deviation = "" if built.synthetic else _deviation_from_original(built.records)
    if deviation:
        warnings.append(f"{folders[0]}: not the original ALL-IDB2: {deviation}")
    original = not built.synthetic and not deviation
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


def original_hashes() -> dict[str, str]:
    """File name to SHA-256 of the 260 images that the authors of ALL-IDB2 give out."""
    text = resources.files("alld.data").joinpath("all_idb2.sha256").read_text(encoding="ascii")
    pairs = (line.split() for line in text.splitlines())
    return {name: sha256 for sha256, name in pairs}


def _deviation_from_original(records: Sequence[ImageRecord]) -> str:
    known = original_hashes()
    here = {record.path: record.sha256 for record in records}
    missing = sorted(known.keys() - here.keys())
    extra = sorted(here.keys() - known.keys())
    changed = sorted(name for name in known.keys() & here.keys() if known[name] != here[name])
    parts = ((missing, "missing"), (changed, "changed"), (extra, "unknown"))
    return ", ".join(f"{len(names)} {what} (first: {names[0]})" for names, what in parts if names)


def _folder_label(path: Path, root: Path, positive: str | None) -> int:
    """The label by the nearest folder between the image and `root` that names a class."""
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
    if positive is not None and folders:
        return BLAST if positive.lower() in folders else HEALTHY
    for name in reversed(folders):
        if name in _CLASS_FOLDERS:
            return _CLASS_FOLDERS[name]
    raise DataError(
        f"{path}: its folder names no class; use folders blast/ and healthy/ "
        f"(also {', '.join(sorted(_CLASS_FOLDERS))}), or --positive NAME for the one that is blast"
    )


def _read_table(table: Path, positive: str | None, progress: Progress | None) -> Manifest:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            columns, rows = list(reader.fieldnames), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a UTF-8 CSV table: {error}") from error
    if not {"path", "label"} <= set(columns):
        raise DataError(f"{table}: needs the columns path,label; found {','.join(columns)}")
    labelled = []
    for number, row in enumerate(rows, start=2):  # line 1 holds the column names
        place, path = f"{table}, line {number}", (row["path"] or "").strip()
        if not path:
            raise DataError(f"{place}: no path; name an image file")
        owner = (row.get("patient") or row.get("group") or "").strip() or None
        labelled.append((table.parent / path, _table_label(row["label"], positive, place), owner))
    built = _build(table.parent, "table", labelled, progress)
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


def _build(
    root: Path,
    kind: Kind,
    labelled: Sequence[tuple[Path, int, str | None]],
    progress: Progress | None,
) -> Manifest:
    """Hash every image once; the mark of a drawn image makes the whole set synthetic."""
    records, synthetic = [], False
    for done, (path, label, group) in enumerate(labelled, start=1):
        data = read_image_bytes(path)
        synthetic = synthetic or is_synthetic(data)
        relative = PurePosixPath(os.path.relpath(path, root).replace(os.sep, "/"))
        records.append(ImageRecord(str(relative), label, sha256_hex(data), group))
        if progress:
            progress(done, len(labelled))
    return Manifest(root=root, kind=kind, records=tuple(records), synthetic=synthetic)
