"""Table 2 as CSV, Markdown, LaTeX and a picture; what is not the paper's method says so."""

from pathlib import Path

from alld import NOTICE
from alld.paper.table2 import Row, Table2
from alld.report.tables import latex_table, markdown_table, percent
from alld.runtime.files import new_folder, write_csv, write_json, write_text

COLUMNS = (
    "model", "initial_weights", "paper", "mean", "sd", "min", "max", "seeds", "share_at_paper",
    "ranked_first", "grouped_k", "grouped_n", "grouped", "grouped_low", "grouped_high",
    "grouped_roc_auc", "grouped_brier",
)  # fmt: skip
HEADINGS = ("Model", "Paper", "Paper-shaped: mean", "sd", "min to max", "at or above the paper",
            "first", "Grouped 5-fold", "95 % interval")  # fmt: skip


def write_table2(folder: Path, table: Table2) -> None:
    """Write `table2.csv`, `.md`, `.tex`, `.png` and `pairs.csv` into a new folder."""
    from alld.report.dot_plot import Line, draw_dots

    lines = [
        Line(name_of(row), row.accuracies, row.grouped["accuracy"], row.paper) for row in table.rows
    ]
    with new_folder(folder) as new:
        write_csv(new / "table2.csv", COLUMNS, map(_fields, table.rows))
        write_csv(new / "pairs.csv", tuple(_pair_fields(table)[0]), _pair_fields(table))
        write_json(new / "table2.json", {"notice": NOTICE, "synthetic": table.synthetic,
                                         "unlike_conditions": table.unlike,
                                         "rows": [_fields(row) for row in table.rows]})  # fmt: skip
        write_text(new / "table2.md", markdown(table))
        write_text(new / "table2.tex", latex(table))
        draw_dots(new / "table2.png", title(table), lines, "the paper's one test")


def title(table: Table2) -> str:
    """What was done, in one line."""
    mark = "SYNTHETIC: " if table.synthetic else ""
    return f"{mark}Table 2 asked again on {table.data}: {table.seeds} paper-shaped tests, 5 folds"


def name_of(row: Row) -> str:
    """The row's name; one that did not start from ImageNet weights can never look like another."""
    return row.name if row.initial_weights == "ImageNet" else f"{row.name} ({_origin(row)})"


def _origin(row: Row) -> str:
    return "random weights" if row.initial_weights == "random" else row.initial_weights


def cells_of(row: Row) -> tuple[str, ...]:
    """One row under `HEADINGS`, to read."""
    accuracy = row.grouped["accuracy"]
    low, high = accuracy.ci_low, accuracy.ci_high
    return (
        name_of(row),
        "" if row.paper is None else percent(row.paper),
        percent(row.mean),
        "" if row.sd is None else f"{row.sd * 100:.1f}",
        f"{percent(min(row.accuracies))} to {percent(max(row.accuracies))}",
        "" if row.reached is None else f"{row.reached:.0%}",
        f"{row.first:.1f}",
        f"{percent(accuracy.value or 0)} ({accuracy.k}/{accuracy.n})",
        "undefined" if low is None or high is None else f"{percent(low)} to {percent(high)}",
    )


def notes(table: Table2) -> list[str]:
    """What a reader must know before quoting the table."""
    found = [
        "Accuracy in percent of cell images, never of patients. Paper-shaped: 52 test images, 23 "
        "blasts and 29 healthy cells, drawn at random, other seeds for each test and training; "
        "same cells lie on both sides. Grouped: each of all images tested once, same cells and "
        "overlapping crops in one fold; interval by a bootstrap over groups.",
        "first: tests at which the model was best; a shared first place counts in parts.",
    ]
    strange = sorted({_origin(row) for row in table.rows if row.initial_weights != "ImageNet"})
    if strange:
        found.append(
            f"Rows marked {', '.join(strange)} did not start from ImageNet weights: they are not "
            "the paper's transfer learning and not comparable to its values."
        )
    if table.unlike:
        found.append(f"Trained under unlike conditions: {'; '.join(table.unlike)}.")
    if table.synthetic:
        found.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    return [*found, NOTICE]


def markdown(table: Table2) -> str:
    """The table, the pairs and the notes."""
    lines = [f"# {title(table)}", "", *markdown_table(HEADINGS, map(cells_of, table.rows))]
    lines += ["", "| Pair | only first right | only second right | p (McNemar) | p (Holm) |",
              "|---|---|---|---|---|"]  # fmt: skip
    for pair in table.pairs:
        test = pair.test
        counts = f"{test.only_a} | {test.only_b} | {test.p_value:.3f} | {pair.holm:.3f}"
        lines.append(f"| {pair.first} against {pair.second} | {counts} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(table))]) + "\n"


def latex(table: Table2) -> str:
    """A booktabs table; the notes stand above it as comments."""
    return latex_table(HEADINGS, map(cells_of, table.rows), notes(table), title(table))


def _fields(row: Row) -> dict[str, object]:
    accuracy = row.grouped["accuracy"]
    return {
        "model": row.name,
        "initial_weights": row.initial_weights,
        "paper": row.paper,
        "mean": row.mean,
        "sd": row.sd,
        "min": min(row.accuracies),
        "max": max(row.accuracies),
        "seeds": len(row.accuracies),
        "share_at_paper": row.reached,
        "ranked_first": row.first,
        "grouped_k": accuracy.k,
        "grouped_n": accuracy.n,
        "grouped": accuracy.value,
        "grouped_low": accuracy.ci_low,
        "grouped_high": accuracy.ci_high,
        "grouped_roc_auc": row.grouped["roc_auc"].value,
        "grouped_brier": row.grouped["brier"].value,
    }


def _pair_fields(table: Table2) -> list[dict[str, object]]:
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "only_first_right": pair.test.only_a,
            "only_second_right": pair.test.only_b,
            "n": pair.test.n,
            "p_mcnemar": pair.test.p_value,
            "p_holm": pair.holm,
        }
        for pair in table.pairs
    ]
