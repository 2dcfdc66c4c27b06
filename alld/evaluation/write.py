"""Write the folder of a result: numbers, tables, predictions, pictures and report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.evaluation.explanation import Explanation, write_checked
from alld.evaluation.out_of_fold import HeldOut, by_repeat, wrong_rows
from alld.evaluation.result import (
    METRICS,
    Result,
    Table,
    caveats,
    comparison_table,
    fold_table,
    metric_table,
    outside_table,
    patient_line,
)
from alld.inference.heat_map import Heat
from alld.inference.prediction import COLUMNS
from alld.report.charts import draw_plots
from alld.report.material import History, Material, Pictured, Scored, short_names
from alld.report.page import write_report
from alld.report.text import latex_table, markdown_table
from alld.runtime.files import new_folder, write_csv, write_json, write_text

METRIC_COLUMNS = ("metric", "value", "k", "n", "ci_low", "ci_high", "method", "reason")
SPREAD_COLUMNS = ("repeats", "sd", "lowest", "highest")
FOLD_COLUMNS = (
    "repeat", "fold", "path", "sha256", "pixels_sha256", "group", "label", "probability",
    "threshold", "verdict",
)  # fmt: skip


def write_result(result: Result, explained: Explanation | None = None) -> None:
    """Write all files of a result; what its folder held before is replaced.

    Args:
        explained: the heat maps of a run's test images.
    """
    facts = result.as_dict()
    material = material_of(facts, result.rows, result.histories, result.root, explained)
    crossval = result.kind == "crossval"
    if crossval:
        _write_split(result)
    with new_folder(result.folder) as folder:
        write_json(folder / METRICS, facts)
        columns = METRIC_COLUMNS + (SPREAD_COLUMNS if crossval else ())
        write_csv(folder / "table.csv", columns, _metric_rows(result))
        write_text(folder / "table.md", _markdown(result))
        write_text(folder / "table.tex", _latex(result))
        (_write_fold_predictions if crossval else _write_predictions)(folder, result)
        if explained is not None and explained.checked:
            write_checked(folder, explained.checked)
        draw_plots(folder, material)
        write_report(folder, material)


def _metric_rows(result: Result) -> Iterator[dict[str, Any]]:
    for name, metric in result.metrics.items():
        row = {"metric": name, "reason": None, **metric.as_dict()}
        if spread := result.training_spread.get(name):
            ends = {"lowest": spread.low, "highest": spread.high}
            row |= {"repeats": spread.repeats, "sd": spread.sd, **ends}
        yield row


def _write_predictions(folder: Path, result: Result) -> None:
    pairs = zip(result.predictions, result.rows, strict=True)
    rows = ({**one.as_row(), "label": LABEL_NAMES[row.label]} for one, row in pairs)
    write_csv(folder / "predictions.csv", (*COLUMNS, "label"), rows)


def _patient_column(result: Result) -> tuple[str, ...]:
    return ("patient",) if result.by_patient else ()


def _write_fold_predictions(folder: Path, result: Result) -> None:
    columns = (*FOLD_COLUMNS, *_patient_column(result))
    rows = []
    for row in result.rows:
        fields = {name: value for name, value in vars(row).items() if name in columns}
        rows.append({**fields, "label": LABEL_NAMES[row.label], "verdict": row.answer})
    write_csv(folder / "predictions.csv", columns, rows)


def _write_split(result: Result) -> None:
    """Write the group of each image beside the folder, where `alld compare` looks for it."""
    columns = ("path", "group", *_patient_column(result))
    images = {row.path: {name: getattr(row, name) for name in columns} for row in result.rows}
    write_csv(result.folder.parent / "split.csv", columns, images.values())


def _markdown(result: Result) -> str:
    """Return `table.md`: the numbers with their counts and intervals, and the caveats."""
    tables: list[Table] = [metric_table(result)]
    if result.kind == "crossval":
        tables += [outside_table(result), fold_table(result)]
    else:
        tables += [_confusion_table(result), comparison_table(result)]
    lines = [f"# {result.marked_title}", ""]
    for headings, rows in tables:
        lines += [*markdown_table(headings, rows), ""] if rows else []
    if line := patient_line(result):
        lines += [line, ""]
    lines += [f"- {sentence}" for sentence in (*caveats(result), NOTICE)]
    return "\n".join(lines) + "\n"


def _latex(result: Result) -> str:
    """Return `table.tex`: the numbers with their counts and intervals, for the text of a paper."""
    headings, rows = metric_table(result)
    notes = [*caveats(result), NOTICE]
    return latex_table(headings, rows, notes, result.marked_title)


def _confusion_table(result: Result) -> Table:
    counts = result.confusion
    return ("", "predicted blast", "predicted healthy"), [
        ("blast", str(counts.true_positive), str(counts.false_negative)),
        ("healthy", str(counts.false_positive), str(counts.true_negative)),
    ]


def material_of(
    facts: Mapping[str, Any],
    rows: Sequence[HeldOut],
    histories: Iterable[History],
    root: Path = Path(),
    explained: Explanation | None = None,
) -> Material:
    """Return what the report and the pictures of a result are made from.

    Args:
        facts: the content of metrics.json.
        rows: every prediction with its label, repeat by repeat.
        histories: the rows of history.csv of each training.
        root: the folder from which the rows name their images.
        explained: heat maps of some of the images, to be shown.
    """
    paths = [row.path for row in rows]
    names = dict(zip(paths, short_names(paths), strict=True))
    shared: dict[str, Any] = {
        "tests": tuple(map(_scored, by_repeat(rows))),
        "histories": tuple(histories),
    }
    if "plan" in facts:
        missed = _missed_pictures(facts, root, names)
        return Material(facts=facts, misclassified=missed, **shared)

    def picture(row: int, evidence: Heat | None = None) -> Pictured:
        return Pictured(
            file=root / rows[row].path,
            sha256=rows[row].sha256,
            name=names[rows[row].path],
            label=LABEL_NAMES[rows[row].label],
            verdict=LABEL_NAMES[rows[row].verdict],
            row=row,
            evidence=evidence,
        )

    wrong = wrong_rows(rows)
    return Material(
        facts={**facts, "predictions": [{"probability": row.probability} for row in rows]},
        misclassified=tuple(map(picture, wrong)),
        explained=tuple(starmap(picture, explained.examples(wrong) if explained else ())),
        **shared,
    )


def _scored(rows: Sequence[HeldOut]) -> Scored:
    return Scored(
        [row.label for row in rows],
        [row.probability for row in rows],
        [row.verdict for row in rows],
    )


def _missed_pictures(
    facts: Mapping[str, Any], root: Path, names: Mapping[str, str]
) -> tuple[Pictured, ...]:
    """Return each image that a repeat of a cross-validation got wrong, once."""
    pictures = []
    for number, image in enumerate(facts["missed"]):
        verdict = LABEL_NAMES[1 - LABEL_NAMES.index(image["label"])]
        file, name = root / image["path"], names[image["path"]]
        pictures.append(Pictured(file, image["sha256"], name, image["label"], verdict, number))
    return tuple(pictures)
