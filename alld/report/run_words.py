"""What is said of one run: a model, its threshold, and the images that it held out."""

from collections.abc import Callable

from alld.report.abstention_words import CAPTION, explained, outcome, silent
from alld.report.external_words import (
    external_limits,
    external_partition,
    external_supports,
    is_external,
)
from alld.report.guidelines import apart, calibrated, kept, measured, shaken, themes
from alld.report.patient_words import known, patient_limits, patient_supports
from alld.report.verdict import (
    believable_maps,
    blind_background,
    blind_model,
    doubtful_maps,
    judged,
    one_source,
    origin,
    random_weights,
    seeing_model,
    telling_background,
)
from alld.report.words import Facts, Item, Themes, Words, estimate, interval, wrong_verdicts


def words(facts: Facts) -> Words:
    """All of it; `facts` is the content of its metrics.json."""
    part = "{metrics.accuracy.k} of {metrics.accuracy.n}"
    external = is_external(facts)
    return Words(
        headline=f"{'External validation: ' if external else ''}"
        f"{part} cell images were judged as labelled: "
        f"{{metrics.accuracy.value:percent}}, {_ends(facts)}",
        supports=supports(facts),
        limits=limits(facts),
        themes=_themes(facts),
        captions=_captions(facts),
        curve="model",
        point="threshold {model.threshold:plain}",
        tally="Rows: what the label says. Columns: what the model says.",
        score=f"{part} images right ({interval(facts, 'metrics.accuracy')})",
        says="the model says",
        bins="Images by P(blast); each bin holds its lower end.",
        mistakes=wrong_verdicts(facts),
        abstaining=explained(facts),
        bought=outcome(facts),
        rule=f"P(blast) of {{model.threshold:plain}} or more is called blast.{judged(facts)}",
        stamp=(
            "{title} · model {model.identity:short}"
            if external
            else "{model.arch} · {data.name}, {data.split} split, seed {data.split_seed} · "
            "model {model.identity:short}"
        ),
    )


def supports(facts: Facts) -> list[str]:
    """What may be said on the strength of the numbers."""
    checks = (
        _accuracy,
        _by_groups,
        patient_supports,
        _of_other_images,
        _not_leaking,
        _untouched,
        blind_background,
        blind_model,
        believable_maps,
    )
    return [sentence for check in checks for sentence in check(facts)]


def limits(facts: Facts) -> list[str]:
    """What a reader must know before quoting a number."""
    checks: tuple[Callable[[Facts], list[str]], ...] = (
        _unit,
        patient_limits,
        _of_others,
        _leaking,
        _assumed,
        _doubtful_threshold,
        _calibrated_otherwise,
        origin,
        silent,
        telling_background,
        seeing_model,
        doubtful_maps,
        _fragile,
        random_weights,
        _of_one_source,
    )
    return [sentence for check in checks for sentence in check(facts)]


def _of_other_images(facts: Facts) -> list[str]:
    return external_supports(facts) if is_external(facts) else []


def _of_others(facts: Facts) -> list[str]:
    return external_limits(facts) if is_external(facts) else []


def _of_one_source(facts: Facts) -> list[str]:
    return [] if is_external(facts) else one_source(facts)


def _ends(facts: Facts) -> str:
    ends = interval(facts, "metrics.accuracy")
    if facts["metrics"]["accuracy"]["ci_low"] is None:
        return ends  # one patient alone gives none
    return f"interval {ends} ({{metrics.accuracy.method}})"


def _accuracy(facts: Facts) -> list[str]:
    if facts["metrics"]["accuracy"]["ci_low"] is None:
        return []
    return [
        f"For images like these, taken one by one, every accuracy from "
        f"{interval(facts, 'metrics.accuracy')} agrees with what was seen."
    ]


def _by_groups(facts: Facts) -> list[str]:
    """Beside Wilson's interval, where images hang together."""
    if known(facts) or facts["data"]["test_groups"] == facts["metrics"]["accuracy"]["n"]:
        return []
    told = (
        "The {metrics.accuracy.n} images make {data.test_groups} groups ({data.groups}). Counted "
        "by groups"
    )
    ends = interval(facts, "grouped_metrics.accuracy")
    if facts["grouped_metrics"]["accuracy"]["ci_low"] is None:
        return [f"{told} there is {ends}."]
    return [f"{told} the interval is {ends}."]


def _not_leaking(facts: Facts) -> list[str]:
    if is_external(facts) or facts["data"]["leaking_groups"]:
        return []
    if known(facts):
        return ["No patient lies on both sides of the split: nobody's cells are in both."]
    return [
        "None of the groups lies on both sides of the split: as far as they tell, no cell of the "
        "test was seen in training."
    ]


def _untouched(facts: Facts) -> list[str]:
    if is_external(facts):
        return []
    return [
        "The test images took no part in the training: threshold {model.threshold:plain} and "
        "temperature {model.temperature:plain} were fixed before they were read."
    ]


def _unit(facts: Facts) -> list[str]:
    if known(facts):
        return [
            "The unit of every number but those by patient is a cell image: {data.test_images} of "
            "{by_patient.patients} patients. Every interval resamples patients."
        ]
    return [
        "The unit is a cell image, never a patient: {data.test_images} in "
        "{data.test_groups} groups."
    ]


def _leaking(facts: Facts) -> list[str]:
    if not facts["data"]["leaking_groups"]:
        return []
    if known(facts):
        return [
            "{data.leaking_groups} patients lie on both sides of this {data.split} split, which "
            "flatters the numbers; --split grouped does not."
        ]
    return [
        "{data.leaking_groups} groups of same cells or overlapping crops lie on both sides of this "
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


def _fragile(facts: Facts) -> list[str]:
    """The worst of the simulated changes, where chance does not explain it."""
    rows = facts["robustness"] or []
    worst = min(range(len(rows)), key=lambda row: rows[row]["accuracy"]["value"], default=None)
    if worst is None or facts["metrics"]["accuracy"]["ci_low"] is None:
        return []
    if rows[worst]["accuracy"]["ci_high"] >= facts["metrics"]["accuracy"]["ci_low"]:
        return []
    row = f"robustness.{worst}"
    return [
        f"A simulated change breaks it: {{{row}.change}} {{{row}.level}} leaves "
        f"{{{row}.accuracy.k}} of {{{row}.accuracy.n}} images judged as labelled."
    ]


def _captions(facts: Facts) -> dict[str, str]:
    return {
        "roc": f"Area {estimate(facts, 'metrics.roc_auc')}; chance is one half. The dot is the "
        "threshold {model.threshold:plain}.",
        "pr": f"Average precision {estimate(facts, 'metrics.pr_auc')}; chance is the share of "
        "blasts.",
        "reliability": f"Calibration error (ECE) {estimate(facts, 'metrics.ece')}. Whiskers are "
        "95\u00a0% intervals (Wilson); a larger dot holds more images.",
        "risk": CAPTION,
        "loss": "None of these images is a test image.",
    }


def _themes(facts: Facts) -> Themes:
    return themes(
        facts,
        partition=external_partition(facts) if is_external(facts) else _partition(facts),
        model=[
            calibrated(
                "Threshold {model.threshold:plain}: {model.threshold_how}. Temperature "
                "{model.temperature:plain}: {model.temperature_how}. Neither by the test images."
            ),
            kept("Code, settings, seed, versions, the split and the hash of the model"),
        ],
        performance=[
            measured(
                "Every interval resamples patients."
                if known(facts)
                else "Wilson's intervals take images for independent, the others resample groups."
            ),
            _shaken(facts),
        ],
    )


def _partition(facts: Facts) -> list[Item]:
    parts = ", ".join(f"{{data.parts.{name}}} {name}" for name in facts["data"]["parts"])
    return [
        Item(
            "How were the images divided?",
            "answered",
            f"{parts}: {{data.split}} split, seed {{data.split_seed}}, saved with its hash.",
        ),
        apart(
            facts,
            "By image and by group ({data.groups}); {data.leaking_groups} groups lie on both "
            "sides.",
        ),
    ]


def _shaken(facts: Facts) -> Item:
    if facts["robustness"] is None:
        return shaken("open", "Not asked in this evaluation: alld evaluate --robustness.")
    return shaken("in part", "Simulated ones only: see Robustness.")
