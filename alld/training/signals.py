"""Ctrl-C and SIGTERM stop a training between two batches; a second one stops it at once."""

import signal
from types import FrameType
from typing import Any

from fastai.callback.core import Callback, CancelFitException

from alld.training.ranks import highest, size


class StoppedAtOnce(KeyboardInterrupt):
    """The second signal: not even this batch is finished."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


class StopOnSignal(Callback):  # type: ignore[misc]
    """A context manager around a training and the saving of its model, and a callback of its fits.

    `signal_number` tells what came, if anything. Nothing is interrupted in the middle by the first
    signal: whoever saves looks at it afterwards. Several processes stop at the same batch, if a
    signal has reached one of them.
    """

    order = 70

    def __init__(self) -> None:
        self._own: int | None = None
        self._told: int | None = None  # what came to any of several processes
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
    def signal_number(self) -> int | None:
        return self._own if self._own is not None else self._told

    @property
    def name_of_signal(self) -> str:
        return "Ctrl-C" if self.signal_number == signal.SIGINT else "SIGTERM"

    @property
    def exit_status(self) -> int:
        """What a shell reports of a command that this signal ended."""
        return 128 + (self.signal_number or 0)

    def heard(self) -> bool:
        """Whether to stop; all processes have to ask at the same place."""
        self._told = highest(self.signal_number or 0) or None
        return self._told is not None

    def before_batch(self) -> None:
        # Parts of the validation images may have unlike numbers of batches: nobody waits there.
        if (self.training or size() == 1) and self.heard():
            raise CancelFitException

    def after_epoch(self) -> None:
        if self.heard():
            raise CancelFitException

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._own is not None:
            raise StoppedAtOnce(number)
        self._own = number
