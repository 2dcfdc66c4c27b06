"""One process at a time in a folder; a dead one's place is free."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alld.errors import RunError
from alld.runtime.files import clear_leftovers

LOCK = ".lock"


@contextmanager
def live(folder: Path, patience: float = 0) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go of it when the process dies.

    What a killed writer left half done is cleared away.

    Args:
        patience: seconds to wait for another process that is at work in it.

    Raises:
        RunError: another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=patience)
    try:
        lock.acquire()
    except Timeout as busy:
        reason = "another process is at work in it; wait for it, or stop it"
        raise RunError(f"{folder}: {reason}") from busy
    try:
        clear_leftovers(folder)
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            (folder / LOCK).unlink()
        lock.release()


def at_work(folder: Path) -> bool:
    """Whether a process holds a folder, as far as this user may ask."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False
