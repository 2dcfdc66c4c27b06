"""Kill, stop and starve trainings at random: each must end in bitwise the same weights.

Each attempt is a forked child of this process, which has imported torch and computed nothing yet:
that spares the seconds of every import, and a killed child is as dead as any other process.
"""

import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from alld.config.files import load_config
from alld.config.schema import Config
from alld.errors import AlldError, RunError
from alld.evaluation.crossval.train import crossval, resume_crossval
from alld.model.place import PLAN
from alld.runs.folder import Run
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe
from alld.training.train import resume, train
from trials.tally import Tally

SMALL = {
    "model.arch": "timm:test_resnet",
    "model.pretrained": False,
    "data.image_size": 32,
    "train.frozen_epochs": 1,
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.select": "best",
    "evaluate.bootstrap_draws": 100,
    "evaluate.background": False,
    "evaluate.heat_maps": False,
    "runtime.device": "cpu",
    "runtime.threads": 1,
}
FULL, SEED = 50, 0
IN_A_ROW = 5  # times one run is killed before it may end
FILE_LIMIT = 2**20  # bytes; a checkpoint of the small network is larger

Work = Callable[[], object]


def run(work: Path, quick: bool) -> list[Tally]:
    """Return a tally for each kind: three once each if quick; else all, SIGKILL most often."""
    count, few = (1, 1) if quick else (FULL, FULL // 5)
    draw_set(work / "set", Recipe(n=40))
    torture = Torture(work, random.Random(SEED))
    sample = [
        torture.of_runs("SIGKILL at a random time", count, torture.at_a_time(signal.SIGKILL)),
        torture.of_runs("SIGKILL inside the writer", count, torture.in_the_writer),
        torture.of_runs("SIGTERM at a random time", few, torture.at_a_time(signal.SIGTERM)),
    ]
    if quick:
        return sample
    return [
        *sample,
        torture.of_runs("Ctrl-C at a random time", few, torture.at_a_time(signal.SIGINT)),
        torture.of_runs("no room for a file", few, torture.without_room),
        torture.of_crossval("SIGKILL of a cross-validation", few),
    ]


class Torture:
    """The set of images, the weights that must come out, and how long a training takes."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.config = load_config(options={**SMALL, "data.root": folder / "set"})
        began = time.monotonic()
        assert finish(fork(self._train_and_count)) == 0
        self.seconds = time.monotonic() - began
        self.wanted = weights(folder / "whole")
        self.calls = int((folder / "calls").read_text())

    def of_runs(self, kind: str, count: int, attempt: Callable[[Work], bool]) -> Tally:
        """Stop runs `count` times in all, each a few times before it may end.

        `attempt` returns whether it stopped the work, which may have ended before.
        """
        tally, runs = Tally(kind), 0
        while tally.tried < count:
            run, runs = self.folder / f"run-{runs}", runs + 1
            config = self._streamed() if runs % 2 else self.config

            def work(run: Path = run, config: Config = config) -> None:
                go_on(run, config)

            times = sum(attempt(work) for _ in range(min(IN_A_ROW, count - tally.tried)))
            status = finish(fork(work))
            fault = f"ended with {status}" if status else ""
            if not fault and weights(run) != self.wanted:
                fault = "other weights came out"
            for number in range(times):
                tally.count(f"run {runs}, stop {number + 1}", fault)
            shutil.rmtree(run, ignore_errors=True)
        return tally

    def of_crossval(self, kind: str, count: int) -> Tally:
        """Compare the pooled predictions with those of a cross-validation that was not killed."""
        whole, killed = self.folder / "cv-whole", self.folder / "cv-killed"
        began = time.monotonic()
        assert finish(fork(lambda: crossval(self.config, 2, 1, whole))) == 0
        seconds = time.monotonic() - began
        for _ in range(count):
            child = fork(lambda: go_on_with_folds(killed, self.config))
            time.sleep(self.rng.uniform(0, seconds / 2))
            os.kill(child, signal.SIGKILL)
            finish(child)
        status = finish(fork(lambda: go_on_with_folds(killed, self.config)))
        same = status == 0 and predictions(killed) == predictions(whole)
        tally = Tally(kind)
        for number in range(count):
            tally.count(f"kill {number + 1}", "" if same else f"ended otherwise, with {status}")
        return tally

    def at_a_time(self, number: int) -> Callable[[Work], bool]:
        """Send a signal at a random moment of the training; it may have ended by then."""

        def attempt(work: Work) -> bool:
            child = fork(work)
            time.sleep(self.rng.uniform(0, self.seconds))
            os.kill(child, number)
            status = finish(child)
            assert status in (0, 128 + number), f"signal {number} gave status {status}"
            return status != 0

        return attempt

    def in_the_writer(self, work: Work) -> bool:
        """Die before or after one of the calls that put a file in its place."""
        number = self.rng.randrange(self.calls)

        def die(call: int) -> None:
            if call == number:
                os.kill(os.getpid(), signal.SIGKILL)

        def dying() -> None:
            watch(die, after=number % 2 == 1)
            work()

        return finish(fork(dying)) == 137

    def without_room(self, work: Work) -> bool:
        """Files may not grow beyond a limit that no checkpoint keeps to."""

        def limited() -> object:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
            return work()

        return finish(fork(limited)) == RunError.exit_status

    def _streamed(self) -> Config:
        runtime = self.config.runtime.model_copy(update={"image_memory": 0})
        return self.config.model_copy(update={"runtime": runtime})

    def _train_and_count(self) -> None:
        calls = watch(lambda _number: None)
        train(self.config, self.folder / "whole")
        (self.folder / "calls").write_text(str(len(calls)))


def go_on(folder: Path, config: Config) -> None:
    """Train or resume; a run that was killed before it had a run.json begins again."""
    if not (folder / "run.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        train(config, folder)
    elif Run(folder).state != "finished":
        resume(folder)


def go_on_with_folds(folder: Path, config: Config) -> None:
    if (folder / PLAN).exists():
        resume_crossval(folder)
        return
    shutil.rmtree(folder, ignore_errors=True)
    crossval(config, 2, 1, folder)


def fork(work: Work) -> int:
    """Start a child that works and exits as the command line would; return its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
        status = 0
    except AlldError as error:
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except OSError:
        status = 1
    finally:
        os._exit(status)


def finish(child: int) -> int:
    """Wait for a child and return its status as a shell reports it."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def watch(notify: Callable[[int], None], *, after: bool = False) -> list[str]:
    """Notify of each `os.fsync` and `os.replace` by its number; return the list of them."""
    calls: list[str] = []

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            number = len(calls)
            calls.append(name)
            if not after:
                notify(number)
            answer = real(*given, **named)
            if after:
                notify(number)
            return answer

        return call

    for name in ("fsync", "replace"):
        setattr(os, name, watched(name, getattr(os, name)))
    return calls


def weights(run: Path) -> bytes:
    return (run / "model.alld" / "model.safetensors").read_bytes()


def predictions(folder: Path) -> bytes:
    return (folder / "evaluation" / "predictions.csv").read_bytes()
