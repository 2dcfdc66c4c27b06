"""Write a table of systems as CSV, Markdown, LaTeX, JSON and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes

from alld import NOTICE
from alld.data.domains import domain_table
from alld.data.manifest import Manifest
from alld.evaluation.compare.result import PairedTest
from alld.paper.other_sessions import direction_lines
from alld.paper.systems import System
from alld.report.figures import BLUE, GREY, INK, ORANGE, open_figure, save_figure
from alld.report.text import latex_table, markdown_table, percent
from alld.runtime.files import new_folder, write_csv, write_json, write_text
from alld.stats.metrics import Metric

PAIR_HEADINGS = ("Pair", "first correct more often", "second", "p (McNemar)", "p (Holm)",
                 "difference (95 % interval)")  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Systems on the same splits, the pairs that were tested, and the notes of a reader."""

    name: str  # of its files
    title: str
    headings: tuple[str, ...]
    systems: tuple[System, ...]
    labels: tuple[str, ...]  # of the systems in the picture
    cells: tuple[tuple[str, ...], ...]  # a row for each system, in words
    rows: tuple[dict[str, object], ...]  # the same as numbers, for the CSV file
    pairs: tuple[PairedTest, ...]
    notes: tuple[str, ...]
    legend: str  # of the quoted values in the picture
    facts: dict[str, object]


@dataclass(frozen=True)
class _Row:
    """A system in `_draw_dots`: its single tests, its folds, and what its paper reports."""

    name: str
    tests: tuple[float, ...]  # accuracies
    folds: Metric
    quoted: float | None


def write_table(folder: Path, table: Table) -> None:
    """Write the table as `.csv`, `.md`, `.tex`, `.png`, `.json` and `pairs.csv` in a new folder."""
    pairs = [_pair_row(pair) for pair in table.pairs]
    rows = [
        _Row(
            label,
            system.paper_shaped,
            system.metrics["accuracy"],
            None if system.quote is None else system.quote.accuracy,
        )
        for label, system in zip(table.labels, table.systems, strict=True)
    ]
    with new_folder(folder) as new:
        file = new / table.name
        write_csv(file.with_suffix(".csv"), tuple(table.rows[0]), table.rows)
        write_csv(new / "pairs.csv", tuple(pairs[0]), pairs)
        facts = {"notice": NOTICE, **table.facts, "systems": table.rows, "pairs": pairs}
        write_json(file.with_suffix(".json"), facts)
        write_text(file.with_suffix(".md"), markdown(table))
        write_text(file.with_suffix(".tex"), latex(table))
        _draw_dots(file, table.title, rows, table.legend)


def markdown(table: Table) -> str:
    """Return the table, its directions in other sessions, the pairs and the notes."""
    lines = [f"# {table.title}", "", *markdown_table(table.headings, table.cells)]
    lines += direction_lines(table.systems)
    lines += ["", *markdown_table(PAIR_HEADINGS, map(_pair_cells, table.pairs))]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """Return a booktabs table; the notes stand above it as comments."""
    return latex_table(table.headings, table.cells, table.notes, table.title)


def facts_of(manifest: Manifest, unlike: tuple[str, ...]) -> dict[str, object]:
    """Return the facts of a table that its JSON file has beside the numbers."""
    return {
        "synthetic": manifest.synthetic,
        "data": manifest.kind,
        "unlike_conditions": unlike,
    }


def closing_notes(manifest: Manifest, unlike: tuple[str, ...]) -> list[str]:
    """Return the notes that end every table."""
    found = []
    if unlike:
        found.append(f"Trained under unlike conditions: {'; '.join(unlike)}.")
    domains = domain_table(manifest)
    if domains and domains.confounded:
        found.append(
            f"Each of the {len(domains.counts)} {domains.noun}s ({domains.source}) of this set "
            "holds one class alone: folds inside it are no evidence that the disease was learnt."
        )
    if manifest.synthetic:
        found.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    elif manifest.kind == "ALL-IDB2":
        found.append("ALL-IDB2 has no patient ids: one patient may be on both sides of any split.")
    return [*found, NOTICE]


def interval(metric: Metric, sign: str = "") -> str:
    """Return ` (90.1 to 97.3)`, in percent."""
    if metric.ci_low is None or metric.ci_high is None:
        return " (no interval)"
    return f" ({metric.ci_low * 100:{sign}.1f} to {metric.ci_high * 100:{sign}.1f})"


def quoted(system: System) -> str:
    """Return the quoted accuracy in percent, or nothing."""
    return "" if system.quote is None else percent(system.quote.accuracy)


def _pair_cells(pair: PairedTest) -> tuple[str, ...]:
    difference = pair.differences["accuracy"]
    return (
        f"{pair.a} against {pair.b}",
        str(pair.test.only_a),
        str(pair.test.only_b),
        f"{pair.test.p_value:.2g}",
        f"{pair.p_holm:.2g}",
        f"{(difference.value or 0) * 100:+.1f}{interval(difference, '+')}",
    )


def _pair_row(pair: PairedTest) -> dict[str, object]:
    difference = pair.differences["accuracy"]
    return {
        "a": pair.a,
        "b": pair.b,
        "a_correct_more_often": pair.test.only_a,
        "b_correct_more_often": pair.test.only_b,
        "n": pair.test.n,
        "p_mcnemar": pair.test.p_value,
        "p_holm": pair.p_holm,
        "difference": difference.value,
        "difference_low": difference.ci_low,
        "difference_high": difference.ci_high,
        "verdict": pair.verdict,
    }


def _draw_dots(path: Path, title: str, rows: Sequence[_Row], quoted: str) -> None:
    """Draw the accuracies of several systems, one row each; `quoted` names the diamonds."""
    with open_figure((9, 1.8 + 0.62 * len(rows))) as (figure, axes):
        figure.set_layout_engine("constrained")
        for height, row in enumerate(reversed(rows)):
            _draw_row(axes, row, height)
        axes.set_yticks(range(len(rows)), [fill(row.name, 32) for row in reversed(rows)])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel("accuracy, % of cell images")
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.plot([], [], "o", color=BLUE, markersize=5, label="one paper-shaped test")
        axes.plot([], [], "s", color=INK, markersize=6, label="grouped 5-fold, 95 % interval")
        if any(row.quoted is not None for row in rows):
            axes.plot([], [], "D", color=ORANGE, markersize=9, label=quoted)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
        figure.text(0.995, 0.008, "research use only", fontsize=7.5, color=GREY, ha="right")
        save_figure(figure, path)


def _draw_row(axes: Axes, row: _Row, height: int) -> None:
    if row.tests:
        # Tests of 52 images fall on few values: equal ones are stacked, so that each is seen.
        values, counts = np.unique(np.round(row.tests, 6), return_counts=True)
        x = np.repeat(values, counts) * 100
        y = height + 0.12 + np.concatenate([np.arange(count) * 0.07 for count in counts])
        axes.plot(x, y, "o", color=BLUE, alpha=0.65, markersize=5, markeredgewidth=0)
    folds = row.folds
    if folds.ci_low is not None and folds.ci_high is not None:
        axes.hlines(height - 0.15, folds.ci_low * 100, folds.ci_high * 100, color=INK, lw=2)
    axes.plot((folds.value or 0) * 100, height - 0.15, "s", color=INK, markersize=6)
    if row.quoted is not None:
        axes.plot(row.quoted * 100, height, "D", color=ORANGE, markersize=9, zorder=4)
