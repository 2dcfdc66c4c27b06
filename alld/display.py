"""Terminal output: lines, warnings, errors, progress bars and tables."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from alld.errors import AlldError, ConfigError, Interrupted
from alld.runtime.files import one_line
from alld.runtime.launch import launched

if TYPE_CHECKING:
    from alld.inference.prediction import Prediction
    from alld.inference.predictor import Predictor
    from alld.runs.folder import Run
    from alld.training.callbacks import Progress
    from alld.training.train import Listener

T = TypeVar("T")

# Without a terminal rich would wrap at 80 columns and break file names in logs.
errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())
# A table that goes into a file or a pipe is not folded to a terminal's width.
output = Console(
    highlight=False,
    emoji=False,
    soft_wrap=not sys.stdout.isatty(),
    width=None if sys.stdout.isatty() else 160,
)
# Quiet unless `--verbose` is given.
details = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=True)


def write(text: str) -> None:
    """Write a line of the result to standard output."""
    output.print(text, markup=False)


def print_json(value: Any) -> None:
    """Write the result of a command under `--json`, alone on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def say(text: str) -> None:
    """Write a line to standard error."""
    errors.print(_safe(text))


def detail(text: str) -> None:
    """Write a line to standard error under `--verbose`."""
    details.print(_safe(text))


def set_verbose(wanted: bool) -> None:
    """Show details, or hide them."""
    details.quiet = not wanted


def silence(wanted: bool = True) -> None:
    """Write nothing from here on: one of the processes of a training speaks for all."""
    errors.quiet = output.quiet = wanted


def warn(text: str) -> None:
    """Write a warning to standard error."""
    errors.print(f"[yellow]warning:[/] {_safe(text)}")


def fail(text: str) -> None:
    """Write an error to standard error."""
    errors.print(f"[bold red]error:[/] {_safe(text)}")


def report(error: AlldError) -> int:
    """Write an error with its advice, and return its exit status.

    An error that all processes of a training raise is written by the first of them.
    """
    if isinstance(error, Interrupted):
        say(str(error))
        return error.exit_status
    try:
        process = launched().rank
    except ConfigError:  # this may be the very error to report
        process = 0
    if error.everywhere and process > 0:
        return error.exit_status
    silence(False)
    fail(f"process {process}: {error}" if process else str(error))
    for advice in getattr(error, "__notes__", ()):
        for line in advice.splitlines():
            say(line)
    return error.exit_status


def report_bug(error: BaseException) -> None:
    """Write type and place of an unexpected error; its message may contain a file's name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = "" if trace is None else trace.tb_frame.f_code.co_filename
    place = "" if trace is None else f" at {Path(code).name}:{trace.tb_lineno}"
    fail(f"a bug in ALLD, {type(error).__name__}{place}; please report it")


def _safe(text: str) -> str:
    """File names may contain markup, line breaks and control characters."""
    return escape(one_line(text))


class Steps:
    """A progress bar for each step of a preparation; in a log a line for each that took over 1 s.

    A context manager: the bars disappear at its end.
    """

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[str, int] = {}
        self._began: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, step: str, done: int, total: int) -> None:
        began = self._began.setdefault(step, time.monotonic())
        if done == total:
            del self._began[step]  # a later fold has a step of the same name
        if not errors.is_terminal:
            if done == total and time.monotonic() - began > 1:
                say(f"{step} ({total} in {time.monotonic() - began:.0f} s)")
            return
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bars = Bars(*columns, TimeRemainingColumn(), console=errors, transient=True)
            self._bars.start()
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)  # type: ignore[arg-type]

    def close(self) -> None:
        """Remove the bars; harmless to repeat."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()  # they belong to those bars


def counted(items: Iterable[T], step: str, total: int) -> Iterator[T]:
    """Yield `total` items and show how many are done."""
    with Steps() as steps:
        for done, item in enumerate(items, start=1):
            steps(step, done, total)
            yield item


class TrainingDisplay:
    """A line per epoch; on a terminal also a live line with the batch and the time left.

    A context manager: the live line disappears at its end.
    """

    def __init__(self, *, epoch_lines: bool = True) -> None:
        self._epoch_lines, self._headed = epoch_lines, False
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, progress: "Progress") -> None:
        if self._epoch_lines and not self._headed:
            errors.print("[bold]epoch  phase        train loss  valid loss  valid accuracy[/]")
            self._headed = True
        if progress.epoch_done and self._epoch_lines:
            self._print_epoch(progress)
        elif errors.is_terminal:
            self._update_live(progress)

    def _print_epoch(self, p: "Progress") -> None:
        loss, valid, accuracy = p.train_loss or 0, p.valid_loss or 0, p.valid_accuracy or 0
        left = f"  {duration(p.seconds_left)} left" if p.seconds_left else ""
        say(
            f"{p.epoch:>2}/{p.epochs:<2}  {p.phase:<11}  {loss:>10.4f}  {valid:>10.4f}"
            f"  {accuracy:>13.1%}{'' if errors.is_terminal else left}"
        )
        if p.epoch == p.epochs:
            self.close()  # what follows may need the terminal's last line

    def _update_live(self, p: "Progress") -> None:
        if self._live is None:
            self._live = Live(console=errors, transient=True, refresh_per_second=8)
            self._live.start()
        width = 24
        filled = width * p.batch // p.batches
        loss = "" if p.train_loss is None else f"  train loss {p.train_loss:.4f}"
        left = "" if p.seconds_left is None else f"  {duration(p.seconds_left)} left"
        dash = "━" if errors.encoding.startswith("utf") else "-"
        bar = f"[blue]{dash * filled}[/][dim]{dash * (width - filled)}[/]"
        self._live.update(f"{p.epoch:>2}/{p.epochs:<2}  {p.phase}  {bar}{loss}{left}")

    def close(self) -> None:
        """Remove the live line; harmless to repeat."""
        if self._live is not None:
            self._live.stop()
            self._live = None


@contextmanager
def training_progress() -> Iterator["Listener"]:
    """Show a training in the terminal: its data, its split, its folder and a line per epoch."""
    from alld.data.directions import describe_direction
    from alld.data.manifest import class_counts
    from alld.training.train import Listener

    def begin(run: "Run", manifest: Any, split: Any) -> None:
        steps.close()
        mark = "SYNTHETIC " if manifest.synthetic else ""
        say(f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images")
        parts = ("train", "valid", "test")
        sizes = ", ".join(f"{len(split.indices(part))} {part}" for part in parts)
        say(f"{split.kind} split: {sizes}; groups: {split.groups_source}")
        if split.kind == "session":
            tested = {manifest.records[index].domain for index in split.indices("test")}
            say(describe_direction(manifest, tuple(tested)))
        if split.leaking_groups:
            few = ", ".join(split.leaking[:3])
            warn(f"{split.leaking_groups} groups lie on both sides of this split, such as {few}")
        say(f"run folder: {run.folder}")
        facts = run.info
        if shared := facts["parallel"]:
            say(
                f"{shared['processes']} processes: batches of {shared['global_batch']} images, "
                f"{shared['batch_per_process']} in each; highest rate {shared['max_lr']:g}, as "
                f"with one; batch norm: {shared['batch_norm']}"
            )
        detail(f"device {facts['device']}, {facts['threads']} threads")
        detail(", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
        detail((run.folder / "config.yaml").read_text(encoding="utf-8").rstrip())

    with Steps() as steps, TrainingDisplay() as live:
        yield Listener(step=steps, note=warn, begin=begin, progress=live)


def write_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a ruled table; all columns but the first are aligned to the right."""
    table = Table(title=escape(title))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    output.print(table)


def write_list(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a table without rules, aligned to the left."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(one_line(cell)) for cell in row))
    output.print(table)


def duration(seconds: float) -> str:
    """Return `48 s` or `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def images(count: int) -> str:
    """Return `1 image` or `2 images`."""
    return number_of(count, "image")


def number_of(count: int, noun: str) -> str:
    """Return `1 field` or `2 fields`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def model_line(predictor: "Predictor") -> str:
    """Return `model: runs/first/model.alld (resnet50, 0123456789ab)`."""
    drawn = " SYNTHETIC" if predictor.info.data.synthetic else ""
    mean = "" if predictor.members == 1 else f"the mean of {predictor.members} "
    facts = f"{mean}{predictor.info.arch}, {predictor.identity[:12]}"
    return f"model: {predictor.path}{drawn} ({facts})"


def prediction_line(prediction: "Prediction") -> str:
    """Return `blast         P(blast) 0.997  cell.tif`, with the reason of a doubt, or the error."""
    from alld.inference.prediction import shown

    if prediction.error is not None:
        return f"{'error':<13} {prediction.error}"
    probability = shown(prediction.probability or 0.0)
    reason = f" ({prediction.reason})" if prediction.reason else ""
    name = one_line(prediction.path)
    return f"{prediction.verdict:<13} P(blast) {probability:<7}  {name}{reason}"
