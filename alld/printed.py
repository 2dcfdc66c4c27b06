"""Results as a person reads them in the terminal: tables, and one line for each prediction."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from alld import NOTICE
from alld.display import detail, details, duration, output, say
from alld.runtime.files import one_line

if TYPE_CHECKING:
    from alld.audit.examine import Audit
    from alld.evaluation.compare.result import Comparison
    from alld.evaluation.crossval.folds import Fold
    from alld.evaluation.crossval.result import CrossValidation
    from alld.evaluation.result import Evaluation
    from alld.inference.prediction import Prediction
    from alld.model.bundle_info import BundleInfo
    from alld.stats.metrics import Metric


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
    from alld.report.metric_text import format_metric, title_of

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
    from alld.evaluation.compare import result as told

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
    from alld.audit.findings import findings
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
    from alld.evaluation.crossval.result import (
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
