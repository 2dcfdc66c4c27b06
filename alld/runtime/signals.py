"""Ctrl-C and SIGTERM as a wish that work grants at its next good place; the second one is none."""

import signal
from types import FrameType
from typing import Any, Self

from alld.errors import Interrupted


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal: not even what is under way is finished."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


class Stopping:
    """A context manager around work that can stop at certain places only.

    `signal_number` tells what came, if anything. Nothing is interrupted by the first signal:
    whoever works looks at it. A second one raises StoppedAtOnce, which leaves as Interrupted.
    """

    def __init__(self) -> None:
        self._own: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._former[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread: its owner handles signals
                break
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if isinstance(error, StoppedAtOnce):
            raise Interrupted("stopped at once", error.exit_status) from error

    @property
    def signal_number(self) -> int | None:
        """What has come, if anything."""
        return self._own

    @property
    def name_of_signal(self) -> str:
        return "Ctrl-C" if self.signal_number == signal.SIGINT else "SIGTERM"

    @property
    def exit_status(self) -> int:
        """What a shell reports of a command that this signal ended."""
        return 128 + (self.signal_number or 0)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._own is not None:
            raise StoppedAtOnce(number)
        self._own = number
