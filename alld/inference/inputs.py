"""List the images that the user names on the command line, and cut long lists into shards."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob, has_magic
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from alld.data.sources.labelled import list_images
from alld.errors import DataError
from alld.inference.path_table import is_path_table, paths_in
from alld.runtime.files import sha256_hex

# Images of a shard: some seconds of work, and whole batches, as rows depend on their batch.
SHARD = 1024


class Shard(NamedTuple):
    """Consecutive images of the list; shards are counted from 0."""

    number: int
    paths: list[str]


@dataclass(frozen=True)
class Inputs:
    """All images to predict, in a fixed order: files sorted, each once, then the rows of tables.

    Tables are read anew each time, row by row, as they may not fit into memory.
    """

    files: tuple[Path, ...]
    tables: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        yield from self.files
        for table in self.tables:
            yield from paths_in(table)

    @cached_property
    def images(self) -> int:
        """How many there are; raises DataError for a table that cannot be read to its end."""
        return len(self.files) + sum(1 for table in self.tables for _ in paths_in(table))


@dataclass(frozen=True)
class Cut:
    """A list in shards of `size` images, with the hash of the names in each."""

    inputs: Inputs
    size: int
    digests: tuple[bytes, ...]
    images: int

    @classmethod
    def of(cls, inputs: Inputs, size: int) -> "Cut":
        """Read the list once to cut it."""
        digests, images = [], 0
        for names in _slices(inputs, size):
            digests.append(_digest(names))
            images += len(names)
        return cls(inputs, size, tuple(digests), images)

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that depend on every name and on their order."""
        return sha256_hex(b"".join(self.digests))

    def rows(self, number: int) -> int:
        """Return the number of images in one shard."""
        return min(self.size, self.images - number * self.size)

    def shards(self, wanted: Sequence[int]) -> Iterator[Shard]:
        """Yield these shards, in rising order; raise DataError if the list has changed."""
        left = set(wanted)
        for number, names in enumerate(_slices(self.inputs, self.size)):
            if not left:
                return
            if number in left:
                if _digest(names) != self.digests[number]:
                    raise _changed()
                left.remove(number)
                yield Shard(number, names)
        if left:
            raise _changed()


def read_inputs(arguments: Iterable[str]) -> Inputs:
    """Return the images of files, folders, globs and tables (.csv or .parquet)."""
    given = list(arguments)
    tables = tuple(Path(argument) for argument in given if is_path_table(argument))
    others = expand(argument for argument in given if not is_path_table(argument))
    return Inputs(tuple(others), tables)


def expand(arguments: Iterable[str]) -> list[Path]:
    """Return the sorted files of files, folders and globs, each once.

    Folders are searched recursively for image suffixes. An argument without any images stays in
    the list, so that its row says why.
    """
    return sorted({file for argument in arguments for file in _expand_one(argument)})


def _expand_one(argument: str) -> list[Path]:
    path = Path(argument)
    # Path.is_dir and Path.exists would raise for a name that is too long.
    if os.path.isdir(path):
        return list_images(path) or [path]
    # An existing file may have brackets or stars in its name.
    if not os.path.exists(path) and has_magic(argument):
        found = [Path(name) for name in glob(argument, recursive=True)]
        return [file for file in found if not os.path.isdir(file)] or [path]
    return [path]


def _slices(inputs: Iterable[Path], size: int) -> Iterator[list[str]]:
    names = map(str, inputs)
    while some := list(islice(names, size)):
        yield some


def _digest(names: list[str]) -> bytes:
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    return digest.digest()


def _changed() -> DataError:
    return DataError("the list of images changed while ALLD was using it; start again")
