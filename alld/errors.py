"""The errors that a user can cause.

    AlldError            exit status 2: the user must change something
    ├── ConfigError      a setting, an option or an architecture's name
    ├── DataError        a data set, a table of labels, a split
    ├── ImageError       one image file that cannot be read as a picture
    ├── BundleError      a trained model on disk that cannot be trusted or read
    └── RunError         a run folder, or a run that cannot go on
        └── Interrupted  stopped by a signal, resumable: 130 (Ctrl-C) or 143 (SIGTERM)

A message names the place, what was found there and what to do next. Only `cli` prints it.
"""

from typing import Self

# Parts of the messages of the system, torch, CUDA and Metal when memory runs out.
_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "can't start new thread",
)


class AlldError(Exception):
    """An error that the user can correct; the command line ends with its `exit_status`.

    If `everywhere`, all processes of a training raise it, and only the first one prints it.
    """

    exit_status = 2
    everywhere = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        # fastai adds text to the arguments of exceptions that its callbacks raise.
        return self.message

    def from_all(self) -> Self:
        """Mark this error as one that all processes raise, and return it."""
        self.everywhere = True
        return self


class ConfigError(AlldError):
    """A setting that is unknown, out of range, or does not fit the others."""


class DataError(AlldError):
    """A data set that is missing, incomplete, or contradicts itself."""


class ImageError(AlldError):
    """An image file that ALLD does not accept; the message gives the reason."""


class BundleError(AlldError):
    """A model bundle that is damaged, altered, or from another version."""


class RunError(AlldError):
    """A run folder in the wrong state for this step."""


class Interrupted(RunError):  # noqa: N818 - not a fault: the run can go on
    """A run that a signal stopped between two batches and that can be resumed."""

    def __init__(self, message: str, exit_status: int = 130) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or a GPU ran out of memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)


def mishap(error: BaseException) -> str | None:
    """Describe a full disk, missing rights or too little memory; None for any other error."""
    if isinstance(error, OSError):
        return f"{error.filename or 'the output'}: {error.strerror or error}"
    if out_of_memory(error):
        reason = str(error).partition("\n")[0] or "the system gives no more"
        return f"out of memory ({reason}); free some, or take smaller batches or images"
    return None
