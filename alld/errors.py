"""Every error that a user can cause, in one tree.

    AlldError            exit status 2: the user must change something
    ├── ConfigError      a setting, an option or an architecture's name
    ├── DataError        a data set, a table of labels, a split
    ├── ImageError       one image file that cannot be read as a picture
    ├── BundleError      a trained model on disk that cannot be trusted or read
    └── RunError         a run folder, or a run that cannot go on
        └── Interrupted  stopped by a signal, resumable: 130 (Ctrl-C) or 143 (SIGTERM)

A message names the place, what was seen there, and what to do next; `cli` alone prints it.
"""

from typing import Self

# What the system, torch, CUDA and Metal say where memory is refused.
_NO_MEMORY = (
    "allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "can't start new thread",
)


class AlldError(Exception):
    """Something that the user can mend; `exit_status` is what the command line ends with.

    Where all processes of one training raise it `everywhere`, the first of them says it for all.
    """

    exit_status = 2
    everywhere = False

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        # fastai writes words of its own into the arguments of what its callbacks raise.
        return self.message

    def from_all(self) -> Self:
        """This error, as one that all processes raise."""
        self.everywhere = True
        return self


class ConfigError(AlldError):
    """A setting that is unknown, out of range, or does not fit the others."""


class DataError(AlldError):
    """A data set that is missing, incomplete, or contradicts itself."""


class ImageError(AlldError):
    """A file that is not a picture ALLD accepts; the message gives the reason."""


class BundleError(AlldError):
    """A model bundle that is damaged, altered, or from another version."""


class RunError(AlldError):
    """A run folder in a state that the wanted step cannot use."""


class Interrupted(RunError):  # noqa: N818 - not a fault: the run can go on
    """A run that a signal stopped between two batches and that can be resumed."""

    def __init__(self, message: str, exit_status: int = 130) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, that of the machine or of a GPU."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY)


def mishap(error: BaseException) -> str | None:
    """A full disk, missing rights or too little memory in one line; None for any other error."""
    if isinstance(error, OSError):
        return f"{error.filename or 'the output'}: {error.strerror or error}"
    if out_of_memory(error):
        reason = str(error).partition("\n")[0] or "the system gives no more"
        return f"out of memory ({reason}); free some, or take smaller batches or images"
    return None
