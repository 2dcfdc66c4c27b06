"""How a training ends: run.json says it, whatever it was, and an error says what to do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from alld.config.schema import Config
from alld.errors import Interrupted, RunError, out_of_memory
from alld.runs.folder import Run
from alld.runtime.signals import StoppedAtOnce
from alld.training.callbacks import DivergedError
from alld.training.ranks import leads, lost, size
from alld.training.signals import StopOnSignal


@contextmanager
def ending(run: Run, config: Config) -> Iterator[None]:
    """Record in run.json how the block ended and how long it took.

    Of several processes the leader alone records it.

    Raises:
        Interrupted: in place of a KeyboardInterrupt, with the status of its signal.
        RunError: in place of an error of the disk, or one that says that memory ran out or another
            process is gone.
    """
    leading = leads()
    began, before = time.monotonic(), run.info["seconds"] if leading else 0.0

    def record(state: str, status: int, **facts: object) -> None:
        seconds = round(before + time.monotonic() - began, 1)
        if leading:
            run.update(state=state, exit=status, seconds=seconds, **facts)

    try:
        yield
    except KeyboardInterrupt as error:
        status = error.exit_status if isinstance(error, StoppedAtOnce) else 130
        with suppress(OSError, RunError):
            record("interrupted", status)
        raise Interrupted(f"stopped at once; {_go_on(run)}", status) from error
    except Exception as error:
        said = _in_words(error, run, config)
        state = "interrupted" if isinstance(said, Interrupted) or lost(error) else "failed"
        facts = getattr(error, "facts", None)
        with suppress(OSError, RunError):  # the disk, or run.json, may be gone
            record(state, getattr(said, "exit_status", 1), **({"failure": facts} if facts else {}))
        if said is error:
            raise
        raise said from error
    record("finished", 0)


def interrupted(run: Run, epochs_done: int, stop: StopOnSignal) -> Interrupted:
    """What to raise where a signal has stopped the training between two batches."""
    whole = "1 whole epoch" if epochs_done == 1 else f"{epochs_done} whole epochs"
    said = f"stopped by {stop.name_of_signal} after {whole}; {_go_on(run)}"
    return Interrupted(said, stop.exit_status)


def _go_on(run: Run) -> str:
    if size() > 1:
        again = f"go on with {size()} processes again"
        return f"{again}: torchrun ... -m alld train --resume {run.folder}"
    return f"go on with: alld train --resume {run.folder}"


def _in_words(error: Exception, run: Run, config: Config) -> Exception:
    """What the user is told of an error: what to change, and how it goes on."""
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


def smaller(config: Config) -> str:
    """What to change where memory ran out."""
    batch = config.train.batch_size
    if batch < 4:
        return f"out of memory with batches of {batch}; try --image-size 160 or a smaller --arch"
    return (
        f"out of memory with batches of {batch} images of {config.data.image_size} px; "
        f"train anew with --batch-size {batch // 2}"
    )
