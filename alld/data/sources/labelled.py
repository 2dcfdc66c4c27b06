"""Turn labelled image files into a manifest, for every source alike."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alld.data.domains import exposure_of
from alld.data.manifest import ImageRecord, Kind, Manifest, Part, Progress
from alld.data.sources.known_crops import crops_by_hash
from alld.data.sources.own_split import part_of
from alld.errors import DataError, ImageError
from alld.images.decode import is_synthetic, read_image_bytes
from alld.runtime.files import cell, plain_path, sha256_hex, spelt


@dataclass(frozen=True)
class Problem:
    """A file or a row that a survey left out, with the reason."""

    path: str
    reason: str


Problems = list[Problem] | None  # None: the first one is an error


class Labelled(NamedTuple):
    """One image file with what its source states about it."""

    path: Path
    label: int
    group: str | None = None
    patient: str | None = None
    part: Part | None = None
    domain: str | None = None
    field: str | None = None


@contextmanager
def noted(path: Path | str, problems: Problems) -> Iterator[None]:
    """Append what is wrong with one image to `problems`, or raise it where that is None."""
    try:
        yield
    except (DataError, ImageError) as error:
        if problems is None:
            raise
        problems.append(Problem(str(path), str(error)))


def files_among(paths: Sequence[Path], problems: Problems) -> list[Path]:
    """Return the paths without the folders that cannot be listed, each of which is a problem."""
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        with noted(path, problems):
            read_image_bytes(path)  # which says why
    return files


def build_manifest(
    root: Path,
    kind: Kind,
    labelled: Sequence[Labelled],
    progress: Progress | None,
    problems: Problems,
) -> Manifest:
    """Read and hash every image; one that is marked as drawn makes the whole set synthetic.

    Raises:
        ImageError, DataError: a file that cannot be read or named, unless `problems` takes it.
    """
    records, synthetic = [], False
    for done, one in enumerate(labelled, start=1):
        relative = PurePosixPath(os.path.relpath(one.path, root).replace(os.sep, "/"))
        with noted(str(relative), problems):
            name = _table_name(root, str(relative))
            data = read_image_bytes(one.path)
            synthetic = synthetic or is_synthetic(data)
            part = one.part or part_of(name)
            sha256 = sha256_hex(data)
            known = crops_by_hash().get(sha256)
            exposure = exposure_of(data) if known is None else known.exposure
            records.append(
                ImageRecord(
                    name,
                    one.label,
                    sha256,
                    group=one.group,
                    patient=one.patient,
                    part=part,
                    domain=one.domain,
                    exposure=exposure,
                    field=one.field or (known.field if known else None),
                )
            )
        if progress:
            progress(done, len(labelled))
    return Manifest(root=root, kind=kind, records=tuple(records), synthetic=synthetic)


def _table_name(root: Path, name: str) -> str:
    """The name as tables hold it; DataError where `cell` would have to change it."""
    if cell(plain_path(name)) != plain_path(name):
        raise DataError(
            f"{root}: the name {spelt(name)} holds a control character, a line break, a mark of "
            "direction, a formula behind a semicolon or bytes that are no UTF-8; rename the file"
        )
    return plain_path(name)
