"""What is said of an external validation, and of no other result; see `facts` for fields."""

from alld.report.guidelines import apart_from
from alld.report.words import Facts, Item, interval

_RATES = ("accuracy", "sensitivity", "specificity", "roc_auc")  # the higher the better
_NAMES = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "roc_auc": "ROC AUC",
}


def is_external(facts: Facts) -> bool:
    """Whether the images are another set than the run's own."""
    return facts.get("external") is not None


def external_supports(facts: Facts) -> list[str]:
    """What the numbers carry because they are of other images."""
    sentences = []
    if facts["external"]["not_checked"] is None:
        sentences.append(
            "None of these images trained the model: no file has the content of one that did."
        )
    sentences.append(
        "The model is tested as it is: threshold {model.threshold:plain} and temperature "
        "{model.temperature:plain} are those of the run's own validation images. Nothing was "
        "fitted to these."
    )
    return sentences


def external_limits(facts: Facts) -> list[str]:
    """What a reader must know of the set, of the model's own, and of both together."""
    checks = (_one_class, _kin, _overlap, _origin, _trained_on_drawn, _lower, _shifted)
    return [sentence for check in checks for sentence in check(facts)]


def external_partition(facts: Facts) -> list[Item]:
    """How the images of the guidelines' theme were divided: they were not."""
    level = (
        "All images of the set were judged, by a model that was trained on "
        "{external.trained_on.images} others ({external.trained_on.name}, "
        "{external.trained_on.split} split)."
    )
    return [Item("How were the images divided?", "answered", level), apart_from(_apart(facts))]


def _apart(facts: Facts) -> str:
    if facts["external"]["not_checked"] is not None:
        return "Not known: {external.not_checked}."
    return "By image: no file has the content of one that trained the model."


def _one_class(facts: Facts) -> list[str]:
    only = facts["external"]["one_class"]
    if only is None:
        return []
    other = {"healthy": "blasts", "blast": "healthy cells"}[only]
    rate = {"healthy": "specificity", "blast": "sensitivity"}[only]
    return [
        f"All images are of one class, {{external.one_class}}: accuracy is {rate} here, and "
        f"nothing is said of {other}, nor of how the two are told apart."
    ]


def _kin(facts: Facts) -> list[str]:
    if facts["external"]["trained_on"]["name"] != "ALL-IDB2":
        return []
    if facts["external"]["fields_of_all_idb1"]:
        return [
            "{external.fields_of_all_idb1} of the images are named as those of ALL-IDB1. All crops "
            "of ALL-IDB2, which trained the model, come from ALL-IDB1: this is no external test."
        ]
    return [
        "The model was trained on ALL-IDB2, whose crops all come from ALL-IDB1: images of "
        "ALL-IDB1, under whatever names, would be no external test."
    ]


def _overlap(facts: Facts) -> list[str]:
    external, sentences = facts["external"], []
    if external["not_checked"] is not None:
        sentences.append(
            "Whether some of these images trained the model was not checked: "
            "{external.not_checked}."
        )
    if external["held_out_there"]:
        sentences.append(
            "{external.held_out_there} of these images are the run's own test images: unseen, but "
            "from nowhere else."
        )
    if external["shared_patients"]:
        sentences.append(
            "{external.shared_patients} patients here have the names of patients who trained the "
            "model: if they are the same people, this is no test on others."
        )
    return sentences


def _origin(facts: Facts) -> list[str]:
    if facts["data"]["synthetic"]:
        return []
    return [
        "That these images come from another laboratory, and that blast and healthy mean there "
        "what they mean in the training, is for whoever brought them to say: files do not tell."
    ]


def _trained_on_drawn(facts: Facts) -> list[str]:
    if not facts["external"]["trained_on"]["synthetic"]:
        return []
    return ["SYNTHETIC: the model was trained on drawn images."]


def _lower(facts: Facts) -> list[str]:
    """Every rate that chance does not explain; see the table for all of them."""
    rows = facts["external"]["comparison"]
    if rows is None:
        return ["There is nothing to compare these numbers with: {external.no_comparison}."]
    fallen = [
        name
        for name in _RATES
        if (high := rows[name]["difference"]["ci_high"]) is not None and high < 0
    ]
    return [
        f"The {_NAMES[name]} is lower than in the run's own test, by more than chance explains: "
        f"{_signed(facts, name)}."
        for name in fallen
    ]


def _signed(facts: Facts, name: str) -> str:
    field = f"external.comparison.{name}.difference"
    if name == "roc_auc":
        return f"{{{field}.value:signed}} ({interval(facts, field, 'signed', 'signed')})"
    ends = interval(facts, field, "signed_points", "signed_points")
    return f"{{{field}.value:signed_points}} points ({ends})"


def _shifted(facts: Facts) -> list[str]:
    shift = facts["external"]["shift"]
    if shift is None:
        return ["How far these images lie from the run's own is not known: {external.no_shift}."]
    sentences = []
    for name, cells in (("blast", "blasts"), ("healthy", "healthy cells")):
        if shift[name]["distance"] is None or shift[name]["distance"] <= shift[name]["by_chance"]:
            continue
        field = f"external.shift.{name}"
        told = (
            f"To the model these {cells} look other than the run's own: distance "
            f"{{{field}.distance:score}}, by chance at most {{{field}.by_chance:score}}"
        )
        if shift["own_classes"]["distance"] is not None:
            apart = "{external.shift.own_classes.distance:score}"
            told += f"; its own blasts and healthy cells lie {apart} apart"
        sentences.append(f"{told}.")
    return sentences
