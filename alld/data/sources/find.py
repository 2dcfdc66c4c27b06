"""Find a labelled set on disk: ALL-IDB2, C-NMC 2019, class folders, a table, or marked fields."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alld.config.schema import DataConfig
from alld.data.domains import SETS, with_sessions
from alld.data.manifest import (
    BLAST,
    HEALTHY,
    ImageRecord,
    Manifest,
    Progress,
    check_manifest,
)
from alld.data.sources.all_idb2 import crop_label, is_crop, read_all_idb2
from alld.data.sources.c_nmc import cell_label, find_tables, read_c_nmc
from alld.data.sources.class_folders import folders_of, read_class_folders
from alld.data.sources.class_names import ClassNames
from alld.data.sources.fields import find_marks, is_marked_table, read_fields, read_marked
from alld.data.sources.labelled import Problem, Problems, files_among
from alld.data.sources.listing import list_images
from alld.data.sources.marks import MarkedField
from alld.data.sources.tables import read_table
from alld.errors import DataError

NO_DATA = """\
ALL-IDB2 is free for research: ask its authors (Labati, Piuri, Scotti; Milan) for it.
Unpack it anywhere below that folder, or name another one with --data DIR. Your own images: one
folder for each class (blast/ and healthy/), or --data FILE.csv with the columns path,label.
`alld demo` needs no images."""


def load_manifest(
    data: DataConfig,
    progress: Progress | None = None,
    *,
    both_classes: bool = True,
    inherited: bool = False,
) -> Manifest:
    """Read the set that `data.root` names and hash every image of it.

    A folder holds ALL-IDB2, C-NMC 2019, or one folder for each class, which has precedence; or
    whole fields with marks, whose cells are cut out, see `alld.data.sources.fields`. A `.csv` file
    is a table with the columns `path,label` and optionally `patient`, `group`, `field`, `split` or
    a domain, or that of C-NMC's preliminary test.

    Args:
        both_classes: refuse a set of one class, on which no classifier can be trained.
        inherited: the names of classes in `data` were given for another set; see `ClassNames`.

    Raises:
        DataError: no set, two copies of it, a label that is neither class, or one class only.
    """
    manifest = _read(data, progress, None, inherited=inherited)
    check_manifest(manifest, both_classes=both_classes)
    return manifest


def survey_manifest(
    data: DataConfig, progress: Progress | None = None
) -> tuple[Manifest, list[Problem]]:
    """Read a set as `load_manifest` does, but collect problems that would stop a training.

    Files that cannot be read, images without a label and repeated rows of one path are left out
    and returned as problems. A set of one class is accepted.

    Raises:
        DataError: there is no set, or it has no folder or label of a given name.
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
    """Return the folder or table that `data.root` names, without reading it or those beside it.

    Raises:
        DataError: one of them is neither.
    """
    root = data.root.expanduser()
    for place in (root, *(more.expanduser() for more in data.more)):
        if not place.exists():
            raise _no_data(place, "there is no such folder")
        if not place.is_dir() and place.suffix.lower() not in (".csv", ".json"):
            raise DataError(
                f"{place}: neither a folder, a .csv table nor COCO .json; see `alld train --help`"
            )
    return root


def _no_data(place: Path, seen: str) -> DataError:
    error = DataError(f"{place}: {seen}")
    error.add_note(NO_DATA)
    return error


def _read(
    data: DataConfig, progress: Progress | None, problems: Problems, *, inherited: bool = False
) -> Manifest:
    root, names = check_place(data), ClassNames.of(data, inherited=inherited)
    if data.more:
        places = [root, *(place.expanduser() for place in data.more)]
        alone = [data.model_copy(update={"root": place, "more": []}) for place in places]
        sets = [_read(one, progress, problems, inherited=inherited) for one in alone]
        return _joined(places, sets)
    if not root.is_dir() and is_marked_table(root):
        return _read_fields(root, read_marked(root), data, names, progress)
    if not root.is_dir():
        return with_sessions(read_table(root, names, progress, problems), data.session_gap)
    listing = list_images(root)
    images = files_among(listing.files, problems)
    if not images and not problems:
        left_out = f"; {listing.warning}" if listing.warning else ""
        raise _no_data(root, f"no image lies in or below that folder{left_out}")
    if marked := find_marks(root, images):
        return _read_fields(root, marked, data, names, progress)
    manifest = _read_images(root, images, names, progress, problems)
    manifest = with_sessions(manifest, data.session_gap)
    if listing.warning is None:
        return manifest
    return replace(manifest, warnings=(*manifest.warnings, f"{root}: {listing.warning}"))


def _read_fields(
    root: Path,
    fields: Sequence[MarkedField],
    data: DataConfig,
    names: ClassNames,
    progress: Progress | None,
) -> Manifest:
    manifest = read_fields(root, fields, names, data.crop, progress)
    return with_sessions(manifest, data.session_gap)


def _joined(places: Sequence[Path], manifests: Sequence[Manifest]) -> Manifest:
    """Return several sets as one, in which each is a domain, whatever domains it had itself.

    A patient, group or field of one set is not that of another, whatever it is called.
    """
    roots = [manifest.root.resolve() for manifest in manifests]
    home = Path(os.path.commonpath(roots))
    names = _short_names(places)
    records = [
        replace(
            record,
            path=(root.relative_to(home) / record.path).as_posix(),
            group=record.group and f"{name}: {record.group}",
            patient=record.patient and f"{name}: {record.patient}",
            field=record.field and f"{name}: {record.field}",
            domain=name,
        )
        for name, root, manifest in zip(names, roots, manifests, strict=True)
        for record in manifest
    ]
    return Manifest(
        root=home,
        kind="several sets",
        records=tuple(sorted(records, key=lambda record: record.path)),
        synthetic=any(manifest.synthetic for manifest in manifests),
        warnings=tuple(w for manifest in manifests for w in manifest.warnings),
        domains_source=SETS,
    )


def _short_names(places: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [place.resolve().with_suffix("").parts for place in places]
    names = [["/".join(own[-size:]) for own in parts] for size in range(1, max(map(len, parts)))]
    return next((some for some in names if len(set(some)) == len(some)), names[-1])


def _read_images(
    root: Path,
    images: Sequence[Path],
    names: ClassNames,
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    crops = [path for path in images if is_crop(path)]
    tables = [] if crops else find_tables(root)
    named = crops or [path for path in images if cell_label(path) is not None]
    if (named or tables) and _names_count(root, images, named, tables, names):
        if crops:
            homes = {path.parent for path in crops}
            home = homes.pop() if len(homes) == 1 else root
            return read_all_idb2(home, crops, len(images) - len(crops), progress, problems)
        return read_c_nmc(root, images, tables, progress, problems)
    manifest = read_class_folders(root, images, names, progress, problems)
    said = [r.path for r in manifest if name_label(r.path) not in (None, r.label)]
    if not said or problems is not None:  # a survey reports each of them
        return manifest
    warning = (
        f"{len(said)} images lie in folders of the other class than their names say (first: "
        f"{said[0]}); the folders count"
    )
    return replace(manifest, warnings=(*manifest.warnings, warning))


def _names_count(
    root: Path,
    images: Sequence[Path],
    named: Sequence[Path],
    tables: Sequence[Path],
    names: ClassNames,
) -> bool:
    """Whether names of ALL-IDB2 or C-NMC give the labels, and not the folders of the images.

    Folders count where the user says so, where images of other names lie in folders that name a
    class, and where all images of ALL-IDB2 do, but some under the other class than their names say.

    Raises:
        DataError: names of classes were given that no folder has.
    """
    known = "ALL-IDB2" if any(map(is_crop, named)) else "C-NMC 2019"
    if names.given and not names.inherited:
        if names.overrule({name for path in images for name in folders_of(root, path)}):
            return False
        said = f"{root} holds {known}, whose file names say the class"
        raise DataError(f"{names.said}: {said}; leave the option out")
    if _fill_one_folder(named, images):
        return True
    stated = {path: ClassNames().label_of(folders_of(root, path)) for path in images}
    others = set(images) - set(named)
    if not tables and any(stated[path] is not None for path in others):
        return False
    return (
        known == "C-NMC 2019"  # whose reader compares names and folders
        or any(stated[path] is None for path in named)
        or len({path.parent for path in named}) == 1
        or all(name_label(str(path)) in (None, stated[path]) for path in named)
    )


def _fill_one_folder(named: Sequence[Path], images: Sequence[Path]) -> bool:
    """Whether both classes of ALL-IDB2 lie in one folder, and no other image does."""
    homes = {path.parent for path in named}
    inside = [path for path in images if path.parent in homes]
    labels = {crop_label(path) for path in named}
    return len(homes) == 1 and len(inside) == len(named) and labels >= {BLAST, HEALTHY}
