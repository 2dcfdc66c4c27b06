"""Read sets with a folder for each class: blast and healthy, or any classes for pretraining."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alld.data.manifest import Manifest, Progress
from alld.data.sources.c_nmc import subject_of
from alld.data.sources.class_names import ClassNames, unknown_class
from alld.data.sources.labelled import Labelled, Problems, build_manifest, files_among, noted
from alld.data.sources.listing import list_images
from alld.data.sources.own_split import part_named
from alld.errors import DataError
from alld.runtime.files import cell, one_line

_PATIENT = re.compile(r"(patient|subject|donor)([ _-]+\w|\d).*", re.IGNORECASE)


def folders_of(root: Path, path: Path) -> tuple[str, ...]:
    """Return the names of the folders between a file and `root`, the nearest first."""
    return path.relative_to(root).parts[-2::-1]


def read_class_folders(
    root: Path,
    images: Sequence[Path],
    names: ClassNames,
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """Return the manifest of `images`, each labelled by the nearest folder that names a class.

    A folder such as `patient-07` or `subject 3` names the patient, or else a name of C-NMC.

    Raises:
        DataError: an image in no folder that names a class, or no folder of a given name.
    """
    names = names.of_set({name for path in images for name in folders_of(root, path)}, root)
    labelled: list[Labelled] = []
    for path in images:
        with noted(path, problems):
            folders = folders_of(root, path)
            label = names.label_of(folders) if folders else None
            if label is None:
                raise unknown_class(one_line(str(path)), "its folder names no class", names)
            patient = next(filter(_PATIENT.fullmatch, folders), None) or subject_of(path)
            labelled.append(Labelled(path, label, patient=cell(patient)))
    manifest = build_manifest(root, "folders", labelled, progress, problems)
    nearest = ((one.path.parent.name, one.label) for one in labelled)
    telling = (pair for pair in nearest if names.label_of(pair[:1]) == pair[1])
    return replace(manifest, warnings=names.warnings(telling))


def load_classes(root: Path, progress: Progress | None = None) -> tuple[Manifest, tuple[str, ...]]:
    """Read a set of any classes, a folder each, for pretraining.

    Returns:
        The manifest, whose labels number the classes, and the classes: the names of the folders
        directly in `root` that hold images, sorted, or those in `train`, `val` and `test` of it.

    Raises:
        DataError: no folder, fewer than two classes, or an image in no class folder.
        ImageError: a file that cannot be read.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give one that holds a folder for each class")
    listing = list_images(root)
    files = files_among(listing.files, None)
    outside = [path.name for path in files if path.parent == root]
    homes = {path: path.relative_to(root).parts[:-1] for path in files}
    if not outside and all(part_named(home[0]) for home in homes.values()):  # train/lymphocyte/..
        homes = {path: home[1:] for path, home in homes.items()}
        outside += [path.name for path, home in homes.items() if not home]
    if outside:
        raise DataError(f"{root}: {one_line(outside[0])} lies in no class folder; move it into one")
    class_of = {path: home[0] for path, home in homes.items()}
    classes = tuple(sorted(set(class_of.values())))
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} folders with images; at least two classes are needed, each in "
            "a folder of its own"
        )
    labelled = [Labelled(path, classes.index(name)) for path, name in class_of.items()]
    manifest = build_manifest(root, "folders", labelled, progress, None)
    return replace(manifest, warnings=(listing.warning,) if listing.warning else ()), classes
