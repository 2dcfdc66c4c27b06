"""Read the part of each image where a set has a split of its own: in folders or in a column."""

import re
from pathlib import PurePosixPath

from alld.data.manifest import Part

_NAMES: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_TAIL = re.compile(r"[ _-]?(data|set|images)$")


def part_named(text: str) -> Part | None:
    """Return the part that a folder or a cell of a table names, as `validation_data` does."""
    return _NAMES.get(_TAIL.sub("", text.strip().lower()))


def part_of(path: str) -> Part | None:
    """Return the part that the folders of a path name, from the nearest outwards."""
    folders = PurePosixPath(path).parts[-2::-1]
    return next((part for folder in folders if (part := part_named(folder))), None)
