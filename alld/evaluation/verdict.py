"""What a result supports and what it does not, in sentences; see `facts` for their fields."""

from collections.abc import Callable, Mapping
from typing import Any

Facts = Mapping[str, Any]  # the content of metrics.json

CHANCE = 0.5


def source(facts: Facts) -> str:
    """Which images they are; drawn ones have the names of ALL-IDB2 and nothing else of it."""
    return "SYNTHETIC images named as in {data.name}" if facts["synthetic"] else "{data.name}"


def headline(facts: Facts) -> str:
    """The one sentence that a reader takes along."""
    interval = "{metrics.accuracy.ci_low:points} to {metrics.accuracy.ci_high:percent}"
    return (
        "{metrics.accuracy.k} of {metrics.accuracy.n} cell images were judged as labelled: "
        f"{{metrics.accuracy.value:percent}}, interval {interval} ({{metrics.accuracy.method}})"
    )


def supports(facts: Facts) -> list[str]:
    """What may be said on the strength of the numbers."""
    checks = (_accuracy, _by_groups, _untorn, _untouched, _blind_background)
    return [sentence for check in checks for sentence in check(facts)]


def limits(facts: Facts) -> list[str]:
    """What a reader must know before quoting a number."""
    checks: tuple[Callable[[Facts], list[str]], ...] = (
        _unit,
        _torn,
        _assumed,
        _doubtful_threshold,
        _calibrated_otherwise,
        _origin,
        _background,
        _fragile,
        _random_weights,
        _one_source,
    )
    return [sentence for check in checks for sentence in check(facts)]


def _accuracy(facts: Facts) -> list[str]:
    return [
        "For images like these, taken one by one, every accuracy from "
        "{metrics.accuracy.ci_low:points} to {metrics.accuracy.ci_high:percent} agrees with what "
        "was seen."
    ]


def _by_groups(facts: Facts) -> list[str]:
    """Beside Wilson's interval, where images hang together."""
    if facts["data"]["test_groups"] == facts["metrics"]["accuracy"]["n"]:
        return []
    told = (
        "The {metrics.accuracy.n} images make {data.test_groups} groups ({data.groups}). Counted "
        "by groups"
    )
    if facts["grouped_metrics"]["accuracy"]["ci_low"] is None:
        return [f"{told} there is {{grouped_metrics.accuracy.reason}}."]
    ends = "{grouped_metrics.accuracy.ci_low:points} to {grouped_metrics.accuracy.ci_high:percent}"
    return [f"{told} the interval is {ends}."]


def _untorn(facts: Facts) -> list[str]:
    if facts["data"]["torn_groups"]:
        return []
    return [
        "None of the groups lies on both sides of the split: as far as they tell, no cell of the "
        "test was seen in training."
    ]


def _untouched(facts: Facts) -> list[str]:
    return [
        "The test images took no part in the training: threshold {model.threshold:plain} and "
        "temperature {model.temperature:plain} were fixed before they were read."
    ]


def _blind_background(facts: Facts) -> list[str]:
    background = facts["background"]
    if background["ci_low"] is None or background["ci_low"] > CHANCE:
        return []
    return [
        "The background alone, with the cells hidden, shows nothing of the class: ROC AUC "
        f"{_area('background')}; one half is chance."
    ]


def _area(metric: str) -> str:
    return f"{{{metric}.value:score}} ({{{metric}.ci_low:score}} to {{{metric}.ci_high:score}})"


def _unit(facts: Facts) -> list[str]:
    return [
        "The unit is a cell image, never a patient: {data.test_images} in "
        "{data.test_groups} groups."
    ]


def _torn(facts: Facts) -> list[str]:
    if not facts["data"]["torn_groups"]:
        return []
    return [
        "{data.torn_groups} groups of same cells or overlapping crops lie on both sides of this "
        "{data.split} split, which flatters the numbers; --split grouped does not."
    ]


def _assumed(facts: Facts) -> list[str]:
    if facts["data"].get("assumed_prevalence") is None:
        return []
    return [
        "PPV and NPV hold where {data.assumed_prevalence:plain} of all cells judged are blasts: "
        "that share is assumed, not measured."
    ]


def _doubtful_threshold(facts: Facts) -> list[str]:
    if not facts["model"].get("threshold_warning"):
        return []
    return ["About the threshold: {model.threshold_warning}."]


def _calibrated_otherwise(facts: Facts) -> list[str]:
    model = facts["model"]
    if model["tta"] == model["calibrated_with_tta"]:
        return []
    ways = ("one orientation", "eight orientations")
    now, then = ways[model["tta"]], ways[model["calibrated_with_tta"]]
    return [f"Each image was judged in {now}; the temperature was fixed on {then}."]


def _origin(facts: Facts) -> list[str]:
    return origin(synthetic=facts["synthetic"], name=facts["data"]["name"])


def origin(*, synthetic: bool, name: str) -> list[str]:
    """What the images themselves leave open; `name` is that of the set."""
    if synthetic:
        return ["SYNTHETIC: drawn images; these numbers say nothing about real cells."]
    if name == "ALL-IDB2":
        return [
            "ALL-IDB2 has no patient ids: cells of one patient may be on both sides of any split."
        ]
    return []


def _background(facts: Facts) -> list[str]:
    background = facts["background"]
    if background["value"] is None:
        return ["What the background alone predicts is not known: {background.reason}."]
    if background["ci_low"] is None:
        return ["The background alone has ROC AUC {background.value:score}: {background.reason}."]
    if background["ci_low"] <= CHANCE:
        return []
    return [
        "The background alone, with the cells hidden, predicts the label: ROC AUC "
        f"{_area('background')}; one half is chance. A model may have learnt slides in place of "
        "cells, and this test could not tell."
    ]


def _fragile(facts: Facts) -> list[str]:
    """The worst of the simulated changes, where chance does not explain it."""
    rows = facts["robustness"] or []
    worst = min(range(len(rows)), key=lambda row: rows[row]["accuracy"]["value"], default=None)
    if worst is None:
        return []
    if rows[worst]["accuracy"]["ci_high"] >= facts["metrics"]["accuracy"]["ci_low"]:
        return []
    row = f"robustness.{worst}"
    return [
        f"A simulated change breaks it: {{{row}.change}} {{{row}.level}} leaves "
        f"{{{row}.accuracy.k}} of {{{row}.accuracy.n}} images judged as labelled."
    ]


def _random_weights(facts: Facts) -> list[str]:
    return first_weights(facts["model"]["initial_weights"])


def first_weights(initial: str) -> list[str]:
    """What weights to start from mean for a comparison with the paper."""
    if initial != "random":
        return []
    return ["Trained from random weights: not the paper's transfer learning, not comparable to it."]


def _one_source(facts: Facts) -> list[str]:
    if facts["synthetic"]:
        return []
    return [
        "All images are of the set that trained the model: other laboratories, stains and "
        "microscopes were not tested."
    ]
