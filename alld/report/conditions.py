"""Compute the conditions under which the templates say a sentence, from the stored facts."""

from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]  # the content of metrics.json

CHANCE = 0.5  # ROC AUC
SMALL_FALL = 0.05  # of a probability; a smaller one is no reason to distrust a model
_RATES = ("accuracy", "sensitivity", "specificity", "roc_auc")  # the higher the better


def conditions(facts: Facts) -> dict[str, Any]:
    """Return the conditions by the names that templates use.

    Args:
        facts: the content of the metrics.json of a held-out test, an external test or a
            cross-validation.
    """
    crossval, external = "plan" in facts, facts.get("external")
    model, metrics, abstention = facts["model"], facts["metrics"], facts["abstention"]
    kinds = facts["by_patient"]["kinds"] if facts["by_patient"] else None
    return {
        "crossval": crossval,
        "repeated": crossval and facts["plan"]["repeats"] > 1,
        # Of the data.
        "drawn": facts["data"]["synthetic"],
        "named_all_idb2": facts["data"]["name"] == "ALL-IDB2",
        "grouped": not crossval and facts["data"]["test_groups"] < metrics["accuracy"]["n"],
        "by_session": (facts["plan"] if crossval else facts["data"]).get("split") == "session",
        "by_direction": crossval and facts.get("outside") is not None,
        "confounded": bool((facts["data"].get("domains") or {}).get("confounded")),
        "own_split": facts["data"].get("split") == "given",
        "patients_have_one_class": bool(
            kinds and kinds["blast"] and kinds["healthy"] and not kinds["both"]
        ),
        "assumed_prevalence": facts["data"].get("assumed_prevalence") is not None,
        # Of the model.
        "random_weights": model["initial_weights"] == "random",
        "one_threshold": crossval and model["threshold"]["low"] == model["threshold"]["high"],
        "one_temperature": crossval and model["temperature"]["low"] == model["temperature"]["high"],
        "threshold_doubtful": bool(
            model["threshold_warnings"] if crossval else model.get("threshold_warning")
        ),
        "calibrated_differently": not crossval and model["tta"] != model["calibrated_with_tta"],
        "abstains": abstention["kept"]["k"] != abstention["kept"]["n"],
        "worst_change": None if crossval else _worst_change(facts),
        # Of what the model looks at: "yes", "no", "unclear" or "" for not measured.
        "background_predicts": _above(facts["background"], CHANCE),
        "background_used": _background_used(facts),
        "maps_valid": _maps_valid(facts),
        **(_of_external(external) if external else {}),
    }


def _worst_change(facts: Facts) -> int | None:
    """Return the row of the worst simulated change if chance does not explain its accuracy."""
    rows, low = facts["robustness"] or [], facts["metrics"]["accuracy"]["ci_low"]
    worst = min(range(len(rows)), key=lambda row: rows[row]["accuracy"]["value"], default=None)
    if worst is None or low is None or rows[worst]["accuracy"]["ci_high"] >= low:
        return None
    return worst


def _above(metric: Mapping[str, Any], bound: float) -> str:
    if metric["ci_low"] is None:
        return ""
    return "yes" if metric["ci_low"] > bound else "no"


def _background_used(facts: Facts) -> str:
    """Whether the probability falls more with a background of the other class."""
    if facts["heat_maps"]["reason"]:
        return ""
    fall = facts["heat_maps"]["verdicts"]["all"]["background_difference"]
    if fall["ci_high"] is not None and fall["ci_high"] < SMALL_FALL:
        return "no"
    return "yes" if _above(fall, 0) == "yes" else "unclear"


def _maps_valid(facts: Facts) -> str:
    """Whether an image's own heat map marks more of what matters than that of another image."""
    if facts["heat_maps"]["reason"]:
        return ""
    return _above(facts["heat_maps"]["verdicts"]["all"]["difference"], 0) or "no"


def _of_external(external: Mapping[str, Any]) -> dict[str, Any]:
    comparison, shift = external["comparison"], external["shift"]
    return {
        "only_class": external["one_class"],
        "trained_on_all_idb2": external["trained_on"]["name"] == "ALL-IDB2",
        "trained_on_drawn": external["trained_on"]["synthetic"],
        "lower_rates": [
            name
            for name in _RATES
            if comparison
            and (high := comparison[name]["difference"]["ci_high"]) is not None
            and high < 0
        ],
        "shifted_classes": [
            name
            for name in ("blast", "healthy")
            if shift
            and shift[name]["distance"] is not None
            and shift[name]["distance"] > shift[name]["by_chance"]
        ],
    }
