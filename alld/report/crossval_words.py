"""What is said of a cross-validation: a recipe, its folds, and images that each fold held out.

With several repeats an image has several predictions. Metrics are then means over repeats and
count images; confusion, bins and wrong verdicts count predictions, and every sentence says which.
"""

from collections.abc import Callable

from alld.report.abstention_words import CAPTION, explained, outcome, silent
from alld.report.facts import look_up
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

_ALL = "{data.predictions} predictions, {plan.repeats} of each image"


def words(facts: Facts) -> Words:
    """All of it; `facts` is the content of its metrics.json."""
    repeated = _repeated(facts)
    thresholds = f"the threshold of its fold ({_ends(facts, 'model.threshold')})"
    return Words(
        headline=_headline(facts),
        supports=supports(facts),
        limits=limits(facts),
        themes=_themes(facts),
        captions=_captions(facts),
        curve="one repeat" if repeated else "all folds",
        point="verdicts of one repeat" if repeated else "verdicts of all folds",
        tally="Rows: what the label says. Columns: what the model of its fold says"
        + (f"; {_ALL}." if repeated else "."),
        score=_score(facts),
        says="the model of its fold says" + (f" ({_ALL})" if repeated else ""),
        bins=f"{_counted(facts).capitalize()} by P(blast); each bin holds its lower end.",
        mistakes=_mistakes(facts),
        abstaining=explained(facts),
        bought=outcome(facts),
        rule=f"Called blast is what reaches {thresholds}.{judged(facts)}",
        stamp="{title} · {data.name}",
    )


def supports(facts: Facts) -> list[str]:
    """What may be said on the strength of the numbers."""
    checks = (
        _accuracy,
        patient_supports,
        _steady,
        _not_leaking,
        _unseen,
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
        _recipe,
        _spreads,
        _predictions,
        _leaking,
        _doubtful_thresholds,
        origin,
        silent,
        telling_background,
        seeing_model,
        doubtful_maps,
        random_weights,
        one_source,
    )
    return [sentence for check in checks for sentence in check(facts)]


def _repeated(facts: Facts) -> bool:
    return bool(facts["plan"]["repeats"] > 1)


def _counted(facts: Facts) -> str:
    return "predictions" if _repeated(facts) else "images"


def _ends(facts: Facts, field: str) -> str:
    """`0.41 to 0.55`, or one number where all folds have the same."""
    ends = look_up(facts, field)
    low = f"{{{field}.low:plain}}"
    return low if ends["low"] == ends["high"] else f"{low} to {{{field}.high:plain}}"


def _headline(facts: Facts) -> str:
    judged = "{metrics.accuracy.n} cell images were judged as labelled by a model that had not seen"
    told = (
        f"On average {{metrics.accuracy.value:percent}} of {judged} them"
        if _repeated(facts)
        else f"{{metrics.accuracy.k}} of {judged} them: {{metrics.accuracy.value:percent}}"
    )
    ends = interval(facts, "metrics.accuracy")
    if facts["metrics"]["accuracy"]["ci_low"] is None:
        return f"{told}, {ends}"
    return f"{told}, interval {ends} ({{metrics.accuracy.method}})"


def _score(facts: Facts) -> str:
    ends = interval(facts, "metrics.accuracy")
    if _repeated(facts):
        return f"{{metrics.accuracy.value:percent}} right ({ends})"
    return f"{{metrics.accuracy.k}} of {{metrics.accuracy.n}} images right ({ends})"


def _accuracy(facts: Facts) -> list[str]:
    if facts["metrics"]["accuracy"]["ci_low"] is None:
        return []
    return [
        "For images like these, taken group by group, every accuracy from "
        f"{interval(facts, 'metrics.accuracy')} agrees with what was seen of this recipe."
    ]


def _steady(facts: Facts) -> list[str]:
    if not _repeated(facts):
        return []
    spread = "training_spread.accuracy"
    return [
        "Other folds and seeds, on the same images, gave accuracies from "
        f"{{{spread}.low:points}} to {{{spread}.high:percent}} in {{plan.repeats}} repeats "
        f"(standard deviation {{{spread}.sd:points}} points)."
    ]


def _not_leaking(facts: Facts) -> list[str]:
    if facts["data"]["leaking_groups"]:
        return []
    if known(facts):
        return ["No patient is tested in several folds: nobody's cells trained their own test."]
    return [
        "No group is tested in several folds: as far as the {data.groups} groups tell, no cell "
        "was judged by a model that had seen it."
    ]


def _unseen(facts: Facts) -> list[str]:
    return [
        "The images of a fold took no part in its training: threshold "
        f"({_ends(facts, 'model.threshold')}) and temperature "
        f"({_ends(facts, 'model.temperature')}) were fixed before they were read."
    ]


def _unit(facts: Facts) -> list[str]:
    if known(facts):
        return [
            "The unit of every number but those by patient is a cell image: {data.images} of "
            "{by_patient.patients} patients, each tested by a model that did not see it. Every "
            "interval resamples patients."
        ]
    return [
        "The unit is a cell image, never a patient: {data.images} in {data.groups} groups, each "
        "tested by a model that did not see it."
    ]


def _recipe(facts: Facts) -> list[str]:
    return [
        "This validates a recipe, not one model: {plan.runs} models were trained by it, and the "
        "numbers belong to none of them alone."
    ]


def _spreads(facts: Facts) -> list[str]:
    sampling = "Intervals show the sampling spread: a bootstrap over groups."
    if not _repeated(facts):
        return [
            f"{sampling} How far other folds and seeds would move the numbers is not known from "
            "one repeat; --repeats asks."
        ]
    return [
        f"{sampling} The training spread, over repeats with other folds and seeds, stands beside "
        "them and is not part of them."
    ]


def _predictions(facts: Facts) -> list[str]:
    if not _repeated(facts):
        return []
    return [
        f"Confusion, bins and wrong verdicts count {_ALL}: they are no more witnesses than the "
        "{metrics.accuracy.n} images, and every interval counts their groups once."
    ]


def _leaking(facts: Facts) -> list[str]:
    if not facts["data"]["leaking_groups"]:
        return []
    if known(facts):
        return [
            "{data.leaking_groups} patients are tested in more than one fold of this {plan.split} "
            "split, which flatters the numbers; --split grouped does not."
        ]
    return [
        "{data.leaking_groups} groups of same cells or overlapping crops are tested in more than "
        "one fold of this {plan.split} split, which flatters the numbers; --split grouped does not."
    ]


def _doubtful_thresholds(facts: Facts) -> list[str]:
    if not facts["model"]["threshold_warnings"]:
        return []
    return [
        "About the threshold, in {model.threshold_warnings} of {plan.runs} folds: "
        "{model.threshold_warning}."
    ]


def _mistakes(facts: Facts) -> str:
    if not _repeated(facts):
        return wrong_verdicts(facts)
    told = wrong_verdicts(facts, "data.predictions")
    if not facts["wrong"]:
        return told
    return (
        "Verdicts that are not the label: {wrong} of {data.predictions} predictions, on "
        "{missed_images} of {metrics.accuracy.n} images; each is shown once, those that most "
        "repeats misjudge first"
    )


def _captions(facts: Facts) -> dict[str, str]:
    repeated = _repeated(facts)
    each = "A curve for each repeat; mean area" if repeated else "Area"
    mean = "A curve for each repeat; mean average" if repeated else "Average"
    dots = "A dot is the verdicts of a repeat" if repeated else "The dot is the verdicts"
    error = "mean of the repeats" if repeated else "of all folds"
    return {
        "roc": f"{each} {estimate(facts, 'metrics.roc_auc')}; chance is one half. {dots}, each by "
        f"the threshold of its fold ({_ends(facts, 'model.threshold')}).",
        "pr": f"{mean} precision {estimate(facts, 'metrics.pr_auc')}; chance is the share of "
        "blasts.",
        "reliability": f"Calibration error (ECE), {error}: {estimate(facts, 'metrics.ece')}. "
        "Whiskers are 95\u00a0% intervals (Wilson) that count each group of a bin once; a larger "
        f"dot holds more {_counted(facts)}.",
        "risk": CAPTION,
        "loss": "Two lines for each of {plan.runs} trainings; none of them saw the images that "
        "its model was tested on.",
    }


def _themes(facts: Facts) -> Themes:
    return themes(
        facts,
        partition=[
            Item(
                "How were the images divided?",
                "answered",
                "{plan.folds} folds by a {plan.split} split, repeats: {plan.repeats}; each image "
                "is tested once in each repeat. Split seed {plan.split_seed}, counted up with the "
                "repeats. {provenance.config.split.valid_fraction:percent} of all images, none of "
                "the fold's own, serve as validation, the others train.",
            ),
            apart(
                facts,
                "By image and by group ({data.groups_source}); {data.leaking_groups} groups are "
                "tested in more than one fold.",
            ),
        ],
        model=[
            calibrated(
                "In each fold by its validation images ({provenance.config.calibrate.threshold} "
                f"rule): thresholds {_ends(facts, 'model.threshold')}, temperatures "
                f"{_ends(facts, 'model.temperature')}. None of them by the test images."
            ),
            kept("Code, settings, seeds, versions, every fold's split and model with their hashes"),
        ],
        performance=[
            measured(
                "Intervals resample groups: the sampling spread. The training spread over repeats "
                "is told apart from it."
                if _repeated(facts)
                else "Intervals resample groups: the sampling spread. One repeat shows no training "
                "spread."
            ),
            shaken("open", "Not asked of folds: alld evaluate --robustness asks it of a run."),
        ],
    )
