"""ALL-IDB2 on disk: the one folder with ImNNN_0.tif and ImNNN_1.tif, whose names say the class."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from alld.data.manifest import Manifest, Progress
from alld.data.sources.labelled import Labelled, Problems, build_manifest, noted
from alld.data.sources.original import deviation
from alld.errors import DataError

# ALL-IDB1's whole fields are ImNNN_0.jpg and ImNNN_1.jpg: only .tif is a crop of ALL-IDB2.
_NAME = re.compile(r"Im(\d{3,})_(\d)\.tif", re.IGNORECASE)
_FIELD = re.compile(r"Im\d{3}_[01]\.jpe?g", re.IGNORECASE)


def is_crop(path: str | Path) -> bool:
    """Whether a file has a name of ALL-IDB2."""
    return _NAME.fullmatch(PurePosixPath(path).name) is not None


def is_field(path: str | Path) -> bool:
    """Whether a file has a name of ALL-IDB1, from whose fields ALL-IDB2 was cut."""
    return _FIELD.fullmatch(PurePosixPath(path).name) is not None


def crop_label(path: str) -> int | None:
    """The class that a name of ALL-IDB2 says, 0 or 1, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).name)
    return int(match.group(2)) if match and match.group(2) in "01" else None


def read_all_idb2(
    crops: Sequence[Path], others: int, progress: Progress | None, problems: Problems
) -> Manifest:
    """The manifest of `crops`, files with names of ALL-IDB2, beside so many other images.

    Raises:
        DataError: crops in two folders, or a name that says neither class.
    """
    folders = sorted({path.parent for path in crops})
    if len(folders) > 1:
        raise DataError(
            f"ALL-IDB2 lies in {len(folders)} folders ({folders[0]}, {folders[1]}); "
            "name one with --data"
        )
    labelled: list[Labelled] = []
    for path in crops:
        with noted(path, problems):
            labelled.append(Labelled(path, _label(path)))
    built = build_manifest(folders[0], "ALL-IDB2", labelled, progress, problems)
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


def _label(path: Path) -> int:
    label = crop_label(path.name)
    if label is None:
        number = path.stem.rpartition("_")[2]
        raise DataError(f"{path}: the label _{number} is neither _1 (blast) nor _0 (healthy)")
    return label
