"""Predict an archive for `alld predict`: who works on it, signals, and how far it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from alld import display
from alld.commands.options import Engine, check_engine, cluster_for
from alld.errors import ConfigError, Interrupted
from alld.runtime.signals import Stopping
from alld.runtime.threads import usable_cores

if TYPE_CHECKING:
    from alld.inference.archives.archive import Engine as Doing
    from alld.inference.archives.archive import Progress
    from alld.inference.archives.engines import Job
    from alld.inference.inputs import Inputs
    from alld.inference.prediction import Tally

T = TypeVar("T")

LINE_SECONDS = 30.0  # between two lines of a log


@dataclass(frozen=True)
class Workforce:
    """Who predicts an archive: processes of this computer, or tasks of a Ray cluster."""

    engine: Engine
    workers: int = 1
    threads: int | None = None  # of each
    address: str | None = None
    gpus: float | None = None  # of each task

    def check(self, *, alone: bool) -> None:
        """Raise ConfigError for options that exclude each other.

        Args:
            alone: the rows go to no file of their own, so one process has to write them.
        """
        for name, number in (("--workers", self.workers), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} {number}: must be at least 1")
        on_ray = self.engine is Engine.ray
        if alone and (self.workers > 1 or on_ray):
            name = "--engine ray" if on_ray else f"--workers {self.workers}"
            reason = "several processes write a file together"
            raise ConfigError(f"{name}: {reason}; use --out FILE, and no --explain")
        if on_ray and self.workers > 1:
            raise ConfigError(
                "--workers: a cluster knows how many; --threads says how large each is"
            )
        check_engine(self.engine, self.address, self.gpus)

    @property
    def threads_each(self) -> int:
        """The cores of this computer divided by the processes; 1 for each task of a cluster."""
        cores = 1 if self.engine is Engine.ray else usable_cores() // self.workers
        return self.threads or max(1, cores)

    def predict(self, inputs: "Inputs", out: Path, job: "Job") -> "Tally":
        """Predict a long list into `out`; see `run`."""
        from alld.inference.archives.archive import predict_archive

        def work(job: "Job", engine: "Doing", progress: "Progress") -> "Tally":
            return predict_archive(inputs, out, job, engine, progress)

        return self.run(job, work)

    def run(
        self,
        job: "Job",
        work: Callable[["Job", "Doing", "Progress"], T],
        noun: str = "image",
    ) -> T:
        """Do work in shards and show its progress; after Ctrl-C or SIGTERM it can be resumed.

        Args:
            work: called with the job, the engine that does its shards, and the progress to call.
            noun: what is counted.

        Raises:
            Interrupted: a signal came.
            ConfigError: no such cluster, or it has too little.
        """
        from alld.inference.archives import engines

        engine = (
            partial(engines.predict_in_processes, self.workers)
            if self.workers > 1
            else engines.predict_here
        )
        with (
            cluster_for(self.engine, self.address, self.gpus, self.threads_each) as cluster,
            Stopping() as stop,
            Pace(noun) as pace,
        ):
            if cluster is not None:
                engine = partial(engines.predict_on_ray, cluster)
                job = replace(job, device="cuda" if cluster.gpus else "cpu")

            def progress(now: int, before: int, total: int) -> None:
                pace(now, before, total)
                if stop.signal_number is not None:
                    done = f"{now + before} of {display.number_of(total, noun)}"
                    raise Interrupted(
                        f"stopped by {stop.name_of_signal} after {done}; the same command goes on",
                        stop.exit_status,
                    )

            return work(job, engine, progress)


class Pace:
    """Show how many images are done, how fast, and the time left: a bar, or lines in a log.

    A context manager; on a terminal it draws a bar, elsewhere it writes a line every half minute.
    """

    def __init__(self, noun: str = "image") -> None:
        self._noun = noun
        self._bars: Bars | None = None
        self._first: tuple[float, int] | None = None  # when, and how many were done
        self._line: float | None = None  # when the last one was written

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, now: int, before: int, total: int) -> None:
        """Show images done since this began, done by an earlier command, and in all."""
        moment = time.monotonic()
        if self._line is None:
            self._line = moment
            if before:
                display.say(f"{before} of {display.number_of(total, self._noun)} are done already")
        if not now:
            return
        self._first = self._first or (moment, now)  # the start of processes does not count
        rate = (now - self._first[1]) / max(moment - self._first[0], 1e-9)
        left = f", {display.duration((total - before - now) / rate)} left" if rate else ""
        pace = f"{rate:.1f} {self._noun}s/s{left}"
        if display.errors.is_terminal:
            self._draw(now + before, total, pace)
        elif moment - self._line > LINE_SECONDS:
            self._line = moment
            display.say(f"{now + before} of {display.number_of(total, self._noun)}, {pace}")

    def _draw(self, done: int, total: int, pace: str) -> None:
        if self._bars is None:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bars = Bars(*columns, console=display.errors, transient=True)
            self._bars.start()
            self._bars.add_task("", total=total)
        self._bars.update(self._bars.task_ids[0], completed=done, description=pace)
