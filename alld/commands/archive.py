"""The part of `alld predict` that judges an archive: who works, signals, how far it is."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from alld import printed
from alld.commands.engines import Engine, check_engine, cluster_for
from alld.commands.pace import Pace
from alld.errors import ConfigError, Interrupted
from alld.runtime.signals import Stopping
from alld.runtime.threads import usable_cores

if TYPE_CHECKING:
    from alld.inference.archives.archive import Engine as Judging
    from alld.inference.archives.shard import Asked
    from alld.inference.archives.tally import Tally
    from alld.inference.inputs import Inputs
    from alld.inference.predictor import Predictor


@dataclass(frozen=True)
class Workforce:
    """Who judges an archive: processes of this machine, or tasks of a Ray cluster."""

    engine: Engine
    workers: int = 1
    threads: int | None = None  # of each
    address: str | None = None
    gpus: float | None = None  # of each task

    def check(self, *, alone: bool) -> None:
        """Refuse what does not fit together; `alone`, where the rows go to no file of their own.

        Raises:
            ConfigError: with the reason.
        """
        for name, number in (("--workers", self.workers), ("--threads", self.threads)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} {number}: must be at least 1")
        if alone and (self.workers > 1 or self.engine is Engine.ray):
            name = "--engine ray" if self.engine is Engine.ray else f"--workers {self.workers}"
            reason = "several processes write a file together"
            raise ConfigError(f"{name}: {reason}; use --out FILE, and no --explain")
        if self.engine is Engine.ray and self.workers > 1:
            raise ConfigError(
                "--workers: a cluster knows how many; --threads says how large each is"
            )
        check_engine(self.engine, self.address, self.gpus)

    @property
    def threads_each(self) -> int:
        """On this machine all cores, divided; of a cluster's tasks one, unless asked otherwise."""
        cores = 1 if self.engine is Engine.ray else usable_cores() // self.workers
        return self.threads or max(1, cores)

    def judge(self, inputs: "Inputs", out: Path, asked: "Asked") -> "Tally":
        """Judge a long list into `out`, in shards; Ctrl-C and SIGTERM leave the parts.

        Raises:
            Interrupted: the same command goes on.
            ConfigError: no such cluster, or it has too little.
        """
        from alld.inference.archives.archive import judge_here
        from alld.inference.archives.on_ray import judge_on_ray
        from alld.inference.archives.shard import Asked
        from alld.inference.archives.workers import judge_on_workers

        with cluster_for(self.engine, self.address, self.gpus, self.threads_each) as cluster:
            if cluster is not None:
                own = Asked(**{**asked, "device": "cuda" if cluster.gpus else "cpu"})
                return _judge(inputs, out, own, partial(judge_on_ray, cluster))
            several = partial(judge_on_workers, self.workers)
            return _judge(inputs, out, asked, several if self.workers > 1 else judge_here)


def asked_of(predictor: "Predictor", model: Path, table: str) -> "Asked":
    """What every shard has to know, settled once."""
    from alld.inference.archives.shard import Asked

    return Asked(
        model=str(model),
        identity=predictor.identity,
        device=str(predictor.device),
        tta=predictor.tta,
        threads=predictor.threads,
        table=table,
        folder=os.getcwd(),
    )


def _judge(inputs: "Inputs", out: Path, asked: "Asked", engine: "Judging") -> "Tally":
    from alld.inference.archives.archive import predict_archive

    with Stopping() as stop, Pace() as pace:
        return predict_archive(inputs, out, asked, engine, _told(stop, pace))


def _told(stop: Stopping, pace: Pace) -> Callable[[int, int, int], None]:
    def told(now: int, before: int, total: int) -> None:
        pace(now, before, total)
        if stop.signal_number is not None:
            done = f"{now + before} of {printed.images(total)}"
            raise Interrupted(
                f"stopped by {stop.name_of_signal} after {done}; the same command goes on",
                stop.exit_status,
            )

    return told
