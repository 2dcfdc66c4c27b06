"""Write metrics as text, and tables of text as Markdown and LaTeX."""

import re
from collections.abc import Iterable, Sequence

from alld.stats.metrics import Metric

TITLES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision (PPV)",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1 score",
    "mcc": "Matthews correlation (MCC)",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
    "ppv": "PPV",
    "npv": "NPV",
    "matched_sensitivity": "Sensitivity at matched specificity",
    "out_of_domain": "Refused as out of domain",  # in comparisons
}
PROPORTIONS = ("accuracy", "sensitivity", "specificity")  # the headline of a report
IN_PERCENT = (*PROPORTIONS, "precision", "matched_sensitivity")
_AT = "_at_"


def name_at(metric: str, prevalence: float) -> str:
    """`ppv_at_0.1`: the name of a metric that holds at an assumed share of blasts only."""
    return f"{metric}{_AT}{prevalence}"


def title_of(name: str) -> str:
    """A metric's name to read, with the prevalence that it assumes: `PPV at prevalence 0.1`."""
    metric, assumed, prevalence = name.partition(_AT)
    return f"{TITLES[metric]} at prevalence {prevalence}" if assumed else TITLES[metric]


def format_metric(metric: Metric, *, percent: bool = False) -> tuple[str, str, str]:
    """`("96.2 %", "50/52", "87.0 to 98.9 %")`: value, counts and interval, to read.

    Proportions with counts are in percent, and others where `percent` says so.
    """
    if metric.value is None:
        return "undefined", metric.reason or "", ""
    counted = metric.k is not None
    scale, digits, unit = (100, 1, " %") if counted or percent else (1, 3, "")
    value = f"{metric.value * scale:.{digits}f}{unit}"
    counts = f"{metric.k}/{metric.n}" if counted else f"n = {metric.n}"
    if metric.ci_low is None or metric.ci_high is None:
        return value, counts, "undefined"
    low, high = metric.ci_low * scale, metric.ci_high * scale
    return value, counts, f"{low:.{digits}f} to {high:.{digits}f}{unit}"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a pipe table."""
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def latex_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str], title: str
) -> str:
    """A booktabs table; notes and title stand around it as comments."""
    lines = [
        *(f"% {' '.join(note.split())}" for note in notes),
        r"\begin{tabular}{l" + "r" * (len(headings) - 1) + "}",
        r"\toprule",
        _latex_row(headings),
        r"\midrule",
        *map(_latex_row, rows),
        r"\bottomrule",
        r"\end{tabular}",
        f"% {' '.join(title.split())}",
    ]
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    """`95.2` for 0.952."""
    return f"{value * 100:.1f}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    return re.sub(r"([%_&#${}])", r"\\\1", text.replace("\\", "/"))
