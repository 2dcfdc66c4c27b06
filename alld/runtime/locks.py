"""Let one process at a time work in a folder; locks of dead processes are released."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alld.errors import RunError
from alld.runtime.files import clear_leftovers

LOCK = ".lock"


@contextmanager
def live(folder: Path, patience: float = 0) -> Iterator[None]:
    """Lock a folder for this process, and clear away what a killed writer left half done.

    The system releases the lock when the process dies.

    Args:
        patience: seconds to wait for another process that works in the folder.

    Raises:
        RunError: another process works in it.
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
    """Return whether a process has locked a folder; True if this user may not find out."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False
