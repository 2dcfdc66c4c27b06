"""Find the images of a set in whole fields, and take camera and time from there."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from alld.data.domains import SESSIONS, exposure_of, with_sessions
from alld.data.groups.in_fields import FieldPlace, find_in_fields
from alld.data.manifest import Exposure, Manifest, Pictures
from alld.data.sources.labelled import Problem
from alld.data.sources.listing import list_images
from alld.errors import DataError, ImageError
from alld.images.decode import decode, read_image_bytes
from alld.images.rgb import RGB
from alld.runtime.files import plain_path, sha256_hex

_NOTHING = np.zeros((1, 1, 3), np.uint8)  # stands for a field that cannot be read

Step = Callable[[int, int], None]  # pictures done, all


@dataclass(frozen=True)
class InFields:
    """Where the images of a set lie: `places` in the order of the manifest, None for nowhere."""

    folder: Path
    names: tuple[str, ...]  # of the fields, relative to their folder; a place has its number here
    copies: tuple[tuple[str, str], ...]  # a field, and the one that is the same file
    problems: tuple[Problem, ...]  # fields that cannot be read
    places: tuple[FieldPlace | None, ...]

    @property
    def found(self) -> list[FieldPlace]:
        """The places that were found."""
        return [place for place in self.places if place is not None]


def place_in_fields(
    manifest: Manifest, folder: Path, gap: float, step: Step
) -> tuple[Manifest, InFields]:
    """Find each image in the fields of a folder, by its pixels.

    Args:
        gap: minutes between two pictures that part sessions.
        step: called with the pictures done and their number.

    Returns:
        The manifest with the field of each image that was found, and with the sessions that follow
        from the fields' EXIF where no other domain is named; and the places.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    fields = _read_fields(folder)
    places = find_in_fields(Pictures(manifest), fields, step)
    found = InFields(
        folder, tuple(fields.names), tuple(fields.copies), tuple(fields.problems), tuple(places)
    )
    records = []
    for record, place in zip(manifest, places, strict=True):
        if place is not None:
            exposure = fields.exposures[place.field] or record.exposure
            record = replace(record, field=fields.names[place.field], exposure=exposure)  # noqa: PLW2901
        records.append(record)
    if manifest.domains_source == SESSIONS:  # which are derived anew
        records = [replace(record, domain=None) for record in records]
    return with_sessions(replace(manifest, records=tuple(records)), gap), found


@dataclass
class _Fields(Sequence[RGB]):
    """The different pictures of a folder, decoded on access."""

    files: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    exposures: list[Exposure | None] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> RGB:  # type: ignore[override]
        file, name = self.files[number], self.names[number]
        try:
            return decode(read_image_bytes(file), str(file)).pixels
        except ImageError as error:
            if name not in {problem.path for problem in self.problems}:
                self.problems.append(Problem(name, str(error)))
            return _NOTHING


def _read_fields(folder: Path) -> _Fields:
    """Read camera and time of each picture; of equal files the first counts."""
    folder = folder.expanduser()
    if not folder.is_dir():
        raise DataError(f"--fields {folder}: there is no such folder")
    fields, first = _Fields(), dict[str, str]()
    for file in list_images(folder).files:
        name = plain_path(file.relative_to(folder).as_posix())
        try:
            data = read_image_bytes(file)
        except ImageError as error:
            fields.problems.append(Problem(name, str(error)))
            continue
        if (same := first.setdefault(sha256_hex(data), name)) != name:
            fields.copies.append((name, same))
            continue
        fields.files.append(file)
        fields.names.append(name)
        fields.exposures.append(exposure_of(data))
    if not fields.files:
        raise DataError(f"--fields {folder}: no image lies in or below that folder")
    return fields


def sharing(manifest: Manifest) -> int:
    """Return how many images share their field with another one."""
    counts = Counter(record.field for record in manifest if record.field)
    return sum(count for count in counts.values() if count > 1)
