"""Define the manifest: the path, label and hash of every image of a set."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from alld.errors import DataError
from alld.images.decode import Decoded, decode, read_image_bytes
from alld.runtime.files import sha256_hex

HEALTHY, BLAST = 0, 1
LABEL_NAMES = ("healthy", "blast")
Part = Literal["train", "valid", "test"]
Kind = Literal["ALL-IDB2", "C-NMC 2019", "folders", "table", "fields", "several sets"]
Progress = Callable[[int, int], None]  # images done, all images


@dataclass(frozen=True, order=True)
class Exposure:
    """When a picture was taken, and by which model of camera."""

    camera: str
    taken: datetime


@dataclass(frozen=True)
class ImageRecord:
    """One image of a set. `path` is relative to the set's root, with forward slashes."""

    path: str
    label: int  # 0 healthy, 1 blast
    sha256: str
    group: str | None = None  # where the source states which images belong together
    patient: str | None = None  # where the source states whose cell it is
    pixels_sha256: str | None = None  # see `with_pixel_hashes`
    part: Part | None = None  # where the set has a split of its own
    domain: str | None = None  # session, slide, scanner or site; see `alld.data.domains`
    exposure: Exposure | None = None  # of the photograph, where it is known
    field: str | None = None  # the photograph that a crop was cut from, where it is known

    @property
    def contents(self) -> set[str]:
        """The hashes that the file and its pixels are recognised by."""
        return {self.sha256, self.pixels_sha256 or self.sha256}


@dataclass(frozen=True)
class Manifest:
    """A labelled set of images, in a fixed order; `synthetic` if any of them was drawn."""

    root: Path
    kind: Kind
    records: tuple[ImageRecord, ...]
    synthetic: bool
    original: bool = False  # the 260 files of ALL-IDB2, bit for bit
    warnings: tuple[str, ...] = ()
    domains_source: str = ""  # what names the domains; empty where none is known

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[ImageRecord]:
        return iter(self.records)

    @property
    def labels(self) -> list[int]:
        """The label of every image, 0 or 1."""
        return [record.label for record in self.records]

    @property
    def patients(self) -> list[str]:
        """The patient of every image, empty where unknown."""
        return [record.patient or "" for record in self.records]

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of all paths, labels and contents; it does not depend on the root."""
        lines = [f"{r.sha256} {r.label} {r.path}" for r in self.records]
        return sha256_hex("\n".join(lines).encode("utf-8", errors="surrogateescape"))

    def file(self, index: int) -> Path:
        """Return the path of image number `index`."""
        return self.root / self.records[index].path

    def check(self, index: int, sha256: str | None) -> None:
        """Raise DataError if image number `index` no longer has the hash of the manifest."""
        if sha256 != self.records[index].sha256:
            raise DataError(f"{self.file(index)}: changed while ALLD was using it; start again")

    def read(self, index: int) -> bytes:
        """Return the bytes of image number `index`.

        Raises:
            ImageError: the file cannot be read.
            DataError: the file changed after its hash was taken.
        """
        data = read_image_bytes(self.file(index))
        self.check(index, sha256_hex(data))
        return data

    def decode(self, index: int) -> Decoded:
        """Decode image number `index`; raise as `read` does, or ImageError if it is no image."""
        data = self.read(index)
        return decode(data, str(self.file(index)), self.records[index].sha256)


def differing(known: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Say how two sets differ, each given as path to hash; empty if they do not."""
    missing = sorted(known.keys() - here.keys())
    extra = sorted(here.keys() - known.keys())
    changed = sorted(name for name in known.keys() & here.keys() if known[name] != here[name])
    parts = ((missing, "missing"), (changed, "changed"), (extra, "unknown"))
    return ", ".join(f"{len(names)} {what} (first: {names[0]})" for names, what in parts if names)


class Pictures(Sequence[NDArray[np.uint8]]):
    """The images of a manifest, RGB (H, W, 3), decoded on access; `kept` stay in memory."""

    def __init__(self, manifest: Manifest, kept: int = 300) -> None:
        self._length = len(manifest)
        self._read = lru_cache(kept)(lambda index: manifest.decode(index).pixels)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...
    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [self._read(number) for number in range(*index.indices(self._length))]
        if not 0 <= index < self._length:
            raise IndexError(index)  # ends an iteration
        return self._read(index)


def check_manifest(manifest: Manifest, *, both_classes: bool = True) -> None:
    """Refuse a set on which no classifier can be trained or, without `both_classes`, tested.

    Raises:
        DataError: an empty set, one class only, or a path listed twice.
    """
    counts = Counter(manifest.labels)
    if not manifest.records:
        raise DataError(f"{manifest.root}: no images found; give a folder of labelled images")
    for label, name in enumerate(LABEL_NAMES):
        if both_classes and not counts[label]:
            other = LABEL_NAMES[1 - label]
            raise DataError(
                f"{manifest.root}: all {len(manifest)} images are {other}, none is {name}; "
                "training needs both classes"
            )
    twice = [path for path, count in Counter(r.path for r in manifest).items() if count > 1]
    if twice:
        raise DataError(f"{manifest.root}: {twice[0]} is listed more than once; keep one row of it")


def class_counts(labels: Sequence[int]) -> str:
    """Return the counts in words: `130 blast, 130 healthy`."""
    counts = Counter(labels)
    return f"{counts[BLAST]} blast, {counts[HEALTHY]} healthy"
