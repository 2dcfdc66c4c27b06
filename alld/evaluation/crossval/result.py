"""What a cross-validation found, and how a person reads it: two spreads, apart, and the caveats."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.evaluation.out_of_fold import HeldOut, Missed, Spread
from alld.report.crossval_words import limits, words
from alld.report.facts import as_text
from alld.report.material import History, Material, Pictured, Scored, short_names
from alld.report.metric_text import PROPORTIONS, TITLES, format_metric
from alld.report.page import write_report
from alld.report.patient_words import known, told_by_patient
from alld.report.plots import draw_plots
from alld.runtime.files import new_folder, write_csv, write_json, write_text
from alld.stats.metrics import Confusion, Metric, confusion
from alld.stats.patients import ByPatient
from alld.stats.reliability import ReliabilityPoint

SPLIT = ("path", "group")
ROWS = ("repeat", "fold", "path", "sha256", "group", "label", "probability", "threshold", "verdict")
TABLE = ("metric", "value", "k", "n", "ci_low", "ci_high", "method", "reason",
         "repeats", "sd", "lowest", "highest")  # fmt: skip
HEADINGS = ("Metric", "Value", "Counts", "95 % interval (sampling)", "Over repeats (training)")
FOLD_HEADINGS = ("Repeat", "Fold", "Right", "Blasts found", "Healthy passed")


@dataclass(frozen=True)
class CrossValidation:
    """What all folds together say; every number counts cell images, or says what else."""

    folder: Path
    root: Path  # of the images
    plan: dict[str, Any]
    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Metric]
    per_repeat: tuple[dict[str, Metric], ...]
    spread: dict[str, Spread]
    by_patient: ByPatient | None  # None where nobody is named
    folds: tuple[dict[str, Any], ...]
    reliability: tuple[ReliabilityPoint, ...]
    background: dict[str, Any]
    abstention: dict[str, Any]
    heat_maps: dict[str, Any]
    missed: tuple[Missed, ...]
    rows: tuple[HeldOut, ...]
    verdicts: tuple[str, ...]  # one for each row, see `abstention.cross_fitted`
    histories: tuple[History, ...]
    provenance: dict[str, Any]

    @property
    def title(self) -> str:
        """What was validated, in one line."""
        plan = self.plan
        times = f", {plan['repeats']} repeats" if plan["repeats"] > 1 else ""
        kind = f"{plan['split']} {plan['folds']}-fold cross-validation{times}"
        return f"{plan['arch']}, {kind}, seed {plan['seed']}"

    @property
    def marked_title(self) -> str:
        """The title that says SYNTHETIC where it must."""
        return f"SYNTHETIC: {self.title}" if self.synthetic else self.title

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.folder / "report.html"

    @property
    def synthetic(self) -> bool:
        """The images were drawn, not photographed."""
        return bool(self.data["synthetic"])

    @property
    def confusion(self) -> Confusion:
        """Of all predictions; each image has one in each repeat."""
        return confusion([row.label for row in self.rows], [row.verdict for row in self.rows])

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {
            "title": self.title,
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "plan": self.plan,
            "model": self.model,
            "data": self.data,
            "metrics": _as_dicts(self.metrics),
            "per_repeat": [_as_dicts(metrics) for metrics in self.per_repeat],
            "training_spread": {name: asdict(spread) for name, spread in self.spread.items()},
            "by_patient": self.by_patient and self.by_patient.as_dict(),
            "folds": list(self.folds),
            "confusion": asdict(self.confusion),
            "wrong": sum(row.verdict != row.label for row in self.rows),
            "missed_images": len(self.missed),
            "missed": [asdict(image) for image in self.missed],
            "reliability": [asdict(point) for point in self.reliability],
            "background": self.background,
            "abstention": self.abstention,
            "heat_maps": self.heat_maps,
            "provenance": self.provenance,
        }


def write_crossval(result: CrossValidation) -> None:
    """Write `evaluation/`: numbers, tables, pictures, report; and the groups beside it."""
    named = ("patient",) if result.by_patient else ()
    split = {
        row.path: {name: getattr(row, name) for name in (*SPLIT, *named)} for row in result.rows
    }
    write_csv(result.folder.parent / "split.csv", (*SPLIT, *named), split.values())
    facts = result.as_dict()
    material = crossval_material(facts, result.rows, result.root, result.histories)
    with new_folder(result.folder) as folder:
        write_json(folder / "metrics.json", facts)
        columns = (*ROWS, *named)
        write_csv(folder / "predictions.csv", columns, _prediction_rows(result, columns))
        write_csv(folder / "table.csv", TABLE, _table_rows(result))
        write_text(folder / "table.md", markdown(result))
        draw_plots(folder, material)
        write_report(folder, material)


def crossval_material(
    facts: Mapping[str, Any],
    rows: Sequence[HeldOut],
    root: Path,
    histories: Sequence[History],
) -> Material:
    """What the report and the pictures of a cross-validation are made from.

    Args:
        facts: the content of metrics.json.
        rows: the out-of-fold predictions, repeat by repeat.
        root: the folder of the set, from which rows name their images.
        histories: the rows of history.csv of each fold.
    """
    repeats: dict[int, list[HeldOut]] = {}
    for row in rows:
        repeats.setdefault(row.repeat, []).append(row)
    paths = [row.path for row in rows]
    names = dict(zip(paths, short_names(paths), strict=True))
    return Material(
        layout="crossval",
        facts=facts,
        words=words(facts),
        tests=tuple(map(_scored, repeats.values())),
        misjudged=tuple(
            _misjudged(number, image, root, names[image["path"]], repeated=len(repeats) > 1)
            for number, image in enumerate(facts["missed"])
        ),
        histories=tuple(histories),
    )


def _scored(rows: Sequence[HeldOut]) -> Scored:
    return Scored(
        [row.label for row in rows],
        [row.probability for row in rows],
        [row.verdict for row in rows],
    )


def _misjudged(
    number: int, image: Mapping[str, Any], root: Path, name: str, *, repeated: bool
) -> Pictured:
    field = f"missed.{number}"
    lines = (
        f"in {{{field}.times}} of {{plan.repeats}} repeats",
        f"P(blast) {{{field}.lowest:score}} to {{{field}.highest:score}}",
    )
    return Pictured(
        file=root / image["path"],
        sha256=image["sha256"],
        name=name,
        label=image["label"],
        verdict=LABEL_NAMES[1 - LABEL_NAMES.index(image["label"])],
        lines=lines if repeated else (f"P(blast) {{{field}.lowest:score}}",),
    )


def readable_rows(result: CrossValidation) -> list[tuple[str, ...]]:
    """A row a metric under `HEADINGS`, to read."""
    return [
        (
            TITLES[name],
            *format_metric(metric, percent=name in PROPORTIONS),
            _format_spread(result.spread[name], percent=name in PROPORTIONS),
        )
        for name, metric in result.metrics.items()
    ]


def patient_line(result: CrossValidation) -> str | None:
    """The numbers by patient in a sentence, or None where nobody is named."""
    facts = result.as_dict()
    return f"By patient: {as_text(told_by_patient(facts), facts)}." if known(facts) else None


def caveats(result: CrossValidation) -> list[str]:
    """What a reader must know before quoting a number, a sentence each."""
    facts = result.as_dict()
    return [as_text(sentence, facts) for sentence in limits(facts)]


def markdown(result: CrossValidation) -> str:
    """`table.md`: the numbers, both spreads, the folds, the caveats."""
    lines = [
        f"# {result.marked_title}",
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|---" * len(HEADINGS) + "|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in readable_rows(result)]
    lines += ["", f"| {' | '.join(FOLD_HEADINGS)} |", "|---" * len(FOLD_HEADINGS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in fold_rows(result)]
    if line := patient_line(result):
        lines += ["", line]
    lines += ["", *(f"- {sentence}" for sentence in caveats(result)), f"- {NOTICE}"]
    return "\n".join(lines) + "\n"


def fold_rows(result: CrossValidation) -> list[tuple[str, ...]]:
    """Repeat, fold, and k/n of all images, blasts and healthy cells for each fold."""
    return [
        (str(row["repeat"]), str(row["fold"]), *(_counts(row[name]) for name in PROPORTIONS))
        for row in result.folds
    ]


def _counts(metric: Mapping[str, Any]) -> str:
    return "undefined" if metric["value"] is None else f"{metric['k']}/{metric['n']}"


def _format_spread(spread: Spread, *, percent: bool) -> str:
    if spread.sd is None or spread.low is None or spread.high is None:
        return "one repeat" if spread.repeats == 1 else "undefined"
    scale, digits = (100, 1) if percent else (1, 3)
    sd, low, high = (f"{x * scale:.{digits}f}" for x in (spread.sd, spread.low, spread.high))
    return f"sd {sd}, {low} to {high}"


def _table_rows(result: CrossValidation) -> list[dict[str, Any]]:
    return [
        {
            "metric": name,
            "reason": None,
            **metric.as_dict(),
            "repeats": result.spread[name].repeats,
            "sd": result.spread[name].sd,
            "lowest": result.spread[name].low,
            "highest": result.spread[name].high,
        }
        for name, metric in result.metrics.items()
    ]


def _prediction_rows(result: CrossValidation, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row, verdict in zip(result.rows, result.verdicts, strict=True):
        fields = {name: value for name, value in asdict(row).items() if name in columns}
        yield {**fields, "label": LABEL_NAMES[row.label], "verdict": verdict}


def _as_dicts(metrics: dict[str, Metric]) -> dict[str, Any]:
    return {name: metric.as_dict() for name, metric in metrics.items()}
