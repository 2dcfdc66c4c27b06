"""Know the 260 images of ALL-IDB2: their hashes, and where and when each was photographed."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources

from alld.data.manifest import Exposure


@dataclass(frozen=True)
class KnownCrop:
    """A crop of ALL-IDB2, and its upper left corner (px) in the field of ALL-IDB1 that it shows."""

    name: str  # Im001_1.tif
    sha256: str
    field: str  # Im001_1
    x: int
    y: int
    exposure: Exposure


@cache
def known_crops() -> tuple[KnownCrop, ...]:
    """Return the 260 crops that the authors of ALL-IDB2 distribute; two of them are equal.

    Each was found in its field by its pixels, which are equal to the bit. Camera and time are those
    in the field's EXIF.
    """
    file = resources.files("alld.data.sources").joinpath("all_idb2.csv")
    return tuple(
        KnownCrop(
            row["crop"],
            row["sha256"],
            row["field"],
            int(row["x"]),
            int(row["y"]),
            Exposure(row["camera"], datetime.fromisoformat(row["taken"])),
        )
        for row in csv.DictReader(file.read_text(encoding="ascii").splitlines())
    )


@cache
def crops_by_hash() -> Mapping[str, KnownCrop]:
    """Return a crop of each content by its SHA-256; equal ones are of one time."""
    return {crop.sha256: crop for crop in known_crops()}
