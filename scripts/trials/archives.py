"""Archives killed at random: every table must be that of an archive that was left alone.

By turns the command itself is killed and, where there are several processes, one of these.
"""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path

from untrained import write_untrained

from alld.inference.archives.archive import predict_archive
from alld.inference.archives.engines import Job, predict_here, predict_in_processes
from alld.inference.inputs import Inputs
from alld.runtime.files import sha256_hex
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe
from trials.kills import finish, fork
from trials.tally import Tally

FULL, QUICK, SEED = 20, 1, 0
IN_A_ROW = 4  # times one archive is killed before it may end
ROWS, SHARD = 480, 32


def run(work: Path, quick: bool) -> list[Tally]:
    """A tally for each number of processes; tests have one of their own for several."""
    draw_set(work / "set", Recipe(n=40))
    archive = Archive(work, random.Random(SEED))
    return [
        archive.tried(workers, QUICK if quick else FULL)
        for workers in ((1,) if quick else (1, 2, 4))
    ]


class Archive:
    """A list of images, the table that must come of it, and the seconds that it takes."""

    def __init__(self, work: Path, rng: random.Random) -> None:
        self.work, self.rng = work, rng
        drawn = sorted((work / "set").glob("*.tif"))
        self.inputs = Inputs(tuple(drawn[row % 40] for row in range(ROWS)))
        model = write_untrained_unseen(work / "model.alld")
        self.job = Job(
            model=str(model),
            identity=sha256_hex((model / "SHA256SUMS").read_bytes()),
            device="cpu",
            tta=False,
            abstain=True,
            threads=1,
            table="csv",
            folder=str(work),
        )
        assert self._finish(1, work / "whole.csv") == 0
        self.wanted = (work / "whole.csv").read_bytes()

    def tried(self, workers: int, count: int) -> Tally:
        """Kill `count` times in all, each archive a few times before it may end."""
        tally = Tally(f"archives, {workers} {'process' if workers == 1 else 'processes'}")
        out = self.work / "killed.csv"
        began = time.monotonic()
        assert self._finish(workers, out) == 0
        seconds = time.monotonic() - began
        while tally.tried < count:
            out.unlink()
            times = min(IN_A_ROW, count - tally.tried)
            for number in range(times):
                self._kill(workers, out, seconds, of_worker=workers > 1 and number % 2 == 1)
            status = self._finish(workers, out)
            fault = f"ended with {status}" if status else ""
            if not fault and out.read_bytes() != self.wanted:
                fault = "another table came out"
            if not fault and out.with_name(f"{out.name}.parts").exists():
                fault = "parts were left"
            for number in range(times):
                tally.count(f"kill {number + 1}", fault)
        return tally

    def _kill(self, workers: int, out: Path, seconds: float, *, of_worker: bool) -> None:
        """Let the archive begin or go on, and kill it or one of its processes."""
        child = self._begin(workers, out)
        time.sleep(self.rng.uniform(0, seconds))
        inner = processes_of(child) if of_worker else []
        os.kill(self.rng.choice(inner) if inner else child, signal.SIGKILL)
        if inner:  # it goes on with another one; so that is killed too, with the rest half done
            time.sleep(self.rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
        finish(child)

    def _finish(self, workers: int, out: Path) -> int:
        return finish(self._begin(workers, out))

    def _begin(self, workers: int, out: Path) -> int:
        engine = predict_here if workers == 1 else partial(predict_in_processes, workers)
        return fork(
            lambda: predict_archive(self.inputs, out, self.job, engine, lambda *_: None, SHARD)
        )


def write_untrained_unseen(folder: Path) -> Path:
    """In a child: here torch may not have computed yet."""
    assert finish(fork(lambda: write_untrained(folder))) == 0
    return folder


def processes_of(owner: int) -> list[int]:
    """The processes that predict for `owner`, on Linux; elsewhere none are found.

    Python starts one more for itself, which tracks shared memory.
    """
    found = Path(f"/proc/{owner}/task").glob("*/children")
    children = [child for file in found for child in file.read_text().split()]
    return [int(one) for one in children if b"spawn_main" in _command_of(one)]


def _command_of(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
