"""Ctrl-C and SIGTERM stop a training between two batches; a second one stops it at once."""

import signal
from types import FrameType
from typing import Any

from fastai.callback.core import Callback, CancelFitException


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal: not even this batch is finished."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


class StopOnSignal(Callback):  # type: ignore[misc]
    """A context manager around a training and the saving of its model, and a callback of its fits.

    `signal_number` tells what came, if anything. Nothing is interrupted in the middle by the first
    signal: whoever saves looks at it afterwards.
    """

    order = 70

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopOnSignal":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._former[number] = signal.signal(number, self._note)
            except ValueError:  # not the main thread: its owner handles signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def name_of_signal(self) -> str:
        return "Ctrl-C" if self.signal_number == signal.SIGINT else "SIGTERM"

    @property
    def exit_status(self) -> int:
        """What a shell reports of a command that this signal ended."""
        return 128 + (self.signal_number or 0)

    def before_batch(self) -> None:
        if self.signal_number is not None:
            raise CancelFitException

    def after_epoch(self) -> None:
        if self.signal_number is not None:
            raise CancelFitException

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise StoppedAtOnce(number)
        self.signal_number = number
