"""What the user names on the command line, as a list of images to predict, and its shards."""

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

# Images of a shard: some seconds of work, and whole batches, so that rows are those of no shards.
SHARD = 1024


class Shard(NamedTuple):
    """Some images that follow each other in the list; shards are counted from 0."""

    number: int
    paths: list[str]


@dataclass(frozen=True)
class Inputs:
    """All images to predict, in a fixed order: files sorted, each once, then the rows of tables.

    Tables are read again each time, row by row: they may be longer than the memory holds.
    """

    files: tuple[Path, ...]
    tables: tuple[Path, ...] = ()

    def __iter__(self) -> Iterator[Path]:
        yield from self.files
        for table in self.tables:
            yield from paths_in(table)

    @cached_property
    def images(self) -> int:
        """How many there are. Raises DataError for a table that cannot be read to its end."""
        return len(self.files) + sum(1 for table in self.tables for _ in paths_in(table))


@dataclass(frozen=True)
class Cut:
    """How a list falls into shards: rows of each but the last, and the hash of each one's names."""

    inputs: Inputs
    size: int
    digests: tuple[bytes, ...]
    images: int

    @classmethod
    def of(cls, inputs: Inputs, size: int) -> "Cut":
        """Read the list once."""
        digests, images = [], 0
        for names in _slices(inputs, size):
            digests.append(_digest(names))
            images += len(names)
        return cls(inputs, size, tuple(digests), images)

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that change with every name and with their order."""
        return sha256_hex(b"".join(self.digests))

    def rows(self, number: int) -> int:
        """Images of one shard."""
        return min(self.size, self.images - number * self.size)

    def shards(self, wanted: Sequence[int]) -> Iterator[Shard]:
        """These shards, in rising order, read again.

        Raises:
            DataError: the list is another one than it was.
        """
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
    """Files, folders and globs as `expand` has them; what ends in .csv or .parquet is a table."""
    given = list(arguments)
    tables = tuple(Path(argument) for argument in given if is_path_table(argument))
    others = expand(argument for argument in given if not is_path_table(argument))
    return Inputs(tuple(others), tables)


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
