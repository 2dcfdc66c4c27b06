"""List the images that the user names on the command line, and cut long lists into shards."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import escape, glob, has_magic
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from alld.data.sources.listing import list_images, unread_line
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
    left_out: str | None = None  # the files of folders that were not listed, in words

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
    unread: Counter[str] = Counter()
    others = expand((argument for argument in given if not is_path_table(argument)), unread)
    return Inputs(tuple(others), tables, unread_line(unread))


def expand(arguments: Iterable[str], unread: Counter[str] | None = None) -> list[Path]:
    """Return the sorted files of files, folders and globs, each once.

    Folders, given or found by a glob, are searched recursively for image suffixes. An argument
    without any images stays in the list, so that its row says why.

    Args:
        unread: counts the files of folders that are left out, by kind.
    """
    counted = Counter[str]() if unread is None else unread
    return sorted({file for argument in arguments for file in _expand_one(argument, counted)})


def _expand_one(argument: str, unread: Counter[str]) -> list[Path]:
    path, found = Path(argument), [Path(argument)]
    # An existing file may have brackets or stars in its name. Path.exists and Path.is_dir would
    # raise for a name that is too long.
    if not os.path.exists(path) and has_magic(argument):
        found = [Path(name) for name in glob(_literal_folders(argument), recursive=True)]
    files: list[Path] = []
    for one in found:
        if not os.path.isdir(one):
            files.append(one)
        elif "**" not in path.parts:  # which finds the files below by itself
            listing = list_images(one)
            files += listing.files
            unread.update(listing.unread)
    return files or [path]


def _literal_folders(pattern: str) -> str:
    """Escape the folders at the beginning of a pattern that exist under that very name."""
    parts = Path(pattern).parts
    for end in range(len(parts) - 1, 0, -1):
        start = os.path.join(*parts[:end])
        if os.path.isdir(start):
            return os.path.join(escape(start), *parts[end:])
    return pattern


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
