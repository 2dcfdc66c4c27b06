"""Predict shards in this process, in several processes of this computer, or as Ray tasks."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from alld.errors import RunError
from alld.inference.archives.parts import Parts
from alld.inference.archives.shard import Job, predict_shard
from alld.inference.inputs import Shard
from alld.runtime.cluster import Cluster
from alld.runtime.files import one_line

ATTEMPTS = 3  # at a shard during which its process died
POLL_SECONDS = 0.2  # in which a signal is noticed


def predict_here(
    job: Job, parts: Parts, shards: Iterable[Shard], progress: Callable[[int], None]
) -> None:
    """Predict one shard after another in this process."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(done)

    for shard in shards:
        predict_shard(job, parts, shard, count)


def predict_in_processes(
    workers: int, job: Job, parts: Parts, shards: Iterable[Shard], progress: Callable[[int], None]
) -> None:
    """Predict shards in so many processes; one that dies is replaced, and its shard begun again.

    Each process is an executor of its own: it can die without the others, and it is known of which
    shard. What `progress` raises ends all of them at once, as the death of this process does.

    Raises:
        AlldError, OSError: raised by `predict_shard`.
        RunError: three processes died during one shard.
    """
    context = get_context("spawn")
    rows = context.RawArray("Q", workers)  # done of the shard that each process works on
    lifeline, held = context.Pipe(duplex=False)
    pools: dict[int, ProcessPoolExecutor] = {}
    running: dict[Future[None], tuple[int, Shard, int]] = {}
    waiting = iter(shards)
    done = 0

    def submit(place: int, shard: Shard, attempt: int = 1) -> None:
        rows[place] = 0
        with _sheltered():
            try:
                future = pools[place].submit(_predict_counted, job, parts, shard)
            except (KeyError, BrokenProcessPool):
                begin = (_begin, (lifeline, rows, place))
                pools[place] = ProcessPoolExecutor(1, context, *begin)
                future = pools[place].submit(_predict_counted, job, parts, shard)
        running[future] = (place, shard, attempt)

    try:
        for place, shard in zip(range(workers), waiting, strict=False):
            submit(place, shard)
        while running:
            for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
                place, shard, attempt = running.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as error:
                    if attempt == ATTEMPTS:
                        raise _deadly(shard) from error
                    submit(place, shard, attempt + 1)
                    continue
                done, rows[place] = done + len(shard.paths), 0
                if following := next(waiting, None):
                    submit(place, following)
            progress(done + sum(rows))
    finally:
        held.close()
        for pool in pools.values():
            pool.shutdown(cancel_futures=True)


def predict_on_ray(
    cluster: Cluster,
    job: Job,
    parts: Parts,
    shards: Iterable[Shard],
    progress: Callable[[int], None],
) -> None:
    """Predict shards as tasks of a cluster whose machines all see images, model and parts.

    Raises:
        AlldError, OSError: raised by `predict_shard`.
        RunError: processes died again and again.
    """
    done = 0

    def poll() -> None:
        progress(done)

    calls = ((len(shard.paths), (job, parts, shard)) for shard in shards)
    for rows, _ in cluster.spread(predict_shard, calls, poll):
        done += rows
    poll()


def _deadly(shard: Shard) -> RunError:
    place = one_line(f"shard {shard.number}, from {shard.paths[0]} to {shard.paths[-1]}")
    return RunError(
        f"{place}: {ATTEMPTS} processes died of it; is there too little memory? With fewer "
        "--workers each has more"
    )


@contextmanager
def _sheltered() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach; they import nothing from the working folder."""
    masked = hasattr(signal, "pthread_sigmask")  # not on Windows
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masked else set()
    safe = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if safe is None:
            del os.environ["PYTHONSAFEPATH"]
        if masked:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)


# The shared counts and this process's place among them.
_rows: Any = None
_place = 0


def _begin(lifeline: Connection, rows: Any, place: int) -> None:
    """Prepare a new process."""
    global _rows, _place
    _rows, _place = rows, place
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    """End this process when its owner closes the other end, or dies."""
    with suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(1)


def _predict_counted(job: Job, parts: Parts, shard: Shard) -> None:
    def count() -> None:
        _rows[_place] += 1

    predict_shard(job, parts, shard, count)
