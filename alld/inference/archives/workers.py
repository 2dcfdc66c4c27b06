"""Processes that judge shards; one that dies is replaced, and its shard is begun again."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import alld
from alld.errors import RunError
from alld.inference.archives.shard import Job
from alld.inference.inputs import Shard
from alld.runtime.files import one_line

ATTEMPTS = 3  # of a shard that its process died of
POLL_SECONDS = 0.2  # in which a signal is noticed


def judge_on_workers(
    workers: int, job: Job, shards: Iterable[Shard], told: Callable[[int], None]
) -> None:
    """Judge shards on so many processes of this machine.

    Args:
        shards: taken as they are needed, two for each process.
        told: called again and again with the rows that were judged of these shards so far; what
            it raises ends the processes at once.

    Raises:
        RunError: what a process could not do, or a shard that three of them died of.
    """
    with _crew(job, workers) as crew, ThreadPoolExecutor(workers) as threads:
        pending: set[Future[None]] = set()
        try:
            for shard in shards:
                pending.add(threads.submit(crew.judge, shard))
                while len(pending) >= 2 * workers:
                    pending = _after_some(pending, crew, told)
            while pending:
                pending = _after_some(pending, crew, told)
        except BaseException:
            crew.close()
            threads.shutdown(cancel_futures=True)
            raise


def _after_some(
    pending: set[Future[None]], crew: "_Crew", told: Callable[[int], None]
) -> set[Future[None]]:
    """Those that are not done a moment later."""
    done, left = wait(pending, POLL_SECONDS, FIRST_COMPLETED)
    for future in done:
        future.result()
    told(crew.rows)
    return left


class _Died(Exception):  # noqa: N818 - it is no error yet
    """A process ended before its shard was done."""


class _Worker:
    """One process, and the rows of its shard that it has judged."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            # -P: nothing is imported from the folder that the command was given in.
            [sys.executable, "-P", "-m", "alld.inference.archives.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is not for it
            encoding="ascii",
        )
        self.rows = 0

    def judge(self, shard: Shard) -> None:
        """Raises _Died, or RunError for what the process says it cannot do."""
        assert self.process.stdout is not None
        self.send(shard)
        for line in self.process.stdout:
            answer = json.loads(line)
            if "error" in answer:
                raise RunError(answer["error"])
            if "done" in answer:
                self.rows = 0
                return
            self.rows = answer["rows"]
        raise _Died

    def end(self) -> None:
        """Harmless to repeat."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):  # what was not sent is lost
                pipe.close()

    def send(self, value: object) -> None:
        """A line for the process; raises _Died."""
        assert self.process.stdin is not None
        try:
            print(json.dumps(value), file=self.process.stdin, flush=True)
        except OSError as error:
            raise _Died from error


class _Crew:
    """The processes; each of as many threads borrows one for each shard."""

    def __init__(self, job: Job, workers: int) -> None:
        self._job = job
        self._alive: set[_Worker] = set()
        self._done = 0
        self._lock = Lock()
        self._closed = False
        # A place without a process gets one when it is needed.
        self._places: SimpleQueue[_Worker | None] = SimpleQueue()
        for _ in range(workers):
            self._places.put(None)

    @property
    def rows(self) -> int:
        """Judged so far, those of shards under way among them."""
        return self._done + sum(worker.rows for worker in list(self._alive))

    def judge(self, shard: Shard) -> None:
        """Have a process judge a shard, and another one if it dies."""
        for _ in range(ATTEMPTS):
            worker = self._places.get()
            try:
                worker = worker or self._start()
                worker.judge(shard)
                with self._lock:
                    self._done += len(shard.paths)
                return
            except _Died:
                self._lost(worker)
                worker = None
                if self._closed:
                    return
            finally:
                self._places.put(worker)
        place = one_line(f"shard {shard.number}, from {shard.paths[0]} to {shard.paths[-1]}")
        raise RunError(
            f"{place}: {ATTEMPTS} processes died of it; is there too little memory? With fewer "
            "--workers each has more"
        )

    def close(self) -> None:
        """End all processes at once."""
        self._closed = True
        for worker in list(self._alive):
            self._lost(worker)

    def _start(self) -> _Worker:
        worker = _Worker()
        self._alive.add(worker)
        if self._closed:  # it came too late to be ended with the others
            self._lost(worker)
        worker.send(self._job)
        return worker

    def _lost(self, worker: _Worker | None) -> None:
        if worker is not None:
            worker.end()
            self._alive.discard(worker)


@contextmanager
def _crew(job: Job, workers: int) -> Iterator[_Crew]:
    crew = _Crew(job, workers)
    try:
        yield crew
    finally:
        crew.close()


def _environment() -> dict[str, str]:
    """A worker finds the ALLD of this process."""
    paths = [str(Path(alld.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
