"""The result of a comparison of runs, as JSON and as the cells of tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.inference.prediction import shown
from alld.report.text import format_metric
from alld.stats.metrics import Metric
from alld.stats.significance import McNemar, fewest_discordant

ALPHA = 0.05


@dataclass(frozen=True)
class ComparedRun:
    """One run: how many images it tested, and its metrics on those that all runs tested.

    `outside` is the mean ROC AUC of its directions where it tests other sessions, `inside` that of
    the validation images of the same trainings.
    """

    name: str
    folder: Path
    tested: int
    metrics: dict[str, Metric]
    outside: Metric | None = None
    inside: Metric | None = None


@dataclass(frozen=True)
class Disagreement:
    """An image on which only one of two runs, named `right`, is correct."""

    path: str
    repeat: str
    label: str
    probability_a: float
    probability_b: float
    right: str


@dataclass(frozen=True)
class PairedTest:
    """Two runs on identical images. `differences` are a's metric minus b's; `better` is None where
    chance can explain them."""

    a: str
    b: str
    test: McNemar
    p_holm: float
    differences: dict[str, Metric]
    better: str | None
    verdict: str
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class RunComparison:
    """Runs on the `images` that all of them tested, each once in each of the `repeats`."""

    images: int
    classes: str
    groups: int
    repeats: int
    synthetic: bool
    runs: tuple[ComparedRun, ...]
    pairs: tuple[PairedTest, ...]
    caveats: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer of `alld compare --json`."""
        return {
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "images": self.images,
            "groups": self.groups,
            "repeats": self.repeats,
            "fewest_discordant": fewest_discordant(len(self.pairs), ALPHA),
            "runs": [
                {
                    "name": run.name,
                    "folder": str(run.folder),
                    "tested": run.tested,
                    "metrics": _as_dicts(run.metrics),
                    **({"outside": run.outside.as_dict()} if run.outside else {}),
                    **({"inside": run.inside.as_dict()} if run.inside else {}),
                }
                for run in self.runs
            ],
            "pairs": [
                {
                    "a": pair.a,
                    "b": pair.b,
                    **vars(pair.test),
                    "p_holm": pair.p_holm,
                    "differences": _as_dicts(pair.differences),
                    "better": pair.better,
                    "verdict": pair.verdict,
                    "disagreements": [vars(image) for image in pair.disagreements],
                }
                for pair in self.pairs
            ],
            "caveats": list(self.caveats),
        }


_RUN_COLUMNS = ("run", "accuracy", "sensitivity", "specificity", "ROC AUC")
_SIDES = ("ROC AUC outside, mean of directions", "ROC AUC inside, on validation images")
PAIR_COLUMNS = (
    "runs",
    "only the first correct",
    "only the second correct",
    "McNemar p",
    "after Holm",
    "accuracy",
    "ROC AUC",
)


def title(comparison: RunComparison) -> str:
    """Return how many images were compared, and whether they were drawn."""
    mark = "SYNTHETIC: " if comparison.synthetic else ""
    repeats = f", {comparison.repeats} repeats" if comparison.repeats > 1 else ""
    return f"{mark}{comparison.images} images tested by all runs: {comparison.classes}{repeats}"


def run_columns(comparison: RunComparison) -> tuple[str, ...]:
    """Return the headings of `run_rows`."""
    sides = _SIDES if any(run.outside for run in comparison.runs) else ()
    return _RUN_COLUMNS + sides


def run_rows(comparison: RunComparison) -> Iterator[list[str]]:
    """Yield the cells of `run_columns`, a number and below it its interval in each."""
    sides = len(run_columns(comparison)) - len(_RUN_COLUMNS)
    for run in comparison.runs:
        cells = []
        for metric in [*run.metrics.values(), *(run.outside, run.inside)[:sides]]:
            if metric is None:
                cells.append("")
                continue
            value, counts, interval = format_metric(metric)
            shown = f"{value} ({counts})" if metric.k is not None else value
            ends = interval if metric.ci_low is not None else metric.reason or interval
            cells.append(f"{shown}\n{ends}")
        yield [f"{run.name}\n(tested {run.tested})", *cells]


def pair_rows(comparison: RunComparison) -> Iterator[list[str]]:
    """Yield the cells of `PAIR_COLUMNS`, the differences with their intervals below them."""
    for pair in comparison.pairs:
        yield [
            f"{pair.a}\n{pair.b}",
            str(pair.test.only_a),
            str(pair.test.only_b),
            f"{pair.test.p_value:.3g}",
            f"{pair.p_holm:.3g}",
            *(_difference_cell(metric) for metric in pair.differences.values()),
        ]


def disagreement_line(pair: PairedTest, image: Disagreement) -> str:
    """Return `blast    P(blast) 0.912 of one, 0.31 of two: one is right  cells/Im001_1.tif`."""
    repeat = f", repeat {image.repeat}" if image.repeat else ""
    return (
        f"{image.label:<8} P(blast) {shown(image.probability_a)} of {pair.a}, "
        f"{shown(image.probability_b)} of {pair.b}: {image.right} is right  {image.path}{repeat}"
    )


def _difference_cell(metric: Metric) -> str:
    if metric.value is None:
        return "undefined"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{metric.value:+.3f}\nno interval"
    return f"{metric.value:+.3f}\n{metric.ci_low:+.3f} to {metric.ci_high:+.3f}"


def _as_dicts(metrics: Mapping[str, Metric]) -> dict[str, Any]:
    return {name: metric.as_dict() for name, metric in metrics.items()}
