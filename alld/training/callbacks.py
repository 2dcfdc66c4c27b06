"""Act around the training loop: seeds, frozen batch norm, losses, signals."""

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException
from torch import Tensor

from alld.errors import RunError
from alld.runtime.files import one_line
from alld.runtime.signals import Stopping
from alld.training.checkpoints import EpochRecord
from alld.training.distributed import gather, process_count, total
from alld.training.phases import Phase


@dataclass(frozen=True)
class Progress:
    """Where a training is, after a batch or an epoch."""

    phase: str
    epoch: int  # from 1, over both phases
    epochs: int
    batch: int  # from 1, training and validation batches of this epoch
    batches: int
    train_loss: float | None
    valid_loss: float | None
    valid_accuracy: float | None
    seconds_left: float | None
    epoch_done: bool


Notify = Callable[[Progress], None]


class DivergedError(RunError):
    """The loss is infinite or not a number; `facts` go into run.json."""

    everywhere = True

    # A task of a cluster rebuilds the error from its message alone.
    def __init__(self, message: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.facts = facts


class EpochSeed(Callback):  # type: ignore[misc]
    """Seed every generator from (seed, epoch), so that an epoch is the same after a resume."""

    order = -20

    def __init__(self, seed: int, phase: Phase) -> None:
        self.seed, self.phase = seed, phase

    def before_epoch(self) -> None:
        key = f"{self.seed}/{self.phase.first_epoch + self.epoch}"
        value = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4])
        random.seed(value)
        np.random.seed(value)
        torch.manual_seed(value)
        self.dls.train.rng = random.Random(value)


class FrozenBody(Callback):  # type: ignore[misc]
    """Keep the frozen body's batch norm in evaluation mode: frozen means frozen."""

    order = 0  # after fastai has put the whole model into training mode

    def before_train(self) -> None:
        self.model[0].eval()


class Journal(Callback):  # type: ignore[misc]
    """Compute the exact losses and accuracy, as means over images, and report them.

    Sums stay on the device: the host and a GPU wait for each other only every `BATCHES` batches.
    """

    order = 55
    NAMED = 3  # images of a batch with a broken loss that the error names
    BATCHES = 8

    def __init__(
        self, phase: Phase, epochs: int, history: list[EpochRecord], notify: Notify
    ) -> None:
        self.phase, self.epochs, self.history, self.notify = phase, epochs, history, notify

    def before_epoch(self) -> None:
        device = self.dls.device
        self.losses: list[Tensor] = []  # of the training batches, each () on the device
        # Sum of the loss over images, in training and in validation; Metal lacks float64.
        number = torch.float32 if device.type == "mps" else torch.float64
        self.sums = {part: torch.zeros((), dtype=number, device=device) for part in (True, False)}
        self.seen = {True: 0, False: 0}
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.batch, self.checked, self.validated = 0, 0, False
        self.began = time.monotonic()
        self.batches = len(self.dls.train) + len(self.dls.valid)

    def after_batch(self) -> None:
        loss, images = self.loss.detach(), len(self.y)
        if self.training:
            images = self.dls.train.images_in(self.iter)
            self.losses.append(loss)
        else:
            self.hits += (self.pred.argmax(dim=1) == self.y).sum()
        self.sums[self.training] += loss * images
        self.seen[self.training] += images
        self.batch += 1
        if self.dls.device.type == "cpu" or self.batch % self.BATCHES == 0:
            self._check()
            self.notify(self._progress(epoch_done=False))

    def after_train(self) -> None:
        self._check()

    def after_validate(self) -> None:
        self.validated = True
        if process_count() > 1:
            own = [float(self.sums[False]), self.seen[False], int(self.hits)]
            loss, seen, hits = total(torch.tensor(own, dtype=torch.float64))
            self.sums[False], self.seen[False], self.hits = loss, int(seen), hits

    def after_epoch(self) -> None:
        if not self.validated:  # stopped, or skipped because it was done before a resume
            return
        loss, accuracy = self._mean(False), int(self.hits) / self.seen[False]
        if not np.isfinite(loss):  # the last step broke the weights: they are not kept
            self._diverged(len(self.losses) - 1, "the validation loss after it", loss)
        seconds = round(time.monotonic() - self.began, 3)
        self.history.append(
            EpochRecord(self._epoch, self.phase.name, self._mean(True), loss, accuracy, seconds)
        )
        self.notify(self._progress(epoch_done=True))

    @property
    def _epoch(self) -> int:
        return self.phase.first_epoch + int(self.epoch) + 1

    def _mean(self, training: bool) -> float:
        return float(self.sums[training]) / self.seen[training]

    def _check(self) -> None:
        """Stop at the first loss that is not finite, of those that were not checked yet."""
        new = self.losses[self.checked :]
        for batch, loss in enumerate(torch.stack(new).tolist() if new else [], self.checked):
            if not np.isfinite(loss):
                self._diverged(batch, "the training loss", loss)
        self.checked = len(self.losses)

    def _diverged(self, batch: int, which: str, loss: float) -> NoReturn:
        files = self.dls.train.files_of(batch)
        named = ", ".join(map(one_line, files[: self.NAMED]))
        more = f" and {len(files) - self.NAMED} more" * (len(files) > self.NAMED)
        raise DivergedError(
            f"epoch {self._epoch}, batch {batch + 1}: {which} is {loss}; lower train.max_lr, or "
            f"look at its images ({named}{more})",
            {"epoch": self._epoch, "batch": batch + 1, "loss": str(loss), "files": files},
        )

    def _progress(self, *, epoch_done: bool) -> Progress:
        validated = self.seen[False]
        return Progress(
            phase=self.phase.name,
            epoch=self._epoch,
            epochs=self.epochs,
            batch=self.batch,
            batches=self.batches,
            train_loss=self._mean(True) if self.seen[True] else None,
            valid_loss=self._mean(False) if validated else None,
            valid_accuracy=int(self.hits) / validated if validated else None,
            seconds_left=self._seconds_left(),
            epoch_done=epoch_done,
        )

    def _seconds_left(self) -> float | None:
        """From this epoch's pace; None while only the frozen phase, which is faster, was seen."""
        if not self.batch or self.phase.first_epoch + self.phase.epochs < self.epochs:
            return None
        spent = time.monotonic() - self.began
        return spent * self.batches / self.batch * (self.epochs - self._epoch + 1) - spent


class StopOnSignal(Callback, Stopping):  # type: ignore[misc]
    """Stop between two batches at Ctrl-C or SIGTERM; a second signal stops at once.

    It is entered around a training and the saving of its model, and is a callback of its fits. All
    processes of one training stop at the same batch if a signal has reached one of them.
    """

    order = 70

    def __init__(self) -> None:
        Stopping.__init__(self)
        self._any: int | None = None  # the signal that any process has received

    @property
    def signal_number(self) -> int | None:
        return self._received if self._received is not None else self._any

    def should_stop(self) -> bool:
        """Return whether to stop; all processes must ask at the same place."""
        self._any = max(number or 0 for number in gather(self.signal_number)) or None
        return self._any is not None

    def before_batch(self) -> None:
        # Processes may have unequally many batches of validation: none waits for others there.
        if (self.training or process_count() == 1) and self.should_stop():
            raise CancelFitException

    def after_epoch(self) -> None:
        if self.should_stop():
            raise CancelFitException
