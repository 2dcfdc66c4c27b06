"""Keep results that depend on a set alone in the user's cache folder, under its fingerprint."""

import os
from pathlib import Path
from typing import Any

import platformdirs

from alld.runtime.files import write_json
from alld.runtime.reading import read_json


def cache_folder() -> Path:
    """Return ALLD's folder in the user's cache, or the one that `ALLD_CACHE` names."""
    own = os.environ.get("ALLD_CACHE") or platformdirs.user_cache_dir("alld", appauthor=False)
    return Path(own)


def cache_file(kind: str, fingerprint: str, version: int) -> Path:
    """Return the file of one result."""
    return cache_folder() / kind / f"{fingerprint}-v{version}.json"


def read_cached(file: Path) -> Any:
    """Return the content, or None where there is no file or it is not JSON."""
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def write_cached(file: Path, content: Any) -> None:
    """Write `content`; a cache that cannot be written only costs the next run some time."""
    try:
        write_json(file, content)
    except OSError:
        return
