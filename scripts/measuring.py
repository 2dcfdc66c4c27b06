"""Measure time and memory of commands, and collect the measurements of a benchmark."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO

SCRIPTS = Path(__file__).parent
ALLD = (sys.executable, "-m", "alld")


@dataclass(frozen=True)
class Done:
    """Wall time and largest memory of a command."""

    seconds: float
    peak_mb: float
    output: str = ""


@dataclass(eq=False)
class Line:
    """All measurements of one way to do the work."""

    name: str
    images: int = 0
    seconds: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    def add(self, done: Done, images: int = 0) -> None:
        self.images = images
        self.seconds.append(done.seconds)
        self.peak_mb.append(done.peak_mb)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / max(self.median, 1e-9)


@dataclass(frozen=True)
class Ratio:
    """A ratio that was measured, and the one that is wanted."""

    name: str
    value: float
    wanted: str


@dataclass
class Bench:
    """The options, the folder to work in, the drawn set, and the results so far."""

    options: argparse.Namespace
    place: Path
    drawn: Path
    lines: list[Line] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    @property
    def image_size(self) -> int:
        return 64 if self.options.quick else 224


def call(*command: object) -> Done:
    """Run a command to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        words = list(map(str, command))
        process = subprocess.Popen(words, stdout=output, stderr=errors)
        peak_mb = end_of(process, errors)
        output.seek(0)
        return Done(time.perf_counter() - began, peak_mb, output.read().decode())


def record(line: Line, script: str, *arguments: object) -> None:
    """Run one of the scripts, whose last line holds seconds and images."""
    done = call(sys.executable, SCRIPTS / script, *arguments)
    answer = json.loads(done.output.splitlines()[-1])
    line.add(Done(answer["seconds"], done.peak_mb), answer["images"])


def end_of(process: subprocess.Popen[bytes], errors: IO[bytes]) -> float:
    """Wait for a process and return its largest memory in MB; a failed one ends the benchmark."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        errors.seek(0)
        sys.exit(f"{process.args!r}\n{errors.read().decode()}")
    return usage.ru_maxrss / 1024  # Linux counts in KiB


def say(*lines: Line) -> None:
    for line in lines:
        if line.seconds:
            rate = f", {line.rate:.1f} images/s" if line.images else ""
            print(f"{line.name}: {', '.join(f'{s:.2f}' for s in line.seconds)} s{rate}", flush=True)


def call_rows(
    bench: Bench, folder: Path, rows: Line, whole: Line, exported: Path | None = None
) -> None:
    """`alld predict FOLDER`: from the first row to the last, and the whole command."""
    command = [*ALLD, "predict", folder, "--model", exported or trained(bench), "--format", "csv"]
    command += [] if exported else ["--device", bench.options.device]
    arrived: list[tuple[float, int]] = []  # when, and how many rows
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        words = list(map(str, command))
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        with process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 1 << 20):
                arrived.append((time.perf_counter(), chunk.count(b"\n")))
        peak_mb = end_of(process, errors)
    seen = list(accumulate(count for _, count in arrived))
    whole.add(Done(time.perf_counter() - began, peak_mb), seen[-1] - 1)  # the header is no row
    # The clock starts when the first batch is there: its rows are not counted.
    first = next(at for (at, _), lines in zip(arrived, seen, strict=True) if lines > 1)
    later = [(at, count) for at, count in arrived if at - first > 0.02]
    rows.add(Done(arrived[-1][0] - first, peak_mb), sum(count for _, count in later))


def trained(bench: Bench) -> Path:
    """A small model on the drawn set; how good it is does not matter here."""
    run = bench.place / "model"
    if not run.exists():
        sizes = ["--image-size", bench.image_size, "--epochs", 0, "--set", "train.frozen_epochs=1"]
        command = [*ALLD, "train", "--data", bench.drawn, "--out", run]
        call(*command, "--arch", "efficientnet_lite0", *sizes)
    return run


def multiply(drawn: Path, folder: Path, files: int) -> Path:
    """A folder of so many images: the drawn ones over and over."""
    images = sorted(drawn.glob("*.tif"))
    for number in range(files if not folder.exists() else 0):
        image = images[number % len(images)]
        target = folder / f"{number // 1000:03d}" / f"{number:06d}_{image.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(image, target)
        except OSError:
            shutil.copy(image, target)
    return folder
