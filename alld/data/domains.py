"""Know the domain of each image: the session, slide, scanner or site that it comes from.

A session is what one camera took in one sitting. Where no source names a domain, camera and time
tell the sessions: from the EXIF of a photograph, or for ALL-IDB2 from that of the field that a crop
was cut from. A model that saw one session of each class may have learnt the sessions.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from PIL import ExifTags

from alld.data.manifest import LABEL_NAMES, Exposure, Manifest
from alld.images.formats import format_of
from alld.images.rgb import open_image, without_warnings
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
        image = open_image(data, format_of(data))
        with without_warnings():
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
        kinds = {(healthy > 0, blast > 0) for healthy, blast in self.counts.values()}
        return not self.unknown and kinds == {(True, False), (False, True)}

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
