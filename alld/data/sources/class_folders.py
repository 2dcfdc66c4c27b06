"""Read sets with a folder for each class: blast and healthy, or any classes for pretraining."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alld.data.manifest import BLAST, HEALTHY, Manifest, Progress
from alld.data.sources.labelled import Labelled, Problems, build_manifest, list_images, noted
from alld.errors import DataError
from alld.runtime.files import cell, one_line

CLASS_NAMES = {
    **dict.fromkeys(
        ("blast", "blasts", "all", "lymphoblast", "lymphoblasts", "leukemia", "leukaemia"), BLAST
    ),
    **dict.fromkeys(("healthy", "hem", "normal"), HEALTHY),
}
_PATIENT = re.compile(r"(patient|subject|donor)([ _-]+\w|\d).*", re.IGNORECASE)


def folder_label(folder: str) -> int | None:
    """Return the class that the name of a folder states, 0 or 1, or None."""
    return CLASS_NAMES.get(folder.lower())


def read_class_folders(
    root: Path,
    images: Sequence[Path],
    positive: str | None,
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """Return the manifest of `images`, each labelled by the nearest folder that names a class.

    A folder such as `patient-07` or `subject 3` names the patient.

    Args:
        positive: the name of the folder that holds blasts; all other folders are then healthy.

    Raises:
        DataError: an image in no folder that names a class.
    """
    labelled: list[Labelled] = []
    for path in images:
        with noted(path, problems):
            folders = path.relative_to(root).parts[-2::-1]  # from the nearest outwards
            patient = next(filter(_PATIENT.fullmatch, folders), None)
            label = _label(path, [folder.lower() for folder in folders], positive)
            labelled.append(Labelled(path, label, patient=cell(patient)))
    manifest = build_manifest(root, "folders", labelled, progress, problems)
    if positive is None:
        return manifest
    healthy = {one.path.parent.name for one in labelled if one.label == HEALTHY}
    return replace(manifest, warnings=(counted_as_healthy(positive, healthy),))


def counted_as_healthy(positive: str, names: set[str]) -> str:
    """Return the warning that names all that is not `positive`, in case it is misspelt."""
    return f"--positive {positive}: counted as healthy: {', '.join(sorted(names))}"


def load_classes(root: Path, progress: Progress | None = None) -> tuple[Manifest, tuple[str, ...]]:
    """Read a set of any classes, a folder each, for pretraining.

    Returns:
        The manifest, whose labels number the classes, and the classes: the names of the folders
        directly in `root` that hold images, sorted.

    Raises:
        DataError: no folder, fewer than two classes, or an image in no class folder.
        ImageError: a file that cannot be read.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; give one that holds a folder for each class")
    images = list_images(root)
    outside = [path.name for path in images if path.parent == root]
    if outside:
        raise DataError(f"{root}: {one_line(outside[0])} lies in no class folder; move it into one")
    class_of = {path: path.relative_to(root).parts[0] for path in images}
    classes = tuple(sorted(set(class_of.values())))
    if len(classes) < 2:
        raise DataError(
            f"{root}: {len(classes)} folders with images; at least two classes are needed, each in "
            "a folder of its own"
        )
    labelled = [Labelled(path, classes.index(name)) for path, name in class_of.items()]
    return build_manifest(root, "folders", labelled, progress, None), classes


def _label(path: Path, folders: Sequence[str], positive: str | None) -> int:
    if positive is not None and folders:
        return BLAST if positive.lower() in folders else HEALTHY
    for name in folders:
        if name in CLASS_NAMES:
            return CLASS_NAMES[name]
    raise DataError(
        f"{one_line(str(path))}: its folder names no class; use folders blast/ and healthy/ "
        f"(also {', '.join(sorted(CLASS_NAMES))}), or --positive NAME for the one that is blast"
    )
