"""Around the training loop: seeds, frozen batch norm, the journal, checkpoints, stopping."""

import hashlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException

from alld.errors import RunError
from alld.training.checkpoints import EpochRecord, save_checkpoint
from alld.training.phases import Phase


@dataclass(frozen=True)
class Progress:
    """Where a training is, after every batch and every epoch."""

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


class EpochSeed(Callback):  # type: ignore[misc]
    """Seeds every generator from (seed, epoch), so that an epoch is the same after a resume."""

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
    """Keeps the frozen body's batch norm in evaluation mode: frozen means frozen."""

    order = 0  # after fastai has put the whole model into training mode

    def before_train(self) -> None:
        self.model[0].eval()


class Journal(Callback):  # type: ignore[misc]
    """Counts losses and hits exactly (means over images) and tells the caller after every batch."""

    order = 55

    def __init__(
        self,
        phase: Phase,
        epochs: int,
        history: list[EpochRecord],
        notify: Callable[[Progress], None],
    ) -> None:
        self.phase, self.epochs, self.history, self.notify = phase, epochs, history, notify

    def before_epoch(self) -> None:
        self.sums = {True: 0.0, False: 0.0}  # loss over images; True: training
        self.seen = {True: 0, False: 0}
        self.hits, self.batch, self.began = 0, 0, time.monotonic()
        self.batches = len(self.dls.train) + len(self.dls.valid)

    def after_batch(self) -> None:
        images = len(self.y)
        loss = float(self.loss.detach())
        if self.training and not np.isfinite(loss):
            raise RunError(self._diverged(loss))
        self.sums[self.training] += loss * images
        self.seen[self.training] += images
        if not self.training:
            self.hits += int((self.pred.argmax(dim=1) == self.y).sum())
        self.batch += 1
        self.notify(self._progress(epoch_done=False))

    def after_epoch(self) -> None:
        if self.batch < self.batches:  # skipped because it was done before a resume, or stopped
            return
        self.history.append(
            EpochRecord(
                epoch=self._epoch,
                phase=self.phase.name,
                train_loss=self.sums[True] / self.seen[True],
                valid_loss=self.sums[False] / self.seen[False],
                valid_accuracy=self.hits / self.seen[False],
                seconds=round(time.monotonic() - self.began, 3),
            )
        )
        self.notify(self._progress(epoch_done=True))

    @property
    def _epoch(self) -> int:
        return self.phase.first_epoch + int(self.epoch) + 1

    def _progress(self, *, epoch_done: bool) -> Progress:
        trained, validated = self.seen[True], self.seen[False]
        return Progress(
            phase=self.phase.name,
            epoch=self._epoch,
            epochs=self.epochs,
            batch=self.batch,
            batches=self.batches,
            train_loss=self.sums[True] / trained if trained else None,
            valid_loss=self.sums[False] / validated if validated else None,
            valid_accuracy=self.hits / validated if validated else None,
            seconds_left=self._seconds_left(),
            epoch_done=epoch_done,
        )

    def _seconds_left(self) -> float | None:
        """From this epoch's pace; None while only the frozen phase, which is faster, was seen."""
        later = self.epochs - self.phase.first_epoch - self.phase.epochs
        if not self.batch or later:
            return None
        per_epoch = (time.monotonic() - self.began) * self.batches / self.batch
        return per_epoch * (self.epochs - self._epoch + 1) - (time.monotonic() - self.began)

    def _diverged(self, loss: float) -> str:
        return (
            f"epoch {self._epoch}, batch {self.batch + 1}: the training loss is {loss}; "
            "lower train.max_lr; the checkpoints of the epochs before are kept"
        )


class SaveEpoch(Callback):  # type: ignore[misc]
    """A checkpoint at the end of every epoch."""

    order = 60

    def __init__(self, folder: Path, history: list[EpochRecord], *, keep_best: bool) -> None:
        self.folder, self.history, self.keep_best = folder, history, keep_best

    def before_epoch(self) -> None:
        self.before = len(self.history)

    def after_epoch(self) -> None:
        if len(self.history) == self.before:
            return
        losses = [record.valid_loss for record in self.history]
        best = self.keep_best and losses[-1] == min(losses)
        save_checkpoint(self.folder, self.model, self.opt, self.history, best=best)


class StopOnSignal(Callback):  # type: ignore[misc]
    """Ctrl-C and SIGTERM stop at the next batch; a second one stops at once.

    Use it as a context manager around the training; `signal_number` tells what came, if anything.
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

    def before_batch(self) -> None:
        if self.signal_number is not None:
            raise CancelFitException

    def after_epoch(self) -> None:
        if self.signal_number is not None:
            raise CancelFitException

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is not None:
            raise KeyboardInterrupt
        self.signal_number = number
