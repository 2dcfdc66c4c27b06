"""How far an archive is, how fast, how long it takes yet: a bar, or lines in a log."""

import time

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

from alld import display, printed

LINE_SECONDS = 30.0  # between two lines of a log


class Pace:
    """A context manager around work on many images: how many are done, how fast, how long yet.

    A bar on a terminal, else a line in every half minute.
    """

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._first: tuple[float, int] | None = None  # when, and how many were done
        self._said: float | None = None

    def __enter__(self) -> "Pace":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, now: int, before: int, total: int) -> None:
        """Images done since this began, done by an earlier command, and in all."""
        moment = time.monotonic()
        if self._said is None:
            self._said = moment
            if before:
                display.say(f"{before} of {printed.images(total)} are done already")
        if not now:
            return
        self._first = self._first or (moment, now)  # before it, processes were starting
        rate = (now - self._first[1]) / max(moment - self._first[0], 1e-9)
        left = f", {display.duration((total - before - now) / rate)} left" if rate else ""
        pace = f"{rate:.1f} images/s{left}"
        if display.errors.is_terminal:
            self._draw(now + before, total, pace)
        elif moment - self._said > LINE_SECONDS:
            self._said = moment
            display.say(f"{now + before} of {printed.images(total)}, {pace}")

    def _draw(self, done: int, total: int, pace: str) -> None:
        if self._bars is None:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bars = Bars(*columns, console=display.errors, transient=True)
            self._bars.start()
            self._bars.add_task("", total=total)
        self._bars.update(self._bars.task_ids[0], completed=done, description=pace)
