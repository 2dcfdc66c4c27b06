"""What the user names on the command line, as a sorted list of files to predict."""

import os
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from alld.data.labelled import list_images


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
    # Not Path.is_dir and Path.exists, which raise for a name that is too long.
    if os.path.isdir(path):
        return list_images(path) or [path]
    # A file whose own name holds brackets or stars is that file.
    if not os.path.exists(path) and has_magic(argument):
        found = [Path(name) for name in glob(argument, recursive=True)]
        return [file for file in found if not os.path.isdir(file)] or [path]
    return [path]
