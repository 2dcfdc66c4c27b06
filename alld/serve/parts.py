"""The parts of the page by their paths: files beside this one, served as they are."""

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def _paths() -> dict[str, Path]:
    files = sorted(file for file in FOLDER.iterdir() if file.suffix in _TYPES)
    return {"/" if file.suffix == ".html" else f"/{file.name}": file for file in files}


PARTS = _paths()


@cache
def part(path: str) -> tuple[bytes, str]:
    """The content and the media type of one of `PARTS`."""
    file = PARTS[path]
    return file.read_bytes(), f"{_TYPES[file.suffix]}; charset=utf-8"
