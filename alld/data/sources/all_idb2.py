"""Read ALL-IDB2: one folder with ImNNN_0.tif and ImNNN_1.tif, whose names state the class."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from alld.data.manifest import Manifest, Progress, differing
from alld.data.sources.known_crops import known_crops
from alld.data.sources.labelled import Labelled, Problems, build_manifest, noted
from alld.errors import DataError

# ALL-IDB1's whole fields are ImNNN_0.jpg and ImNNN_1.jpg: only .tif is a crop of ALL-IDB2.
_NAME = re.compile(r"Im(\d{3,})_(\d)\.tif", re.IGNORECASE)
_FIELD = re.compile(r"Im\d{3}_[01]\.jpe?g", re.IGNORECASE)


def is_crop(path: str | Path) -> bool:
    """Return whether a file is named like an image of ALL-IDB2."""
    return _NAME.fullmatch(PurePosixPath(path).name) is not None


def is_field(path: str | Path) -> bool:
    """Return whether a file is named like one of ALL-IDB1, whose fields ALL-IDB2 was cut from."""
    return _FIELD.fullmatch(PurePosixPath(path).name) is not None


def crop_label(path: str | Path) -> int | None:
    """Return the class that a name of ALL-IDB2 states, 0 or 1, or None for another name."""
    match = _NAME.fullmatch(PurePosixPath(path).name)
    return int(match.group(2)) if match and match.group(2) in "01" else None


def read_all_idb2(
    root: Path, crops: Sequence[Path], others: int, progress: Progress | None, problems: Problems
) -> Manifest:
    """Return the manifest of `crops`, files named as in ALL-IDB2, beside `others` other images.

    Args:
        root: the folder that paths are relative to.

    Raises:
        DataError: two files of one name, or a name that states neither class.
    """
    first: dict[str, Path] = {}
    for path in crops:
        if first.setdefault(path.name, path) is not path:
            raise DataError(
                f"ALL-IDB2 lies in 2 folders ({first[path.name].parent}, {path.parent}); "
                "name one with --data"
            )
    labelled: list[Labelled] = []
    for path in crops:
        with noted(path, problems):
            if (label := crop_label(path)) is None:
                number = path.stem.rpartition("_")[2]
                raise DataError(
                    f"{path}: the label _{number} is neither _1 (blast) nor _0 (healthy)"
                )
            labelled.append(Labelled(path, label))
    manifest = build_manifest(root, "ALL-IDB2", labelled, progress, problems)
    warnings = []
    if others:
        warnings.append(
            f"{others} other images below the data folder are not part of ALL-IDB2 and stay unused"
        )
    here = {PurePosixPath(record.path).name: record.sha256 for record in manifest}
    original = {crop.name: crop.sha256 for crop in known_crops()}
    difference = "" if manifest.synthetic else differing(original, here)
    if difference:
        warnings.append(f"{root}: not the original ALL-IDB2: {difference}")
    same = not manifest.synthetic and not difference
    return replace(manifest, original=same, warnings=tuple(warnings))
