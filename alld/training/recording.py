"""Record a training: how it ended in run.json, its course in TensorBoard or Weights & Biases.

A tracker gets losses, accuracy, rates and settings: no weights, images, predictions or file names.
Without `runtime.log` neither is imported.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from uuid import uuid4

from fastai.callback.core import Callback
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy

from alld.config.schema import Config
from alld.errors import ConfigError, Interrupted, RunError, out_of_memory
from alld.runs.folder import Run
from alld.runtime.files import one_line
from alld.runtime.signals import StoppedAtOnce
from alld.training.callbacks import DivergedError, StopOnSignal
from alld.training.distributed import leads, lost, process_count
from alld.training.learner import MakeCallbacks

PROJECT = "alld"  # of Weights & Biases


@contextmanager
def ending(run: Run, config: Config) -> Iterator[None]:
    """Record in run.json how the block ended and how long it took.

    Raises:
        Interrupted: in place of a KeyboardInterrupt, with the status of its signal.
        RunError: in place of an error of the disk, of memory that ran out, or of a process that
            is gone.
    """
    began, before = time.monotonic(), run.info["seconds"] if leads() else 0.0

    def record(state: str, status: int, **facts: object) -> None:
        seconds = round(before + time.monotonic() - began, 1)
        if leads():
            run.update(state=state, exit=status, seconds=seconds, **facts)

    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        explained = _explain(error, run, config)
        stopped = isinstance(explained, Interrupted) or lost(error)
        facts = getattr(error, "facts", None)
        with suppress(OSError, RunError):  # the disk, or run.json, may be gone
            record(
                "interrupted" if stopped else "failed",
                getattr(explained, "exit_status", 1),
                **({"failure": facts} if facts else {}),
            )
        if explained is error:
            raise
        raise explained from error
    record("finished", 0)


def interrupted(run: Run, epochs_done: int, stop: StopOnSignal) -> Interrupted:
    """Return the error of a training that a signal has stopped between two batches."""
    whole = "1 whole epoch" if epochs_done == 1 else f"{epochs_done} whole epochs"
    message = f"stopped by {stop.name_of_signal} after {whole}; {_go_on(run)}"
    return Interrupted(message, stop.exit_status)


def smaller(config: Config) -> str:
    """Return what to change after memory ran out."""
    batch = config.train.batch_size
    if batch < 4:
        return f"out of memory with batches of {batch}; try --image-size 160 or a smaller --arch"
    return (
        f"out of memory with batches of {batch} images of {config.data.image_size} px; "
        f"train anew with --batch-size {batch // 2}"
    )


def _go_on(run: Run) -> str:
    if (count := process_count()) > 1:
        again = f"go on with {count} processes again"
        return f"{again}: torchrun ... -m alld train --resume {run.folder}"
    return f"go on with: alld train --resume {run.folder}"


def _explain(error: BaseException, run: Run, config: Config) -> BaseException:
    """Return an error that says what to change and how to go on."""
    if isinstance(error, KeyboardInterrupt):
        status = error.exit_status if isinstance(error, StoppedAtOnce) else 130
        return Interrupted(f"stopped at once; {_go_on(run)}", status)
    if lost(error):
        return RunError(f"another process of this training is gone; {_go_on(run)}").from_all()
    if out_of_memory(error):
        return RunError(f"{smaller(config)}; or, with more memory free, {_go_on(run)}")
    if isinstance(error, DivergedError):
        kept = "the checkpoints of the epochs before are kept"
        error.message += f"; {run.folder / 'run.json'} names all of them; {kept}"
    elif isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        place, reason = error.filename or run.folder, error.strerror or error
        return RunError(f"{place}: {reason}; once that is mended, {_go_on(run)}")
    return error


def check_tracker(name: str) -> None:
    """Refuse a tracker that is not installed, before anything is done.

    Args:
        name: `runtime.log`.

    Raises:
        ConfigError: with the command that installs it.
    """
    if name != "none" and find_spec(name) is None:
        raise ConfigError(f"runtime.log: {name} is not installed: pip install {name}")


@contextmanager
def tracking(run: Run, config: Config) -> Iterator[MakeCallbacks]:
    """Yield what makes the callbacks of a fit's tracker, by default none.

    Raises:
        ConfigError: Weights & Biases does not begin, for want of an account for example.
    """
    name = config.runtime.log
    if name == "none" or not leads():
        yield lambda _learner, _epochs: []
    elif name == "tensorboard":
        yield lambda learner, epochs: [*_recorder(learner), _tensorboard(run, learner, epochs)]
    else:
        with _wandb_run(run, config):
            yield lambda learner, epochs: [*_recorder(learner), _wandb(learner, epochs)]


def _recorder(learner: Learner) -> list[Callback]:
    # Both trackers read from it; without them it stays out, as it waits for the device.
    learner.metrics = [accuracy]
    return [Recorder()]


def _tensorboard(run: Run, learner: Learner, epochs: int) -> Callback:
    from fastai.callback.tensorboard import TensorBoardCallback

    first = epochs * len(learner.dls.train)

    class Board(TensorBoardCallback):  # type: ignore[misc]
        """Continues the count of the phase, or the process, before it."""

        def before_fit(self) -> None:
            super().before_fit()
            self.learn.train_iter = first

    folder = str(run.folder / "tensorboard")
    return Board(log_dir=folder, trace_model=False, log_preds=False)


def _wandb(learner: Learner, epochs: int) -> Callback:
    from fastai.callback.wandb import WandbCallback

    first = epochs * len(learner.dls.train)
    # fastai would search all objects for settings and their folders; ours are those of the run.
    learner.gather_args = dict

    class Account(WandbCallback):  # type: ignore[misc]
        """Continues the count of the phase, or the process, before it."""

        def before_fit(self) -> None:
            super().before_fit()
            self._wandb_step = max(self._wandb_step, first - 1)  # type: ignore[has-type]
            self._wandb_epoch = epochs

    return Account(log=None, log_preds=False, log_model=False, log_dataset=False)


@contextmanager
def _wandb_run(run: Run, config: Config) -> Iterator[None]:
    import wandb

    identity = run.info.get("tracked") or uuid4().hex[:12]
    run.update(tracked=identity)
    places = {"data": {"root"}, "split": {"groups"}, "model": {"weights"}}
    settings = config.model_dump(mode="json", exclude=places)
    try:
        begun = wandb.init(
            project=PROJECT,
            id=identity,
            resume="allow",
            name=run.folder.name,
            group=run.folder.parent.parent.name if config.split.fold is not None else None,
            dir=str(run.folder),
            config={**settings, "synthetic": run.info["data"]["synthetic"]},
            # Nothing of the machine, the code or the terminal, which show names of files.
            settings=wandb.Settings(
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
            ),
        )
    except wandb.errors.Error as error:
        reason = one_line(" ".join(str(error).split()))
        advice = "log in with `wandb login`, or set WANDB_MODE=offline"
        raise ConfigError(f"runtime.log: wandb does not begin ({reason}); {advice}") from error
    ended = 1
    try:
        yield
        ended = 0
    finally:
        begun.finish(exit_code=ended)
