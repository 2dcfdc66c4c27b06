"""What the reporting guidelines for medical AI ask, and what a result on such images can answer.

The themes are those of TRIPOD+AI and CLAIM in our own words, not their check lists: a study that
claims to follow these fills them in itself. Answers are templates; see `facts`.
"""

from alld.report.patient_words import known
from alld.report.verdict import source
from alld.report.words import Facts, Item, Status, Themes

SOURCES = (
    "TRIPOD+AI: Collins et al., BMJ 385 (2024) e078378.",
    "CLAIM: Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2 (2020) e200029; update: "
    "Tejani et al., the same journal 6 (2024) e240300.",
)


def themes(
    facts: Facts, *, partition: list[Item], model: list[Item], performance: list[Item]
) -> Themes:
    """Every theme with its questions, in the order of a paper.

    Args:
        partition, model, performance: what a run and a cross-validation each answer in their own
            way; what both answer alike is added.
    """
    return [
        ("Data", _data(facts)),
        ("Partition", partition),
        ("Reference standard", _reference(facts)),
        ("Model", [_MODEL, *model]),
        ("Performance", [*performance, *_performance(facts)]),
        ("Limitations", _limitations(facts)),
    ]


def apart(facts: Facts, levels: str) -> Item:
    """At which level training and test are apart; `levels` says it of images and groups."""
    patients = _say(
        facts,
        "Not by patient: ALL-IDB2 cannot answer that.",
        "All images of a patient are in one group."
        if known(facts)
        else "Whether the groups are patients, the owner of the set must say.",
    )
    status: Status = "open" if facts["data"]["leaking_groups"] else "in part"
    return Item("At which level are the parts apart?", status, f"{levels} {patients}")


def apart_from(level: str) -> Item:
    """How far the images of an external validation are apart from those of the training."""
    return Item("At which level are the parts apart?", "in part", level)


def calibrated(how: str) -> Item:
    """How threshold and temperature came about."""
    return Item("How were threshold and calibration chosen?", "answered", how)


def kept(what: str) -> Item:
    """Whether others can run it again; `what` lies in its folder."""
    answer = f"{what} are kept. The images are not part of it."
    return Item("Can others run it?", "answered", answer)


def measured(uncertainty: str) -> Item:
    """Which numbers are given; `uncertainty` says what their intervals take for granted."""
    return Item(
        "Which measures, with which uncertainty?",
        "answered",
        "Counts and intervals beside every number; discrimination, calibration and mistakes are "
        f"shown. {uncertainty}",
    )


def shaken(status: Status, answer: str) -> Item:
    """Whether changed pictures were judged too."""
    return Item("Does it hold under other conditions?", status, answer)


def _all_idb2(facts: Facts) -> bool:
    return facts["data"]["name"] == "ALL-IDB2" and not facts["synthetic"]


def _say(facts: Facts, of_all_idb2: str, of_others: str) -> str:
    """What the project knows of ALL-IDB2; of other sets only their owner can say it."""
    if facts["synthetic"]:
        return "The images are drawn: there are no patients, no laboratory and no readers."
    return of_all_idb2 if _all_idb2(facts) else of_others


def _data(facts: Facts) -> list[Item]:
    unknown = "Not known from the files: for the owner of the set to add."
    return [
        Item(
            "Which images, how many, of which kind?",
            "answered",
            f"{source(facts)}: {{data.classes.blast}} blast and {{data.classes.healthy}} healthy "
            "cell images, known by a fingerprint of their bytes.",
        ),
        Item(
            "Whose cells: how many patients, which ages, which disease, before or in treatment?",
            "in part" if known(facts) else "open",
            _say(
                facts,
                "ALL-IDB2 cannot answer: it has no patient ids, and nothing clinical comes with "
                "the images.",
                f"Tested are cells of {{by_patient.patients}} named patients. {unknown}"
                if known(facts)
                else unknown,
            ),
        ),
        Item(
            "Where, when and how were the images taken and chosen?",
            "open",
            _say(
                facts,
                "One laboratory; the crops come from the fields of ALL-IDB1, of which some have "
                "another resolution. When they were taken and how they were chosen, ALL-IDB2 "
                "cannot answer.",
                unknown,
            ),
        ),
        Item(
            "Is the share of blasts that of the intended use?",
            "open",
            "Hardly: the set was put together. Sensitivity and specificity do not depend on the "
            "share; predictive values would, and are not given.",
        ),
    ]


def _reference(facts: Facts) -> list[Item]:
    return [
        Item(
            "Who labelled the images, by which rule, how well did readers agree?",
            "open",
            _say(
                facts,
                "One expert team, by the look of the central cell (a probable lymphoblast or "
                "not). Neither a second reading nor the immunophenotype of a cell comes with the "
                "images: ALL-IDB2 cannot answer how certain its labels are.",
                "Not known from the files: for the owner of the set to add.",
            ),
        )
    ]


_MODEL = Item(
    "Which model, from which first weights, trained how?",
    "answered",
    "{model.arch}, first weights {model.initial_weights}, {model.image_size} px ({model.resize}). "
    "Every setting is kept.",
)


def _performance(facts: Facts) -> list[Item]:
    return [
        Item(
            "Were images left out?",
            "answered",
            "None: an evaluation stops at a test image that it cannot read.",
        ),
        Item(
            "Is it fair to groups of patients?",
            "open",
            _say(
                facts,
                "ALL-IDB2 cannot answer: nothing is known of the patients.",
                "Not tested: nothing but the names of patients is known."
                if known(facts)
                else "Not tested: no column says anything of the patients.",
            ),
        ),
    ]


def _limitations(facts: Facts) -> list[Item]:
    return [
        _elsewhere(facts),
        Item(
            "How does it compare with readers, and does it help them?",
            "open",
            "No reader study was made.",
        ),
        Item(
            "What else could explain the result?",
            "in part" if facts["background"]["value"] is not None else "open",
            "ROC AUC of the background alone, all cells hidden: {background.value:score}; one "
            "half is chance."
            if facts["background"]["value"] is not None
            else "What the background alone predicts is not known: {background.reason}.",
        ),
        Item(
            "Intended use, ethics, funding, protocol?",
            "open",
            "A run of a program has none but research. A study must add its own.",
        ),
    ]


def _elsewhere(facts: Facts) -> Item:
    question = "Was it tested on another laboratory's images?"
    if facts.get("external") is not None and not facts["synthetic"]:
        answer = (
            "On another set than that of the training, {external.trained_on.name}. Whether it "
            "comes from another laboratory is for whoever brought it to say."
        )
        return Item(question, "in part", answer)
    answer = _say(
        facts,
        "No external test. ALL-IDB1 would be none: the crops of ALL-IDB2 come from it.",
        "No external test.",
    )
    return Item(question, "open", answer)
