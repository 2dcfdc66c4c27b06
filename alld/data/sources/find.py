"""Find a labelled set on disk: ALL-IDB2, C-NMC 2019, a folder for each class, or a CSV table."""

from dataclasses import replace
from pathlib import Path

from alld.config.schema import DataConfig
from alld.data.manifest import BLAST, ImageRecord, Manifest, Progress, check_manifest
from alld.data.sources.all_idb2 import crop_label, is_crop, read_all_idb2
from alld.data.sources.c_nmc import cell_label, find_tables, read_c_nmc
from alld.data.sources.class_folders import folder_label, read_class_folders
from alld.data.sources.labelled import Problem, Problems, list_images
from alld.data.sources.tables import read_table
from alld.errors import DataError

NO_DATA = """\
ALL-IDB2 is free for research: ask its authors (Labati, Piuri, Scotti; Milan) for it.
Unpack it anywhere below that folder, or name another one with --data DIR. Your own images: one
folder for each class (blast/ and healthy/), or --data FILE.csv with the columns path,label.
`alld demo` needs no images."""


def load_manifest(
    data: DataConfig, progress: Progress | None = None, *, both_classes: bool = True
) -> Manifest:
    """Read the set that `data.root` names and hash every image of it.

    A folder is searched for ALL-IDB2 first, then for C-NMC 2019, then for one folder a class. A
    `.csv` file is a table with the columns `path,label` and optionally `patient` or `group`, or
    that of C-NMC's preliminary test.

    Args:
        both_classes: refuse a set of one class, on which no classifier can be trained.

    Raises:
        DataError: no set, two copies of it, a label that is neither class, or one class only.
    """
    manifest = _read(data, progress, None)
    check_manifest(manifest, both_classes=both_classes)
    return manifest


def survey_manifest(
    data: DataConfig, progress: Progress | None = None
) -> tuple[Manifest, list[Problem]]:
    """Read a set as `load_manifest` does, but collect problems that would stop a training.

    Files that cannot be read, images without a label and repeated rows of one path are left out
    and returned as problems. A set of one class is accepted. Where ALL-IDB2's images lie in class
    folders, the folders give the labels, so that names which disagree can be found.

    Raises:
        DataError: there is no set, or `data.positive` names nothing in it.
    """
    problems: list[Problem] = []
    manifest = _read(data, progress, problems)
    first: dict[str, ImageRecord] = {}
    for record in manifest:
        if first.setdefault(record.path, record) is not record:
            other = "" if first[record.path].label == record.label else ", under the other label"
            problems.append(Problem(record.path, f"{record.path}: listed again{other}"))
    return replace(manifest, records=tuple(first.values())), problems


def name_label(path: str) -> int | None:
    """Return the class that a name of ALL-IDB2 or C-NMC states, 0 or 1, or None."""
    label = crop_label(path)
    return cell_label(path) if label is None else label


def check_place(data: DataConfig) -> Path:
    """Return the folder or table that `data.root` names, without reading it.

    Raises:
        DataError: there is neither.
    """
    root = data.root.expanduser()
    if not root.exists():
        raise _no_data(root, "there is no such folder")
    if not root.is_dir() and root.suffix.lower() != ".csv":
        raise DataError(f"{root}: neither a folder nor a .csv table; see `alld train --help`")
    return root


def _no_data(place: Path, seen: str) -> DataError:
    error = DataError(f"{place}: {seen}")
    error.add_note(NO_DATA)
    return error


def _read(data: DataConfig, progress: Progress | None, problems: Problems) -> Manifest:
    root = check_place(data)
    read = _read_folder if root.is_dir() else read_table
    manifest = read(root, data.positive, progress, problems)
    if data.positive is not None and BLAST not in manifest.labels:
        raise DataError(f"--positive {data.positive}: no folder or label in {root} has that name")
    return manifest


def _read_folder(
    root: Path, positive: str | None, progress: Progress | None, problems: Problems
) -> Manifest:
    images = list_images(root)
    if not images:
        raise _no_data(root, "no image lies in or below that folder")
    crops = [path for path in images if is_crop(path)]
    if crops:
        _refuse_positive(positive, f"{crops[0].parent} is ALL-IDB2")
        if problems is None or not _in_class_folders(crops):
            return read_all_idb2(crops, len(images) - len(crops), progress, problems)
        return read_class_folders(root, images, positive, progress, problems)
    tables = find_tables(root)
    if tables or any(cell_label(path) is not None for path in images):
        _refuse_positive(positive, f"{root} holds C-NMC 2019")
        return read_c_nmc(root, images, tables, progress, problems)
    return read_class_folders(root, images, positive, progress, problems)


def _in_class_folders(crops: list[Path]) -> bool:
    homes = {path.parent for path in crops}
    return len(homes) > 1 and None not in {folder_label(home.name) for home in homes}


def _refuse_positive(positive: str | None, what: str) -> None:
    if positive is not None:
        raise DataError(
            f"--positive {positive}: {what}, whose file names say the class; leave the option out"
        )
