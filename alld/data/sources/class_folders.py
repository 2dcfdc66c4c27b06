"""One folder a class: the nearest folder that names a class is the label."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alld.data.manifest import BLAST, HEALTHY, Manifest, Progress
from alld.data.sources.labelled import Labelled, Problems, build_manifest, noted
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
    """The class that the name of a folder says, 0 or 1, or None."""
    return CLASS_NAMES.get(folder.lower())


def read_class_folders(
    root: Path,
    images: Sequence[Path],
    positive: str | None,
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """The manifest of `images`; a folder such as `patient-07` or `subject 3` names the patient.

    Args:
        positive: the name of the folder that means blast, all others being healthy then.

    Raises:
        DataError: an image in no folder that names a class.
    """
    labelled: list[Labelled] = []
    for path in images:
        with noted(path, problems):
            label = _label(path, root, positive)
            labelled.append(Labelled(path, label, patient=_patient(path, root)))
    built = build_manifest(root, "folders", labelled, progress, problems)
    if positive is None:
        return built
    healthy = {one.path.parent.name for one in labelled if one.label == HEALTHY}
    return replace(built, warnings=(told_healthy(positive, healthy),))


def told_healthy(positive: str, names: set[str]) -> str:
    """Everything that is not `positive` counts as healthy: a misspelt name must be seen."""
    return f"--positive {positive}: counted as healthy: {', '.join(sorted(names))}"


def _label(path: Path, root: Path, positive: str | None) -> int:
    folders = [part.lower() for part in path.relative_to(root).parts[:-1]]
    if positive is not None and folders:
        return BLAST if positive.lower() in folders else HEALTHY
    for name in reversed(folders):
        if name in CLASS_NAMES:
            return CLASS_NAMES[name]
    raise DataError(
        f"{one_line(str(path))}: its folder names no class; use folders blast/ and healthy/ "
        f"(also {', '.join(sorted(CLASS_NAMES))}), or --positive NAME for the one that is blast"
    )


def _patient(path: Path, root: Path) -> str | None:
    folders = path.relative_to(root).parts[:-1]
    named = [folder for folder in reversed(folders) if _PATIENT.fullmatch(folder)]
    return str(cell(named[0])) if named else None
