"""What a comparison of runs found, as other programs and people read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.report.metric_text import format_metric
from alld.stats.metrics import Metric
from alld.stats.significance import McNemar, fewest_discordant

ALPHA = 0.05


@dataclass(frozen=True)
class Contender:
    """One run: of the images that it tested, its numbers on those that all runs tested."""

    name: str
    folder: Path
    tested: int
    metrics: dict[str, Metric]


@dataclass(frozen=True)
class Disagreement:
    """An image that only one of two runs judged right, and which one that was."""

    path: str
    repeat: str
    label: str
    probability_a: float
    probability_b: float
    right: str


@dataclass(frozen=True)
class Pair:
    """Two runs. `differences` are a's metric minus b's; `better` is None where chance will do."""

    a: str
    b: str
    test: McNemar
    p_holm: float
    differences: dict[str, Metric]
    better: str | None
    verdict: str
    disagreements: tuple[Disagreement, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs on the `images` that all of them tested, each once in each of the `repeats`."""

    images: int
    classes: str
    groups: int
    repeats: int
    synthetic: bool
    contenders: tuple[Contender, ...]
    pairs: tuple[Pair, ...]
    caveats: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The answer of `alld compare --json`."""
        return {
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "images": self.images,
            "groups": self.groups,
            "repeats": self.repeats,
            "fewest_discordant": fewest_discordant(len(self.pairs), ALPHA),
            "runs": [_run_dict(contender) for contender in self.contenders],
            "pairs": [_pair_dict(pair) for pair in self.pairs],
            "caveats": list(self.caveats),
        }


RUN_COLUMNS = ("run", "accuracy", "sensitivity", "specificity", "ROC AUC")
PAIR_COLUMNS = (
    "runs",
    "only the first right",
    "only the second right",
    "McNemar p",
    "after Holm",
    "accuracy",
    "ROC AUC",
)


def title(comparison: Comparison) -> str:
    """How many images stand behind the numbers, and whether they were drawn."""
    mark = "SYNTHETIC: " if comparison.synthetic else ""
    repeats = f", {comparison.repeats} repeats" if comparison.repeats > 1 else ""
    return f"{mark}{comparison.images} images tested by all runs: {comparison.classes}{repeats}"


def run_rows(comparison: Comparison) -> Iterator[list[str]]:
    """The cells of `RUN_COLUMNS`, two lines each: a number and below it its interval."""
    for contender in comparison.contenders:
        cells = []
        for metric in contender.metrics.values():
            value, counts, interval = format_metric(metric)
            shown = f"{value} ({counts})" if metric.k is not None else value
            cells.append(f"{shown}\n{interval}")
        yield [f"{contender.name}\n(tested {contender.tested})", *cells]


def pair_rows(comparison: Comparison) -> Iterator[list[str]]:
    """The cells of `PAIR_COLUMNS`, the differences with their intervals below them."""
    for pair in comparison.pairs:
        yield [
            f"{pair.a}\n{pair.b}",
            str(pair.test.only_a),
            str(pair.test.only_b),
            f"{pair.test.p_value:.3g}",
            f"{pair.p_holm:.3g}",
            *(_difference_cell(metric) for metric in pair.differences.values()),
        ]


def disagreement_line(pair: Pair, image: Disagreement) -> str:
    """`blast    P(blast) 0.912 of one, 0.311 of two: one is right  cells/Im001_1.tif`."""
    repeat = f", repeat {image.repeat}" if image.repeat else ""
    return (
        f"{image.label:<8} P(blast) {image.probability_a:.3f} of {pair.a}, "
        f"{image.probability_b:.3f} of {pair.b}: {image.right} is right  {image.path}{repeat}"
    )


def _difference_cell(metric: Metric) -> str:
    if metric.value is None:
        return "undefined"
    if metric.ci_low is None or metric.ci_high is None:
        return f"{metric.value:+.3f}\nno interval"
    return f"{metric.value:+.3f}\n{metric.ci_low:+.3f} to {metric.ci_high:+.3f}"


def _run_dict(contender: Contender) -> dict[str, Any]:
    return {
        "name": contender.name,
        "folder": str(contender.folder),
        "tested": contender.tested,
        "metrics": {name: metric.as_dict() for name, metric in contender.metrics.items()},
    }


def _pair_dict(pair: Pair) -> dict[str, Any]:
    return {
        "a": pair.a,
        "b": pair.b,
        **vars(pair.test),
        "p_holm": pair.p_holm,
        "differences": {name: metric.as_dict() for name, metric in pair.differences.items()},
        "better": pair.better,
        "verdict": pair.verdict,
        "disagreements": [vars(image) for image in pair.disagreements],
    }
