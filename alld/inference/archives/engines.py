"""Predict shards of an archive: here, in several processes of this computer, or as Ray tasks."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any, Self

from alld.errors import RunError
from alld.inference.archives.parts import Parts
from alld.inference.inputs import Shard
from alld.inference.prediction import COLUMNS, Prediction, Tally
from alld.inference.predictor import CPU_BATCH, Predictor
from alld.inference.rows import body
from alld.runtime.cluster import Cluster
from alld.runtime.files import one_line

ATTEMPTS = 3  # at a shard during which its process died
POLL_SECONDS = 0.2  # in which a signal is noticed


@dataclass(frozen=True)
class Job:
    """What all shards of an archive share; every process and machine can be sent it."""

    model: str  # run, bundle or exported file, as seen from `folder`
    identity: str
    device: str
    tta: bool
    abstain: bool
    threads: int  # that predict batches side by side; the rows do not depend on it
    table: str  # csv, jsonl or parquet
    folder: str  # that relative names begin in

    @classmethod
    def of(cls, predictor: Predictor, model: Path, table: str, **more: Any) -> Self:
        """Return the job that predicts as this predictor does, which was loaded from `model`."""
        return cls(
            model=str(model),
            identity=predictor.identity,
            device=predictor.device,
            tta=predictor.tta,
            abstain=predictor.abstain,
            threads=predictor.threads,
            table=table,
            folder=os.getcwd(),
            **more,
        )

    def part(
        self, predictor: Predictor, files: Iterable[Path], counted: Callable[[], None]
    ) -> tuple[bytes, Tally]:
        """Return the rows of some files, and their tally; `counted` is called after each file."""
        tally = Tally.empty()

        def predictions() -> Iterator[Prediction]:
            for prediction in tally.counting(predictor.iterate(files)):
                yield prediction
                counted()

        return body(predictions(), self.table, COLUMNS), tally

    def settings(self) -> dict[str, Any]:
        """Return what else can change the bytes of a part."""
        return {}


def predict_shard(
    job: Job, parts: Parts, shard: Shard, counted: Callable[[], None] = lambda: None
) -> None:
    """Predict the files of one shard and write its part; an unreadable file becomes a row.

    `counted` is called after each file.

    Raises:
        BundleError, RunError: there is no such model, or another one by now.
        OSError: the part cannot be written.
    """
    with chdir(job.folder):
        # A batch that is alone would be given all threads, and the rows would depend on them.
        threads = 1 if len(shard.paths) <= CPU_BATCH else job.threads
        predictor = _loaded(job.model, job.device, job.tta, job.abstain, threads)
        if predictor.identity != job.identity:
            raise RunError(f"{job.model}: is another model by now; give the command again")
        parts.write(shard.number, *job.part(predictor, map(Path, shard.paths), counted))


@lru_cache(maxsize=1)
def _loaded(model: str, device: str, tta: bool, abstain: bool, threads: int) -> Predictor:
    """Load the model, and keep it for the next shard of this process."""
    return Predictor.load(model, device, tta=tta, threads=threads, abstain=abstain)


def predict_here(
    job: Job, parts: Parts, shards: Iterable[Shard], progress: Callable[[int], None]
) -> None:
    """Predict one shard after another in this process."""
    numbers = count(1)
    for shard in shards:
        predict_shard(job, parts, shard, lambda: progress(next(numbers)))


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
                        name = f"shard {shard.number}, from {shard.paths[0]} to {shard.paths[-1]}"
                        raise RunError(
                            f"{one_line(name)}: {ATTEMPTS} processes died of it; is there too "
                            "little memory? With fewer --workers each has more"
                        ) from error
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
    def counted() -> None:
        _rows[_place] += 1

    predict_shard(job, parts, shard, counted)
