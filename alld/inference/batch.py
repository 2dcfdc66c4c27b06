"""What the user names on the command line, as a sorted list of files to predict."""

from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from alld.data.sources import list_images


def expand(arguments: Iterable[str]) -> list[Path]:
    """Files, folders and globs to sorted files, each once.

    A folder is read recursively, image suffixes only. What names nothing, and a folder without
    images, stays in the list as it is: predicting it gives the row that says why.
    """
    files: set[Path] = set()
    for argument in arguments:
        files.update(_expand_one(argument))
    return sorted(files)


def _expand_one(argument: str) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        return list_images(path) or [path]
    # A file whose own name holds brackets or stars is that file.
    if not path.exists() and has_magic(argument):
        found = [Path(name) for name in glob(argument, recursive=True)]
        return [file for file in found if not file.is_dir()] or [path]
    return [path]
