"""Write a table of systems as CSV, Markdown, LaTeX, JSON and a picture."""

from dataclasses import dataclass
from pathlib import Path

from alld import NOTICE
from alld.data.manifest import Manifest
from alld.evaluation.compare.result import PairedTest
from alld.paper.systems import System
from alld.report.charts import Row, draw_dots
from alld.report.tables import latex_table, markdown_table, percent
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


def write_table(folder: Path, table: Table) -> None:
    """Write the table as `.csv`, `.md`, `.tex`, `.png`, `.json` and `pairs.csv` in a new folder."""
    pairs = [_pair_row(pair) for pair in table.pairs]
    rows = [
        Row(
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
        draw_dots(file.with_suffix(".png"), table.title, rows, table.legend)


def markdown(table: Table) -> str:
    """Return the table, the pairs and the notes."""
    lines = [f"# {table.title}", "", *markdown_table(table.headings, table.cells)]
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
