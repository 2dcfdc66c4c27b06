"""Pillow without its warnings: what a reader must know of a file, `decode` says itself."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence Pillow's warnings; the lock is there as Python's filters belong to all threads."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
