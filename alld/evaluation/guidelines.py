"""What the reporting guidelines for medical AI ask, and what a run on such images can answer.

The themes are those of TRIPOD+AI and CLAIM in our own words, not their check lists: a study that
claims to follow these fills them in itself. Answers are templates; see `facts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alld.evaluation.verdict import source

Status = Literal["answered", "in part", "open"]
Facts = Mapping[str, Any]  # the content of metrics.json

SOURCES = (
    "TRIPOD+AI: Collins et al., BMJ 385 (2024) e078378.",
    "CLAIM: Mongan, Moy and Kahn, Radiology: Artificial Intelligence 2 (2020) e200029; update: "
    "Tejani et al., the same journal 6 (2024) e240300.",
)


@dataclass(frozen=True)
class Item:
    """One question, with what the files of a result can say to it."""

    question: str
    status: Status
    answer: str


def themes(facts: Facts) -> list[tuple[str, list[Item]]]:
    """Every theme with its questions, in the order of a paper."""
    return [
        ("Data", _data(facts)),
        ("Partition", _partition(facts)),
        ("Reference standard", _reference(facts)),
        ("Model", _model(facts)),
        ("Performance", _performance(facts)),
        ("Limitations", _limitations(facts)),
    ]


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
            f"{source(facts)}: {{data.images}} cell images, {{data.classes.blast}} blast and "
            "{data.classes.healthy} healthy, known by a fingerprint of their bytes.",
        ),
        Item(
            "Whose cells: how many patients, which ages, which disease, before or in treatment?",
            "open",
            _say(
                facts,
                "ALL-IDB2 cannot answer: it has no patient ids, and nothing clinical comes with "
                "the images.",
                unknown,
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


def _partition(facts: Facts) -> list[Item]:
    parts = facts["data"]["parts"]
    counts = ", ".join(f"{{data.parts.{name}}} {name}" for name in parts)
    return [
        Item(
            "How were the images divided?",
            "answered",
            f"{counts}: {{data.split}} split, seed {{data.split_seed}}, saved with its hash.",
        ),
        Item(
            "At which level are the parts apart?",
            "in part" if not facts["data"]["torn_groups"] else "open",
            "By image and by group ({data.groups}); {data.torn_groups} groups lie on both sides. "
            + _say(
                facts,
                "Not by patient: ALL-IDB2 cannot answer that.",
                "Whether the groups are patients, the owner of the set must say.",
            ),
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


def _model(facts: Facts) -> list[Item]:
    return [
        Item(
            "Which model, from which first weights, trained how?",
            "answered",
            "{model.arch}, first weights {model.initial_weights}, {model.image_size} px "
            "({model.resize}). Every setting is kept with the run.",
        ),
        Item(
            "How were threshold and calibration chosen?",
            "answered",
            "Threshold {model.threshold:plain}: {model.threshold_how}. Temperature "
            "{model.temperature:plain}: {model.temperature_how}. Neither by the test images.",
        ),
        Item(
            "Can others run it?",
            "answered",
            "Code, settings, seed, versions, the split and the hash of the model are kept with "
            "the run. The images are not part of it.",
        ),
    ]


def _performance(facts: Facts) -> list[Item]:
    shaken = facts["robustness"] is not None
    return [
        Item(
            "Which measures, with which uncertainty?",
            "answered",
            "Counts and intervals beside every number; discrimination, calibration and mistakes "
            "are shown. Wilson's intervals take images for independent, the others resample "
            "groups.",
        ),
        Item(
            "Were images left out?",
            "answered",
            "None: an evaluation stops at a test image that it cannot read.",
        ),
        Item(
            "Does it hold under other conditions?",
            "in part" if shaken else "open",
            "Simulated ones only: see Robustness."
            if shaken
            else "Not asked in this evaluation: alld evaluate --robustness.",
        ),
        Item(
            "Is it fair to groups of patients?",
            "open",
            _say(
                facts,
                "ALL-IDB2 cannot answer: nothing is known of the patients.",
                "Not tested: no column says anything of the patients.",
            ),
        ),
    ]


def _limitations(facts: Facts) -> list[Item]:
    return [
        Item(
            "Was it tested on another laboratory's images?",
            "open",
            _say(
                facts,
                "No external test. ALL-IDB1 would be none: the crops of ALL-IDB2 come from it.",
                "No external test.",
            ),
        ),
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
