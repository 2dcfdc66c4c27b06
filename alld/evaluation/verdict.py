"""What any result supports and what it does not, in sentences; see `facts` for their fields.

What only a run or only a cross-validation can say stands in `run_words` and `crossval_words`.
"""

from alld.evaluation.words import Facts, estimate

CHANCE = 0.5


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
