"""Know the domain of each image: the session, slide, scanner or site that it comes from.

A session is what one camera took in one sitting. Where no source names a domain, camera and time
tell the sessions: from the EXIF of a photograph, or for ALL-IDB2 from that of the field that a crop
was cut from. A model that saw one session of each class may have learnt the sessions.
"""

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from alld.data.manifest import LABEL_NAMES, Exposure, Manifest, Part
from alld.errors import DataError
from alld.runtime.files import cell

COLUMNS = ("domain", "session", "slide", "scanner", "site")  # of a table, in this order
SESSIONS, SETS = "by camera and time", "each --data"
EXIF_TIME = "%Y:%m:%d %H:%M:%S"
_EXIF_BYTES = 2**18  # at the beginning of a file; what lies behind does not count


def exposure_of(data: bytes) -> Exposure | None:
    """Return the camera and time in the EXIF of a photograph, or None where it has none."""
    if b"exif" not in data[:_EXIF_BYTES].lower() and data[:2] not in (b"II", b"MM"):
        return None
    try:
        # A damaged EXIF is not worth a line of Pillow's in the terminal.
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(data)) as image:
            exif = image.getexif()
            # Not DateTime: every program that saves a file anew writes its own.
            taken = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        camera = cell(" ".join(str(exif.get(ExifTags.Base.Model, "")).split()).strip("\0 "))
        return Exposure(camera or "camera", datetime.strptime(str(taken).strip("\0 "), EXIF_TIME))
    except Exception:  # whatever is wrong with an EXIF, the picture may still be read
        return None


def with_sessions(manifest: Manifest, gap: float) -> Manifest:
    """Return the manifest with a session for each image of known camera and time.

    Domains that the set names are kept, and sessions are not derived beside them.

    Args:
        gap: minutes without a picture after which a new session of the same camera begins.
    """
    if any(record.domain for record in manifest):
        return manifest
    exposures = sorted({record.exposure for record in manifest if record.exposure is not None})
    names: dict[Exposure, str] = {}
    name, before = "", None
    for exposure in exposures:
        same = before is not None and before.camera == exposure.camera
        if not (same and before and exposure.taken - before.taken <= timedelta(minutes=gap)):
            name = f"{exposure.camera} {exposure.taken:%Y-%m-%d %H:%M}"
        names[exposure], before = name, exposure
    if not names:
        return manifest
    records = tuple(
        replace(record, domain=names.get(record.exposure) if record.exposure else None)
        for record in manifest
    )
    return replace(manifest, records=records, domains_source=SESSIONS)


def joined(places: Sequence[Path], manifests: Sequence[Manifest]) -> Manifest:
    """Return the sets at some places as one, in which each is a domain, whatever it had itself."""
    home = Path(os.path.commonpath([manifest.root.resolve() for manifest in manifests]))
    names = _short([str(place.resolve().with_suffix("")) for place in places])
    records = [
        replace(record, path=os.path.relpath(manifest.file(index).resolve(), home), domain=name)
        for name, manifest in zip(names, manifests, strict=True)
        for index, record in enumerate(manifest)
    ]
    records = [replace(one, path=one.path.replace(os.sep, "/")) for one in records]
    return Manifest(
        root=home,
        kind="several sets",
        records=tuple(sorted(records, key=lambda record: record.path)),
        synthetic=any(manifest.synthetic for manifest in manifests),
        warnings=tuple(w for manifest in manifests for w in manifest.warnings),
        domains_source=SETS,
    )


def _short(names: Sequence[str]) -> list[str]:
    """The last parts of paths that tell them apart."""
    for parts in range(1, max(name.count(os.sep) for name in names) + 1):
        short = ["/".join(name.split(os.sep)[-parts:]) for name in names]
        if len(set(short)) == len(names):
            return short
    return list(names)


@dataclass(frozen=True)
class DomainTable:
    """How many images of each class every domain holds, by its name, sorted."""

    counts: Mapping[str, tuple[int, int]]  # healthy, blast
    unknown: int  # images of no known domain
    source: str

    @property
    def noun(self) -> str:
        """What a domain is: `session`, `set`, or as the column of a table says."""
        nouns = {SESSIONS: "session", SETS: "set"}
        return nouns.get(self.source, self.source.removeprefix("column "))

    @property
    def confounded(self) -> bool:
        """Whether each domain holds one class alone, so that it tells the class of its images."""
        known = [counts for counts in self.counts.values() if sum(counts)]
        classes = {healthy > 0 for healthy, _ in known}
        return not self.unknown and len(classes) == 2 and not any(map(all, known))

    def as_dict(self) -> dict[str, object]:
        """Return the table for JSON, a row for each domain."""
        rows = (
            {"name": name, **dict(zip(LABEL_NAMES, counts, strict=True))}
            for name, counts in self.counts.items()
        )
        return {
            "source": self.source,
            "noun": self.noun,
            "number": len(self.counts),
            "unknown": self.unknown,
            "confounded": self.confounded,
            "rows": list(rows),
        }


def domain_table(manifest: Manifest) -> DomainTable | None:
    """Count the images of each class in every domain; None where no domain is known."""
    counts = Counter((record.domain, record.label) for record in manifest)
    names = sorted({name for name, _ in counts if name})
    if not names:
        return None
    table = {name: (counts[name, 0], counts[name, 1]) for name in names}
    unknown = sum(record.domain is None for record in manifest)
    return DomainTable(table, unknown, manifest.domains_source)


@dataclass(frozen=True)
class Direction:
    """A training and its test: the domains whose images are tested; all others train."""

    tested: tuple[str, ...]

    @property
    def name(self) -> str:
        """The tested domains in one line."""
        return " and ".join(self.tested)


def pairings(manifest: Manifest) -> list[list[Direction]]:
    """Return how the images of a set can be tested by models that saw nothing of their domains.

    Where two domains or more hold both classes, each of these is tested once, by a model of all
    others. Where classes never meet in a domain, the domains of each class are sorted by name and
    cut into two sides of about as many images; a model is trained on one side of each class and
    tested on the others, in both pairings of sides, so in four directions.

    Returns:
        The directions of each pairing, which test no image twice.

    Raises:
        DataError: no such test is possible.
    """
    counts = Counter((record.domain, record.label) for record in manifest)
    if unknown := sum(record.domain is None for record in manifest):
        seen = f"{unknown} of {len(manifest)} images are of no known session or other domain"
        raise _no_test(manifest, f"{seen}; name it in a column of a table, such as session")
    names = sorted({record.domain for record in manifest if record.domain})
    mixed = [name for name in names if counts[name, 0] and counts[name, 1]]
    if len(mixed) > 1:
        return [[Direction((name,)) for name in mixed]]
    if mixed:
        seen = f"{mixed[0]} alone holds both classes"
        raise _no_test(manifest, f"{seen}; bring images of another such one")
    sides = []
    for label, kind in enumerate(LABEL_NAMES):
        own = [(name, count) for name in names if (count := counts[name, label])]
        if len(own) < 2:
            seen = f"all {kind} images come from {own[0][0] if own else 'no domain'}"
            raise _no_test(manifest, f"{seen}; bring {kind} images of another one")
        sides.append(_sides(own))
    (first, second), (third, fourth) = sides
    return [
        [Direction(second + fourth), Direction(first + third)],
        [Direction(first + fourth), Direction(second + third)],
    ]


def _no_test(manifest: Manifest, reason: str) -> DataError:
    return DataError(f"--split session: {manifest.root}: {reason}")


def _sides(counts: Sequence[tuple[str, int]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cut domains into two sides that differ least in their number of images."""
    sizes = np.cumsum([count for _, count in counts])
    cut = 1 + int(np.argmin(np.abs(sizes[-1] - 2 * sizes[:-1])))
    names = tuple(name for name, _ in counts)
    return names[:cut], names[cut:]


def direction_of(found: Sequence[Sequence[Direction]], seed: int, fold: int | None) -> Direction:
    """Return the direction of one fold of a repeat, or of one training where `fold` is None.

    Seeds take the pairings `found` in turn, and without a fold their directions.
    """
    if fold is None:
        every = [direction for pairing in found for direction in pairing]
        return every[seed % len(every)]
    return found[seed % len(found)][fold - 1]


def session_parts(manifest: Manifest, seed: int, fold: int | None) -> list[Part]:
    """Return test for the images of one direction and train for all others; see `pairings`."""
    tested = direction_of(pairings(manifest), seed, fold).tested
    return ["test" if record.domain in tested else "train" for record in manifest]
