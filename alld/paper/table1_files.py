"""Table 1 as CSV, Markdown, LaTeX and a picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from alld import NOTICE
from alld.baselines.systems import BACKGROUND
from alld.evaluation.compare.result import Pair
from alld.paper.table1 import System, Table1
from alld.report.dot_plot import Line, draw_dots
from alld.report.tables import latex_table, markdown_table, percent
from alld.runtime.files import new_folder, write_csv, write_json, write_text

COLUMNS = (
    "system", "quoted", "quoted_protocol", "paper_shaped_tests", "paper_shaped_mean",
    "paper_shaped_sd", "repeats", "grouped", "grouped_low", "grouped_high", "grouped_sd_repeats",
    "sensitivity", "specificity", "roc_auc", "roc_auc_low", "roc_auc_high", "brier",
    "training_seconds", "image_seconds",
)  # fmt: skip
HEADINGS = ("System", "Quoted", "Paper-shaped: mean (sd)", "Grouped 5-fold (95 % interval)",
            "ROC AUC", "Brier", "Training", "An image")  # fmt: skip
PAIRS = ("a", "b", "a_right_oftener", "b_right_oftener", "n", "p_mcnemar", "p_holm", "difference",
         "difference_low", "difference_high", "verdict")  # fmt: skip
PAIR_HEADINGS = ("Pair", "first right more often", "second", "p (McNemar)", "p (Holm)",
                 "difference (95 % interval)")  # fmt: skip


def write_table1(folder: Path, table: Table1) -> None:
    """Write `table1.csv`, `.md`, `.tex`, `.png`, `.json` and `pairs.csv` into a new folder."""
    lines = [
        Line(
            system.name,
            system.paper_shaped,
            system.metrics["accuracy"],
            None if system.quote is None else system.quote.accuracy,
        )
        for system in table.systems
    ]
    fields, pairs = [_fields(s) for s in table.systems], [_pair_fields(p) for p in table.pairs]
    with new_folder(folder) as new:
        write_csv(new / "table1.csv", COLUMNS, fields)
        write_csv(new / "pairs.csv", PAIRS, pairs)
        facts = {"notice": NOTICE, "synthetic": table.synthetic, "data": table.data,
                 "unlike_conditions": table.unlike}  # fmt: skip
        write_json(new / "table1.json", {**facts, "systems": fields, "pairs": pairs})
        write_text(new / "table1.md", markdown(table))
        write_text(new / "table1.tex", latex(table))
        draw_dots(new / "table1.png", title(table), lines, "quoted, under its own protocol")


def title(table: Table1) -> str:
    """What was done, in one line."""
    mark = "SYNTHETIC: " if table.synthetic else ""
    return f"{mark}Table 1 asked again on {table.data}: every system on the same splits"


def markdown(table: Table1) -> str:
    """The table, the pairs, what the background says of each system, and the notes."""
    lines = [f"# {title(table)}", "", *markdown_table(HEADINGS, map(cells_of, table.systems))]
    lines += ["", *markdown_table(PAIR_HEADINGS, map(_pair_cells, table.pairs))]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(table))]) + "\n"


def latex(table: Table1) -> str:
    """A booktabs table; the notes stand above it as comments."""
    return latex_table(HEADINGS, map(cells_of, table.systems), notes(table), title(table))


def cells_of(system: System) -> tuple[str, ...]:
    """One row under `HEADINGS`, to read."""
    accuracy, auc, brier = (system.metrics[name] for name in ("accuracy", "roc_auc", "brier"))
    image = system.image_seconds
    training = system.training_seconds
    return (
        system.name,
        "" if system.quote is None else percent(system.quote.accuracy),
        _mean_and_sd(system.paper_shaped),
        f"{percent(accuracy.value or 0)}{_interval(accuracy.ci_low, accuracy.ci_high, 100)}",
        "undefined" if auc.value is None else f"{auc.value:.3f}",
        "undefined" if brier.value is None else f"{brier.value:.3f}",
        "" if training is None else f"{training:.3g} s",
        "" if image is None else f"{image * 1000:.3g} ms",
    )


def notes(table: Table1) -> list[str]:
    """What a reader must know before quoting the table."""
    repeats = sorted({len(system.repeats) for system in table.systems})
    found = [
        "Accuracy in percent of cell images, never of patients. Paper-shaped: 52 test images, 23 "
        "blasts and 29 healthy cells, drawn at random, same cells on both sides. Grouped: each of "
        "all images tested once in each repeat, same cells and overlapping crops in one fold, "
        f"{' or '.join(map(str, repeats))} repeats; interval by a bootstrap over groups.",
        "Quoted: what the ALLD paper prints, each under a protocol of its own: "
        + "; ".join(
            f"{system.name.split()[0]} {system.quote.protocol}"
            for system in table.systems
            if system.quote is not None
        )
        + ".",
        "The rivals are rebuilt from their abstracts and repositories; they are not the authors' "
        "programs. Features, scaling, selection and parameters come from the training side alone. "
        "Rivals and probe learn from all images that are not tested; networks from four fifths "
        "of those, and set their temperature by the rest.",
        "Pairs: exact McNemar, an image once, for who was right more often over the repeats that "
        "both have; Holm over all pairs of this table; differences of accuracy with an interval "
        "that resamples groups.",
        f"{BACKGROUND.title} sees only what lies outside the cells. What does not beat it may have "
        "learnt the slide and not the cell; what does beat it may still use the slide.",
        "Seconds are those of this machine as busy as it was: of one training with its features, "
        "and of one image, decoding left out.",
    ]
    if table.unlike:
        found.append(f"Trained under unlike conditions: {'; '.join(table.unlike)}.")
    if table.data == "ALL-IDB2" and not table.synthetic:
        found.append("ALL-IDB2 has no patient ids: one patient may be on both sides of any split.")
    if table.synthetic:
        found.append("SYNTHETIC: drawn images; these numbers say nothing about real cells.")
    return [*found, NOTICE]


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    difference = pair.differences["accuracy"]
    value = 0.0 if difference.value is None else difference.value * 100
    return (
        f"{pair.a} against {pair.b}",
        str(pair.test.only_a),
        str(pair.test.only_b),
        f"{pair.test.p_value:.2g}",
        f"{pair.p_holm:.2g}",
        f"{value:+.1f}{_interval(difference.ci_low, difference.ci_high, 100, '+')}",
    )


def _interval(low: float | None, high: float | None, times: float, sign: str = "") -> str:
    if low is None or high is None:
        return " (no interval)"
    return f" ({low * times:{sign}.1f} to {high * times:{sign}.1f})"


def _mean_and_sd(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(map(percent, values))
    return f"{percent(fmean(values))} ({stdev(values) * 100:.1f})"


def _fields(system: System) -> dict[str, object]:
    metrics, tests = system.metrics, system.paper_shaped
    accuracy, auc = metrics["accuracy"], metrics["roc_auc"]
    return {
        "system": system.name,
        "quoted": system.quote and system.quote.accuracy,
        "quoted_protocol": system.quote and system.quote.protocol,
        "paper_shaped_tests": len(tests),
        "paper_shaped_mean": fmean(tests) if tests else None,
        "paper_shaped_sd": stdev(tests) if len(tests) > 1 else None,
        "repeats": len(system.repeats),
        "grouped": accuracy.value,
        "grouped_low": accuracy.ci_low,
        "grouped_high": accuracy.ci_high,
        "grouped_sd_repeats": system.spread["accuracy"].sd,
        "sensitivity": metrics["sensitivity"].value,
        "specificity": metrics["specificity"].value,
        "roc_auc": auc.value,
        "roc_auc_low": auc.ci_low,
        "roc_auc_high": auc.ci_high,
        "brier": metrics["brier"].value,
        "training_seconds": system.training_seconds,
        "image_seconds": system.image_seconds,
    }


def _pair_fields(pair: Pair) -> dict[str, object]:
    difference = pair.differences["accuracy"]
    return {
        "a": pair.a,
        "b": pair.b,
        "a_right_oftener": pair.test.only_a,
        "b_right_oftener": pair.test.only_b,
        "n": pair.test.n,
        "p_mcnemar": pair.test.p_value,
        "p_holm": pair.p_holm,
        "difference": difference.value,
        "difference_low": difference.ci_low,
        "difference_high": difference.ci_high,
        "verdict": pair.verdict,
    }
