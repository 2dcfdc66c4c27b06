"""List the image files below a folder, and count what is left out."""

import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from alld.images.formats import IMAGE_SUFFIXES

# What may lie beside images without a word: nobody takes it for a picture.
_DOCUMENTS = {
    *(".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xls", ".xlsx", ".xml", ".yaml", ".yml"),
    *(".docx", ".htm", ".html", ".md", ".pdf", ".txt"),
    *(".xyc", ".geojson"),  # where the cells of a field are
    *(".db", ".ini", ".log", ".py", ".sha256"),
}
_LINK = "linked folder"


@dataclass
class Listing:
    """The image files below some folders, and the number of files left out, by kind."""

    files: list[Path] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def warning(self) -> str | None:
        """`5 files not read: 4 .heic, 1 linked folder`, or None."""
        return unread_line(self.unread)


def unread_line(unread: Counter[str]) -> str | None:
    """Return the line about files left out, or None where there are none."""
    if not unread:
        return None
    kinds = ", ".join(
        f"{count} {kind}{'s' if kind == _LINK and count > 1 else ''}"
        for kind, count in sorted(unread.items(), key=lambda item: (item[0] == _LINK, item[0]))
    )
    total = unread.total()
    return f"{total} {'file' if total == 1 else 'files'} not read: {kinds}"


def list_images(root: Path) -> Listing:
    """Return all files below `root` with the suffix of an image, sorted.

    Links to folders are followed, each folder once: a link to one that was listed already, or that
    holds such a one, is left out. A folder that cannot be read is listed as well, so that reading
    it raises the error.
    """
    listing = Listing()
    for path in _all_files(root, listing.unread):
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES or path.is_dir():
            listing.files.append(path)
        elif suffix not in _DOCUMENTS:
            listing.unread[suffix or "without a suffix"] += 1
    return listing


def list_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files below `root` with one of these suffixes, as `list_images` does."""
    return [path for path in _all_files(root, Counter()) if path.suffix.lower() in suffixes]


def _all_files(root: Path, unread: Counter[str]) -> list[Path]:
    """The files that are not hidden, and folders that cannot be read."""
    found: list[Path] = []
    listed: list[Path] = []  # folders, without any link in their names
    waiting = [root]
    while waiting:
        links: list[Path] = []
        for top in waiting:
            real = Path(os.path.realpath(top))
            if any(real.is_relative_to(one) or one.is_relative_to(real) for one in listed):
                unread[_LINK] += 1
                continue
            listed.append(real)
            _walk(top, found, links)
        waiting = sorted(links)
    return sorted(found, key=lambda path: path.relative_to(root).parts)


def _walk(top: Path, found: list[Path], links: list[Path]) -> None:
    """Append the files below a folder, and the links to folders there."""

    def unreadable(error: OSError) -> None:
        found.append(Path(error.filename))

    for place, folders, names in os.walk(top, onerror=unreadable):
        inner, files = (_visible(place, some) for some in (folders, names))
        links += [path for path in inner if path.is_symlink()]
        folders[:] = [path.name for path in inner if not path.is_symlink()]
        found += files


def _visible(place: str, names: Iterable[str]) -> list[Path]:
    return [Path(place, name) for name in names if not name.startswith(".")]
