"""What is said beside the numbers of a result: sentences with their fields, see `facts`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alld.report.facts import look_up

Facts = Mapping[str, Any]  # the content of metrics.json
Status = Literal["answered", "in part", "open"]


@dataclass(frozen=True)
class Item:
    """A question of the reporting guidelines, with what the files of a result can say to it."""

    question: str
    status: Status
    answer: str


Themes = list[tuple[str, list[Item]]]


@dataclass(frozen=True)
class Words:
    """Every sentence in which a run and a cross-validation differ; both fill all of them."""

    headline: str
    supports: list[str]
    limits: list[str]
    themes: Themes
    captions: Mapping[str, str]  # by the name of the chart
    curve: str  # a line of the ROC and precision-recall curves, in their legends
    point: str  # the dot on it
    tally: str  # above the table of the confusion
    score: str  # above its picture
    says: str  # below its picture: whose verdicts they are
    bins: str  # above the table of the bins
    mistakes: str  # above the wrong verdicts; what follows the full stop is the rule
    rule: str  # what is called blast
    abstaining: list[str]  # where the limits of verdicts come from
    bought: str  # what abstaining is worth
    stamp: str  # the last line of a picture


def estimate(facts: Facts, metric: str) -> str:
    """`0.957 (0.931 to 0.978)`, or the reason where there is no interval."""
    return f"{{{metric}.value:score}} ({interval(facts, metric, 'score', 'score')})"


def interval(facts: Facts, metric: str, low: str = "points", high: str = "percent") -> str:
    """`93.1 to 97.8 %`, or the reason where there is none; `low` and `high` are styles."""
    if look_up(facts, metric)["ci_low"] is None:
        return f"{{{metric}.reason}}"
    return f"{{{metric}.ci_low:{low}}} to {{{metric}.ci_high:{high}}}"


def wrong_verdicts(facts: Facts, among: str = "metrics.accuracy.n") -> str:
    """How many of the verdicts counted in `among` are wrong; without a full stop."""
    if facts["wrong"]:
        return f"Verdicts that are not the label: {{wrong}} of {{{among}}}, the surest first"
    return (
        f"None of the {{{among}}} verdicts is wrong. That none ever would be does not follow: see "
        "the interval"
    )
