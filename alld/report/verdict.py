"""What any result supports and what it does not, in sentences; see `facts` for their fields.

What only a run or only a cross-validation can say stands in `run_words` and `crossval_words`.
"""

from alld.report.facts import look_up
from alld.report.words import Facts, estimate, interval

CHANCE = 0.5
SMALL_FALL = 0.05  # of a probability: less is no reason to distrust a model


def source(facts: Facts) -> str:
    """Which images they are; drawn ones have the names of ALL-IDB2 and nothing else of it."""
    return "SYNTHETIC images named as in {data.name}" if facts["synthetic"] else "{data.name}"


def judged(facts: Facts) -> str:
    """A further sentence where P(blast) is of more than one look at an image."""
    if not facts["model"]["tta"]:
        return ""
    return " Each image is judged in its eight orientations; P(blast) is that of the mean logit."


def blind_background(facts: Facts) -> list[str]:
    """For the result: what surrounds the cells tells nothing."""
    background = facts["background"]
    if background["ci_low"] is None or background["ci_low"] > CHANCE:
        return []
    return [
        "The background alone, with the cells hidden, shows nothing of the class: ROC AUC "
        f"{estimate(facts, 'background')}; one half is chance."
    ]


def telling_background(facts: Facts) -> list[str]:
    """Against it: what surrounds the cells tells the class, or nobody knows."""
    background = facts["background"]
    if background["value"] is None:
        return ["What the background alone predicts is not known: {background.reason}."]
    if background["ci_low"] is None:
        return ["The background alone has ROC AUC {background.value:score}: {background.reason}."]
    if background["ci_low"] <= CHANCE:
        return []
    return [
        "The background alone, with the cells hidden, predicts the label: ROC AUC "
        f"{estimate(facts, 'background')}; one half is chance. A model may have learnt slides in "
        "place of cells, and this test could not tell."
    ]


def blind_model(facts: Facts) -> list[str]:
    """For the result: it hardly matters what is behind a cell."""
    if _interval_of(facts, "background_difference")[1] >= SMALL_FALL:
        return []
    return [f"The background is hardly read: {_exchanged(facts)}"]


def seeing_model(facts: Facts) -> list[str]:
    """Against it: what is behind a cell moves the model, or it may."""
    low, high = _interval_of(facts, "background_difference")
    if facts["heat_maps"]["reason"] or high < SMALL_FALL:
        return []
    if low > 0:
        return [f"The background is read: {_exchanged(facts)}"]
    return [f"Whether the background is read is not settled: {_exchanged(facts)}"]


def believable_maps(facts: Facts) -> list[str]:
    """For the result: heat maps mark what matters in their own image."""
    if _interval_of(facts, "difference")[0] <= 0:
        return []
    return [f"Heat maps show some of what the model goes by: {_erased(facts)}"]


def doubtful_maps(facts: Facts) -> list[str]:
    """Against it: heat maps are not seen to mark more than those of other images do."""
    if facts["heat_maps"]["reason"] or _interval_of(facts, "difference")[0] > 0:
        return []
    return [f"Heat maps are not seen to show what the model goes by: {_erased(facts)}"]


def _interval_of(facts: Facts, measure: str) -> tuple[float, float]:
    """Of a difference of falls; without any, all that can be."""
    if facts["heat_maps"]["reason"]:
        return -1.0, 1.0
    metric = facts["heat_maps"]["verdicts"]["all"][measure]
    return (-1.0, 1.0) if metric["ci_low"] is None else (metric["ci_low"], metric["ci_high"])


def _exchanged(facts: Facts) -> str:
    fields = "other_background", "same_background", "background_difference"
    return _falls(
        facts,
        "with the background of an image with the other verdict behind the same cell",
        "with that of one with the same verdict",
        fields,
    )


def _erased(facts: Facts) -> str:
    return _falls(
        facts,
        "with what the image's own map marks hottest blurred away",
        "with what another's marks",
        ("fall", "elsewhere", "difference"),
    )


def _falls(facts: Facts, first: str, second: str, measures: tuple[str, str, str]) -> str:
    """Two conditions, how far the probability falls under either, and the difference."""
    one, other, difference = (f"heat_maps.verdicts.all.{measure}" for measure in measures)
    if look_up(facts, difference)["value"] is None:
        return f"{{{difference}.reason}}."
    ends = interval(facts, difference, "score", "score")
    return (
        f"{first}, the probability of the verdict falls by {{{one}.value:score}}; {second}, by "
        f"{{{other}.value:score}} (difference {{{difference}.value:score}}, {ends})."
    )


def origin(facts: Facts) -> list[str]:
    """What the images themselves leave open."""
    if facts["synthetic"]:
        return ["SYNTHETIC: drawn images; these numbers say nothing about real cells."]
    if facts["data"]["name"] == "ALL-IDB2":
        return [
            "ALL-IDB2 has no patient ids: cells of one patient may be on both sides of any split."
        ]
    return []


def random_weights(facts: Facts) -> list[str]:
    """What weights to start from mean for a comparison with the paper."""
    if facts["model"]["initial_weights"] != "random":
        return []
    return ["Trained from random weights: not the paper's transfer learning, not comparable to it."]


def one_source(facts: Facts) -> list[str]:
    """No image came from elsewhere."""
    if facts["synthetic"]:
        return []
    return [
        "All images are of the set that trained the model: other laboratories, stains and "
        "microscopes were not tested."
    ]
