"""What an evaluation found, and how a person reads it: numbers, counts, intervals, caveats."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.inference.heat_map import Heat
from alld.report.facts import as_text
from alld.report.material import History, Material, Pictured, Scored, short_names
from alld.report.metric_text import TITLES, format_metric, title_of
from alld.report.patient_words import known, told_by_patient
from alld.report.run_words import limits, words
from alld.stats.metrics import Confusion, Metric
from alld.stats.patients import ByPatient
from alld.stats.reliability import ReliabilityPoint

if TYPE_CHECKING:  # reading numbers back, as `compare` does, needs no torch
    from alld.evaluation.explanation import Explanation
    from alld.evaluation.robustness import Shaken
    from alld.inference.prediction import Prediction

COMPARISON = ("Measure", "Here", "The run's own test", "Difference")
_SIDES = ("external", "internal")
TABLE_COLUMNS = ("metric", "value", "k", "n", "ci_low", "ci_high", "method", "reason")


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one run on its test images; every one of them counts cell images."""

    folder: Path
    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Metric]
    grouped_metrics: dict[str, Metric]  # the proportions, their intervals over groups
    confusion: Confusion
    reliability: tuple[ReliabilityPoint, ...]
    background: Metric  # ROC AUC of what surrounds the cells, over the whole set
    abstention: dict[str, Any]
    robustness: tuple["Shaken", ...] | None  # None where it was not asked for
    explained: "Explanation"
    by_patient: ByPatient | None  # None where nobody is named
    external: dict[str, Any] | None  # of an external validation: against the run's own test
    predictions: tuple["Prediction", ...]
    labels: tuple[int, ...]
    provenance: dict[str, Any]

    @property
    def title(self) -> str:
        """`resnet50, grouped split, seed 0`, or on which set it was validated."""
        data = self.data
        if self.external:
            return f"{self.model['arch']}, external validation on {self.external['set']}"
        return f"{self.model['arch']}, {data['split']} split, seed {data['split_seed']}"

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.folder / "report.html"

    @property
    def synthetic(self) -> bool:
        """The images were drawn, not photographed, or those were that trained the model."""
        trained = self.external and self.external["trained_on"]["synthetic"]
        return bool(self.data["synthetic"] or trained)

    def errors(self) -> list[tuple["Prediction", str]]:
        """The images called what they are not, with their label; the surest errors first."""
        rows = wrong_rows(self.predictions, self.labels)
        return [(self.predictions[row], LABEL_NAMES[self.labels[row]]) for row in rows]

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {
            "title": self.title,
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "model": self.model,
            "data": self.data,
            "metrics": _plain(self.metrics),
            "grouped_metrics": _plain(self.grouped_metrics),
            "by_patient": self.by_patient and self.by_patient.as_dict(),
            "external": self.external,
            "confusion": asdict(self.confusion),
            "wrong": len(wrong_rows(self.predictions, self.labels)),
            "reliability": [asdict(point) for point in self.reliability],
            "background": self.background.as_dict(),
            "abstention": self.abstention,
            "robustness": self.robustness and [shaken.as_dict() for shaken in self.robustness],
            "heat_maps": self.explained.as_facts(),
            "provenance": self.provenance,
        }


def run_material(
    facts: Mapping[str, Any],
    predictions: Sequence["Prediction"],
    labels: Sequence[int],
    history: History,
    explained: "Explanation | None" = None,
) -> Material:
    """What the report and the pictures of a run are made from.

    Args:
        facts: the content of metrics.json.
        predictions: of the test images, none without a probability.
        labels: as many, 0 healthy or 1 blast.
        history: the rows of history.csv.
        explained: the heat maps of some of the images, to be shown.
    """
    names = short_names([prediction.path for prediction in predictions])
    verdicts = [LABEL_NAMES.index(str(prediction.call)) for prediction in predictions]
    probabilities = [float(prediction.probability or 0) for prediction in predictions]
    wrong = wrong_rows(predictions, labels)

    def pictured(row: int, evidence: Heat | None = None) -> Pictured:
        return Pictured(
            file=Path(predictions[row].path),
            sha256=predictions[row].sha256,
            name=names[row],
            label=LABEL_NAMES[labels[row]],
            verdict=LABEL_NAMES[verdicts[row]],
            lines=(f"P(blast) {{predictions.{row}.probability:score}}",),
            evidence=evidence,
        )

    return Material(
        layout="external" if facts["external"] else "run",
        facts={**facts, "predictions": [prediction.as_row() for prediction in predictions]},
        words=words(facts),
        tests=(Scored(labels, probabilities, verdicts),),
        misjudged=tuple(map(pictured, wrong)),
        histories=(history,),
        explained=tuple(starmap(pictured, explained.examples(wrong) if explained else ())),
    )


def wrong_rows(predictions: Sequence["Prediction"], labels: Sequence[int]) -> list[int]:
    """The numbers of the predictions called what they are not; the surest errors first."""
    pairs = enumerate(zip(predictions, labels, strict=True))
    wrong = [row for row, (one, label) in pairs if one.call != LABEL_NAMES[label]]
    return sorted(wrong, key=lambda row: -_sureness(predictions[row]))


def _sureness(prediction: "Prediction") -> float:
    return abs((prediction.probability or 0) - prediction.threshold)


def _plain(metrics: dict[str, Metric]) -> dict[str, dict[str, Any]]:
    return {name: metric.as_dict() for name, metric in metrics.items()}


def table_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a metric with `TABLE_COLUMNS`."""
    return [
        {"metric": name, **{"reason": None, **metric.as_dict()}}
        for name, metric in evaluation.metrics.items()
    ]


def caveats(evaluation: Evaluation) -> list[str]:
    """What a reader must know before quoting a number, a sentence each."""
    facts = evaluation.as_dict()
    return [as_text(sentence, facts) for sentence in limits(facts)]


def patient_line(evaluation: Evaluation) -> str | None:
    """The numbers by patient in a sentence, or None where nobody is named."""
    facts = evaluation.as_dict()
    return f"By patient: {as_text(told_by_patient(facts), facts)}." if known(facts) else None


def comparison_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Of an external validation: a row a metric under `COMPARISON`, to read."""
    rows = (evaluation.external or {}).get("comparison") or {}
    return [
        (
            TITLES[name],
            *(_with_ends(Metric(**{"reason": None, **row[side]})) for side in _SIDES),
            _difference(Metric(**{"reason": None, **row["difference"]}), counted=_counted(row)),
        )
        for name, row in rows.items()
    ]


def _counted(row: Mapping[str, Any]) -> bool:
    return row["internal"]["k"] is not None


def _with_ends(metric: Metric) -> str:
    value, counts, ends = format_metric(metric)
    return f"{value} ({ends or counts})"


def _difference(metric: Metric, *, counted: bool) -> str:
    if metric.value is None:
        return f"undefined: {metric.reason}"
    scale, digits, unit = (100, 1, " points") if counted else (1, 3, "")
    told = f"{metric.value * scale:+.{digits}f}{unit}"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{told} ({metric.reason})"
    return f"{told} ({metric.ci_low * scale:+.{digits}f} to {metric.ci_high * scale:+.{digits}f})"


def markdown_table(evaluation: Evaluation) -> str:
    """`table.md`: the numbers with their counts, intervals and caveats."""
    lines = [
        f"# {'SYNTHETIC: ' if evaluation.synthetic else ''}{evaluation.title}",
        "",
        "| Metric | Value | Counts | 95 % interval | Method |",
        "|---|---|---|---|---|",
    ]
    for name, metric in evaluation.metrics.items():
        cells = (title_of(name), *format_metric(metric), metric.method or "")
        lines.append(f"| {' | '.join(cells)} |")
    c = evaluation.confusion
    lines += [
        "",
        "| | called blast | called healthy |",
        "|---|---|---|",
        f"| blast | {c.true_positive} | {c.false_negative} |",
        f"| healthy | {c.false_positive} | {c.true_negative} |",
        "",
        *_more_tables(evaluation),
        *(f"- {sentence}" for sentence in caveats(evaluation)),
        f"- {NOTICE}",
    ]
    return "\n".join(lines) + "\n"


def _more_tables(evaluation: Evaluation) -> list[str]:
    lines = []
    if rows := comparison_rows(evaluation):
        lines += [f"| {' | '.join(COMPARISON)} |", "|---" * len(COMPARISON) + "|"]
        lines += [*(f"| {' | '.join(row)} |" for row in rows), ""]
    if line := patient_line(evaluation):
        lines += [line, ""]
    return lines
