"""The 260 images that the authors of ALL-IDB2 give out, known by their hashes."""

from collections.abc import Sequence
from importlib import resources

from alld.data.manifest import ImageRecord, differing


def original_hashes() -> dict[str, str]:
    """File name to SHA-256 of the 260 images that the authors of ALL-IDB2 give out."""
    text = (
        resources.files("alld.data.sources").joinpath("all_idb2.sha256").read_text(encoding="ascii")
    )
    pairs = (line.split() for line in text.splitlines())
    return {name: sha256 for sha256, name in pairs}


def deviation(records: Sequence[ImageRecord]) -> str:
    """How a set differs from it, in words: what is missing, changed or unknown; empty if not."""
    known = original_hashes()
    here = {record.path: record.sha256 for record in records}
    return differing(known, here)
