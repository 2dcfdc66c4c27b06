"""The result of a test: its numbers, the content of `metrics.json`, and how a person reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.errors import RunError
from alld.evaluation.out_of_fold import HeldOut, Missed, Spread, wrong_rows
from alld.evaluation.outside import MEASURES, Outside
from alld.evaluation.robustness import Changed
from alld.inference.prediction import Prediction
from alld.report import sentences
from alld.report.material import History
from alld.report.text import IN_PERCENT, TITLES, format_metric, title_of
from alld.runtime.reading import read_json
from alld.stats.confusion import Confusion
from alld.stats.metrics import Metric
from alld.stats.patients import ByPatient
from alld.stats.reliability import ReliabilityPoint

Kind = Literal["holdout", "external", "crossval"]
METRICS = "metrics.json"
# Keys of metrics.json that one kind of result has and the other has not.
OF_RUN = ("grouped_metrics", "robustness", "external")
OF_CROSSVAL = ("plan", "per_repeat", "training_spread", "folds", "outside", "missed")
_NOT_STORED = ("folder", "rows", "histories", "root", "predictions")


@dataclass(frozen=True)
class FoldMetrics:
    """A row of the table of folds."""

    repeat: int
    fold: int
    accuracy: Metric
    sensitivity: Metric
    specificity: Metric
    roc_auc: Metric
    threshold: float
    temperature: float
    tested: str = ""  # the domains that were tested, where folds are domains


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run's own test, an external validation or a cross-validation found.

    All numbers count cell images unless their name says otherwise; blast is the positive class.
    """

    folder: Path  # where it is written
    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Metric]  # of a cross-validation: means over its repeats
    by_patient: ByPatient | None = None  # None where no image has a known patient
    confusion: Confusion
    wrong: int  # predictions that are not the label
    reliability: tuple[ReliabilityPoint, ...]
    background: Metric  # ROC AUC of what surrounds the cells, over the whole set
    abstention: dict[str, Any]
    heat_maps: dict[str, Any]
    provenance: dict[str, Any]

    # Of a run's own test and of an external validation.
    grouped_metrics: dict[str, Metric] = field(default_factory=dict)  # intervals over groups
    robustness: tuple[Changed, ...] | None = None  # None where it was not measured
    external: dict[str, Any] | None = None  # of an external validation: compared with the own test

    # Of a cross-validation.
    plan: dict[str, Any] | None = None
    per_repeat: tuple[dict[str, Metric], ...] = ()
    training_spread: dict[str, Spread] = field(default_factory=dict)
    folds: tuple[FoldMetrics, ...] = ()
    outside: Outside | None = None  # direction by direction, where folds are domains
    missed: tuple[Missed, ...] = ()

    # In the other files of the folder.
    rows: tuple[HeldOut, ...] = ()  # every prediction with its label
    histories: tuple[History, ...] = ()  # the losses of each training
    root: Path = Path()  # from which the rows name their images
    predictions: tuple[Prediction, ...] = ()  # of a run, as many as rows

    @property
    def kind(self) -> Kind:
        """Which test it is."""
        if self.plan is not None:
            return "crossval"
        return "holdout" if self.external is None else "external"

    @property
    def title(self) -> str:
        """`resnet50, grouped split, seed 0`, or what else was tested."""
        data, plan, arch = self.data, self.plan, self.model["arch"]
        if self.external is not None:
            return f"{arch}, external validation on {self.external['set']}"
        if plan is None:
            return f"{arch}, {data['split']} split, seed {data['split_seed']}"
        times = f", {plan['repeats']} repeats" if plan["repeats"] > 1 else ""
        kind = f"{plan['split']} {plan['folds']}-fold cross-validation{times}"
        return f"{arch}, {kind}, seed {plan['seed']}"

    @property
    def marked_title(self) -> str:
        """The title, which starts with SYNTHETIC where images were drawn."""
        return f"SYNTHETIC: {self.title}" if self.synthetic else self.title

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.folder / "report.html"

    @property
    def synthetic(self) -> bool:
        """Whether the tested images, or those that trained the model, were drawn."""
        trained = self.external is not None and self.external["trained_on"]["synthetic"]
        return bool(self.data["synthetic"] or trained)

    def errors(self) -> list[tuple[Prediction, str]]:
        """Return the wrong predictions of a run with their labels, the most confident first."""
        rows = wrong_rows(self.rows) if self.predictions else []
        return [(self.predictions[row], LABEL_NAMES[self.rows[row].label]) for row in rows]

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `metrics.json`."""
        crossval = self.kind == "crossval"
        left_out = {*_NOT_STORED, *(OF_RUN if crossval else OF_CROSSVAL)}
        stored = (one.name for one in fields(self) if one.name not in left_out)
        return {
            "title": self.title,
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            **{name: _plain(getattr(self, name)) for name in stored},
            **({"missed_images": len(self.missed)} if crossval else {}),
        }


def _plain(value: Any) -> Any:
    """Turn metrics, dataclasses and tuples into what JSON can hold."""
    if hasattr(value, "as_dict"):
        return value.as_dict()
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def read_result(folder: Path) -> Result:
    """Read the `metrics.json` in an evaluation's folder; the other files are left alone.

    Raises:
        RunError: there is none, or it is damaged or of a version that recorded less.
    """
    path = folder / METRICS
    try:
        stored = read_json(path)
        return TypeAdapter(Result).validate_python({**stored, "folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: cannot be read ({key}: {first['msg']})") from error
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def as_metric(stored: Mapping[str, Any]) -> Metric:
    """Return a metric from its entry in `metrics.json`.

    Raises:
        ValueError: the entry is no metric.
    """
    return TypeAdapter(Metric).validate_python(stored)


def caveats(result: Result) -> list[str]:
    """Return what a reader must know before quoting a number, a sentence each."""
    return sentences.caveats(result.as_dict())


def patient_line(result: Result) -> str | None:
    """Return the numbers by patient as a sentence, or None where no patient is known."""
    return sentences.patient_line(result.as_dict())


Table = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headings, and a row of cells each


def metric_table(result: Result) -> Table:
    """Return a row for each metric: value, counts, interval; then its method, or its spread."""
    crossval = result.kind == "crossval"
    rows: list[tuple[str, ...]] = []
    for name, metric in result.metrics.items():
        percent = crossval and name in IN_PERCENT  # means over repeats have no counts
        last = metric.method or ""
        if crossval:
            last = _format_spread(result.training_spread[name], percent=percent)
        rows.append((title_of(name), *format_metric(metric, percent=percent), last))
    if crossval:
        spreads = ("95 % interval (sampling)", "Over repeats (training)")
        return ("Metric", "Value", "Counts", *spreads), rows
    return ("Metric", "Value", "Counts", "95 % interval", "Method"), rows


def _format_spread(spread: Spread, *, percent: bool) -> str:
    if spread.sd is None or spread.low is None or spread.high is None:
        return "one repeat" if spread.repeats == 1 else "undefined"
    scale, digits = (100, 1) if percent else (1, 3)
    sd, low, high = (f"{x * scale:.{digits}f}" for x in (spread.sd, spread.low, spread.high))
    return f"sd {sd}, {low} to {high}"


def comparison_table(result: Result) -> Table:
    """Return a row for each metric that an external validation compares with the own test."""
    headings = ("Measure", "Here", "The run's own test", "Difference")
    compared = (result.external or {}).get("comparison") or {}
    rows: list[tuple[str, ...]] = []
    for name, row in compared.items():
        sides = ("external", "internal", "difference")
        here, there, difference = (as_metric(row[side]) for side in sides)
        values = _with_ends(here), _with_ends(there)
        rows.append((TITLES[name], *values, _difference(difference, counted=there.k is not None)))
    return headings, rows


def _with_ends(metric: Metric) -> str:
    value, counts, ends = format_metric(metric)
    return f"{value} ({ends or counts})"


def _difference(metric: Metric, *, counted: bool) -> str:
    if metric.value is None:
        return f"undefined: {metric.reason}"
    scale, digits, unit = (100, 1, " points") if counted else (1, 3, "")
    value = f"{metric.value * scale:+.{digits}f}{unit}"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{value} ({metric.reason})"
    return f"{value} ({metric.ci_low * scale:+.{digits}f} to {metric.ci_high * scale:+.{digits}f})"


def outside_table(result: Result) -> Table:
    """Return a row for each direction and their mean: outside, and inside on validation images."""
    headings = ("Tested", "Blast, healthy", *map(title_of, MEASURES), "ROC AUC inside",
                "Refused")  # fmt: skip
    if result.outside is None:
        return headings, []
    rows = [
        (one.tested, counts, *_outside_cells(one.metrics, one.inside), refused)
        for one in result.outside.directions
        for counts in (f"{one.classes['blast']}, {one.classes['healthy']}",)
        for refused in ("" if one.out_of_domain is None else f"{one.out_of_domain:.0%}",)
    ]
    mean, over = result.outside.mean, result.outside.over_domains
    rows.append(("mean, over images", "", *_outside_cells(mean, result.outside.inside), ""))
    rows.append(("mean, over directions", "", *_outside_cells(over, {}), ""))
    return headings, rows


def _outside_cells(metrics: dict[str, Metric], inside: dict[str, Metric]) -> list[str]:
    cells = [_short(metrics[name], percent=name != "roc_auc") for name in MEASURES]
    return [*cells, _short(inside["roc_auc"], percent=False) if inside else ""]


def _short(metric: Metric, *, percent: bool) -> str:
    value, _, ends = format_metric(metric, percent=percent)
    return value if metric.ci_low is None else f"{value} ({ends})"


def fold_table(result: Result) -> Table:
    """Return a row for each fold: correct k/n in all and of each class, ROC AUC, domains tested."""
    headings = ("Repeat", "Fold", "Correct", "Sensitivity", "Specificity", "ROC AUC", "Tested")
    rows: list[tuple[str, ...]] = []
    for row in result.folds:
        counts = map(_counts, (row.accuracy, row.sensitivity, row.specificity))
        area = _with_ends(row.roc_auc)
        rows.append((str(row.repeat), str(row.fold), *counts, area, row.tested))
    shown = None if any(row.tested for row in result.folds) else -1  # the last column
    return headings[:shown], [row[:shown] for row in rows]


def _counts(metric: Metric) -> str:
    return "undefined" if metric.value is None else f"{metric.k}/{metric.n}"
