"""What a person sees in the terminal: live training, tables, and one line for each prediction."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from alld import NOTICE
from alld.files import one_line

if TYPE_CHECKING:
    from alld.data.audit import Audit
    from alld.evaluation.comparison import Comparison
    from alld.evaluation.crossval_result import CrossValidation
    from alld.evaluation.folds import Fold
    from alld.evaluation.result import Evaluation
    from alld.inference.prediction import Prediction
    from alld.model.bundle_info import BundleInfo
    from alld.stats.metrics import Metric
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


def parallel_line(shared: Mapping[str, Any]) -> str:
    """`2 processes: batches of 64 images, 32 in each; highest rate 0.001, as with one; ...`."""
    return (
        f"{shared['processes']} processes: batches of {shared['global_batch']} images, "
        f"{shared['batch_per_process']} in each; highest rate {shared['max_lr']:g}, as with one; "
        f"batch norm: {shared['batch_norm']}"
    )


def calibration_line(info: "BundleInfo") -> str:
    """`temperature 1.84 (1.00 to 3.20 on 42 validation images); threshold 0.5: fixed at 0.5`."""
    fit = info.temperature_fit
    why = f" ({fit.reason})"
    if fit.ci_low is not None and fit.ci_high is not None:
        why = f" ({fit.ci_low:.2f} to {fit.ci_high:.2f} on {fit.n} validation images)"
    how = info.threshold_choice.how
    return f"temperature {info.temperature:.2f}{why}; threshold {info.threshold:.3g}: {how}"


def evaluation_table(evaluation: "Evaluation") -> Table:
    """The metrics with counts and intervals."""
    from alld.evaluation.result import format_metric, title_of

    table = Table(title=f"{'SYNTHETIC: ' if evaluation.synthetic else ''}{evaluation.title}")
    table.add_column("metric")
    for name in ("value", "counts", "95 % interval"):
        table.add_column(name, justify="right")
    for name, metric in evaluation.metrics.items():
        table.add_row(title_of(name), *format_metric(metric))
    return table


def print_evaluation(evaluation: "Evaluation") -> None:
    """The table, the mistakes under `--verbose`, the caveats, and where it all lies."""
    from alld.evaluation.result import COMPARISON, caveats, comparison_rows, patient_line

    output.print(evaluation_table(evaluation))
    if line := patient_line(evaluation):
        output.print(line, markup=False)
    if rows := comparison_rows(evaluation):
        output.print(_grid("against the run's own test, by the same model", COMPARISON, rows))
    for prediction, label in evaluation.errors():
        detail(f"wrong: {prediction_line(prediction)} is {label}")
    for sentence in (*caveats(evaluation), NOTICE):
        output.print(f"- {sentence}", markup=False)
    output.print(f"evaluation: {evaluation.folder}", markup=False)
    say(f"read it in a browser: {evaluation.report}")


_FEW = 8  # images on which two runs differ; more of them under `--verbose` only


def print_comparison(comparison: "Comparison") -> None:
    """Each run's numbers on the common images, each pair's difference, verdicts and caveats."""
    from alld.evaluation import comparison as told

    output.print(_grid(told.title(comparison), told.RUN_COLUMNS, told.run_rows(comparison)))
    title = "differences, the first run minus the second"
    output.print(_grid(title, told.PAIR_COLUMNS, told.pair_rows(comparison)))
    for pair in comparison.pairs:
        output.print(one_line(pair.verdict), markup=False)
        few = len(pair.disagreements) <= _FEW
        for image in pair.disagreements:
            line = one_line(f"  {told.disagreement_line(pair, image)}")
            output.print(line, markup=False) if few else detail(line)
        if not few and details.quiet:
            say(f"-v lists the {len(pair.disagreements)} images on which they differ")
    for sentence in (*comparison.caveats, NOTICE):
        output.print(f"- {sentence}", markup=False)


def _grid(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A ruled table of cells of two lines; the first column is to the left, numbers are not."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
_LISTED = 8  # findings of one kind; audit.json has all of them


def print_audit(audit: "Audit", folder: "Path") -> None:
    """The findings by severity, each with what to do, and where the files lie."""
    from alld.data.findings import findings
    from alld.data.manifest import class_counts

    manifest = audit.manifest
    mark = "SYNTHETIC " if manifest.synthetic else ""
    title = f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images"
    output.print(title, markup=False)
    listed: Counter[str] = Counter()
    for finding in findings(audit):
        listed[finding.code] += 1
        if listed[finding.code] > _LISTED:
            continue
        colour = _COLOURS[finding.severity]
        sentence = escape(one_line(finding.sentence))
        output.print(f"[{colour}]{finding.severity + ':':<9}[/]{sentence}")
        if finding.advice != "nothing to do":
            output.print(f"[dim]{'':<9}-> {escape(finding.advice)}[/]")
        for path in finding.paths:
            detail(f"{finding.code}: {one_line(path)}")
    for code, count in listed.items():
        if count > _LISTED:
            output.print(f"{'':<9}and {count - _LISTED} more of the kind '{code}' in audit.json")
    output.print(f"audit: {folder}", markup=False)
    if audit.members:
        table = folder / "groups.csv"
        say(f"look at {folder / 'groups.png'}; to overrule it: alld train --groups {table}")


def print_crossval(result: "CrossValidation") -> None:
    """Both spreads, the folds under `--verbose`, the caveats, and where it all lies."""
    from alld.evaluation.crossval_result import (
        HEADINGS,
        caveats,
        fold_rows,
        patient_line,
        readable_rows,
    )

    table = Table(title=result.marked_title)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for row in readable_rows(result):
        table.add_row(*row)
    output.print(table)
    if line := patient_line(result):
        output.print(line, markup=False)
    for repeat, fold, right, blasts, healthy in fold_rows(result):
        detail(f"repeat {repeat}, fold {fold}: {right} right, blasts {blasts}, healthy {healthy}")
    for sentence in (*caveats(result), NOTICE):
        output.print(f"- {sentence}", markup=False)
    output.print(f"evaluation: {result.folder}", markup=False)
    say(f"read it in a browser: {result.report}")


def fold_line(fold: "Fold", number: int, of: int, seconds_left: float | None) -> str:
    """`run 3 of 10: repeat 1, fold 3; 20 min left`."""
    left = "" if seconds_left is None else f"; {duration(seconds_left)} left"
    return f"run {number} of {of}: repeat {fold.repeat}, fold {fold.fold}{left}"


def fold_result(metrics: "dict[str, Metric]") -> str:
    """`50/52 right, ROC AUC 0.991`."""
    accuracy, auc = metrics["accuracy"], metrics["roc_auc"]
    area = "undefined" if auc.value is None else f"{auc.value:.3f}"
    return f"{accuracy.k}/{accuracy.n} right, ROC AUC {area}"


def prediction_line(prediction: "Prediction") -> str:
    """`blast         P(blast) 0.997  cell.tif`, with the reason for no verdict, or the error."""
    if prediction.error is not None:
        return f"{'error':<13} {prediction.error}"
    probability = prediction.probability or 0.0
    reason = f" ({prediction.reason})" if prediction.reason else ""
    name = one_line(prediction.path)
    return f"{prediction.verdict:<13} P(blast) {probability:.3f}  {name}{reason}"


def summary(counts: dict[str, int]) -> str:
    """`3 images: 2 blast, 1 healthy, 0 uncertain, 0 out of domain, 0 failed`."""
    parts = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{images(sum(counts.values()))}: {parts}"


def images(count: int) -> str:
    """`1 image`, `2 images`."""
    return f"{count} {'image' if count == 1 else 'images'}"


def plain_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A borderless table for lists of runs and models."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(one_line(cell)) for cell in row))
    return table


def duration(seconds: float) -> str:
    """`48 s`, `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
