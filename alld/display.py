"""How ALLD speaks in the terminal: lines, warnings, errors, and how far long work is."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from alld.runtime.files import one_line

if TYPE_CHECKING:
    from alld.training.callbacks import Progress

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
# Only `--verbose` gives it a voice.
details = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True, quiet=True)


def say(text: str) -> None:
    """A line on standard error, for people."""
    errors.print(_safe(text))


def detail(text: str) -> None:
    """A line that only `--verbose` shows."""
    details.print(_safe(text))


def set_verbose(wanted: bool) -> None:
    """Show details too, from here on."""
    details.quiet = not wanted


def silence(wanted: bool = True) -> None:
    """Say nothing from here on: of several processes of one training one speaks for all."""
    errors.quiet = output.quiet = wanted


def warn(text: str) -> None:
    """A warning on standard error."""
    errors.print(f"[yellow]warning:[/] {_safe(text)}")


def fail(text: str) -> None:
    """The one line of an error that the user can mend."""
    errors.print(f"[bold red]error:[/] {_safe(text)}")


def fault(error: BaseException) -> None:
    """One line of a fault of ALLD's own; without its message, which may hold a file's name."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    code = "" if trace is None else trace.tb_frame.f_code.co_filename
    place = "" if trace is None else f" at {Path(code).name}:{trace.tb_lineno}"
    fail(f"a fault of ALLD's own, {type(error).__name__}{place}; please report it")


def _safe(text: str) -> str:
    """Words that hold names of files: no markup, no second line, no letters that steer."""
    return escape(one_line(text))


class Steps:
    """A bar for each preparing step; without a terminal a line for those that take a while."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._tasks: dict[str, int] = {}
        self._began: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int) -> None:
        began = self._began.setdefault(step, time.monotonic())
        if done == total:
            del self._began[step]  # a later fold has a step of the same name
        if not errors.is_terminal:
            if done == total and time.monotonic() - began > 1:
                say(f"{step}: {total}, {time.monotonic() - began:.0f} s")
            return
        if self._bars is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bars = Bars(*columns, TimeRemainingColumn(), console=errors, transient=True)
            self._bars.start()
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=done, total=total)  # type: ignore[arg-type]

    def close(self) -> None:
        """Take the bars away; harmless to repeat."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._tasks.clear()  # they are those bars' own


def counted(items: Iterable[T], step: str, total: int) -> Iterator[T]:
    """Pass `total` items on, with a bar that shows how far they are."""
    steps = Steps()
    try:
        for done, item in enumerate(items, start=1):
            steps(step, done, total)
            yield item
    finally:
        steps.close()


@dataclass
class TrainingDisplay:
    """A line an epoch; on a terminal a live line under them with the batch and the time left."""

    epoch_lines: bool = True
    live: Live | None = field(default=None, init=False)
    headed: bool = field(default=False, init=False)

    def __call__(self, progress: "Progress") -> None:
        if self.epoch_lines and not self.headed:
            errors.print("[bold]epoch  phase        train loss  valid loss  valid accuracy[/]")
            self.headed = True
        if progress.epoch_done and self.epoch_lines:
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
            self.close()  # what follows may want the terminal's last line

    def _update_live(self, p: "Progress") -> None:
        if self.live is None:
            self.live = Live(console=errors, transient=True, refresh_per_second=8)
            self.live.start()
        width = 24
        filled = width * p.batch // p.batches
        loss = "" if p.train_loss is None else f"  train loss {p.train_loss:.4f}"
        left = "" if p.seconds_left is None else f"  {duration(p.seconds_left)} left"
        bar = f"[blue]{'━' * filled}[/][dim]{'━' * (width - filled)}[/]"
        self.live.update(f"{p.epoch:>2}/{p.epochs:<2}  {p.phase}  {bar}{loss}{left}")

    def close(self) -> None:
        """Take the live line away; harmless to repeat."""
        if self.live is not None:
            self.live.stop()
            self.live = None


def duration(seconds: float) -> str:
    """`48 s`, `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
