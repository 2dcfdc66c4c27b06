"""Ctrl-C and SIGTERM stop a training between two batches; a second one stops it at once."""

from fastai.callback.core import Callback, CancelFitException

from alld.runtime.signals import Stopping
from alld.training.ranks import highest, size


class StopOnSignal(Callback, Stopping):  # type: ignore[misc]
    """`Stopping` around a training and the saving of its model, and a callback of its fits.

    Several processes stop at the same batch, if a signal has reached one of them.
    """

    order = 70

    def __init__(self) -> None:
        Stopping.__init__(self)
        self._told: int | None = None  # what came to any of several processes

    @property
    def signal_number(self) -> int | None:
        return self._own if self._own is not None else self._told

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
