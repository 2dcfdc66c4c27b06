"""Stop work at its next safe point after the first Ctrl-C or SIGTERM, at once after the second."""

import signal
from types import FrameType
from typing import Any, Self

from alld.errors import Interrupted


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal has arrived: the step under way is not finished."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


class Stopping:
    """A context manager around work that can stop only at safe points.

    The first signal interrupts nothing: the work has to check `signal_number`. The second one
    raises StoppedAtOnce, which leaves the block as Interrupted.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._handlers[number] = signal.signal(number, self._receive)
            except ValueError:  # not the main thread: its owner handles signals
                break
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if isinstance(error, StoppedAtOnce):
            raise Interrupted("stopped at once", error.exit_status) from error

    @property
    def signal_number(self) -> int | None:
        """The first signal that arrived, or None."""
        return self._received

    @property
    def name_of_signal(self) -> str:
        return "Ctrl-C" if self.signal_number == signal.SIGINT else "SIGTERM"

    @property
    def exit_status(self) -> int:
        """The status that a shell reports for a command ended by this signal."""
        return 128 + (self.signal_number or 0)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            raise StoppedAtOnce(number)
        self._received = number
