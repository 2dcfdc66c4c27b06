"""What is said of patients, where it is known whose cells were judged; see `facts` for fields."""

from alld.report.words import Facts, estimate, interval


def known(facts: Facts) -> bool:
    """Whether any image has a patient; results of older versions say nothing of it."""
    return facts.get("by_patient") is not None


def patient_supports(facts: Facts) -> list[str]:
    """What the numbers by patient carry."""
    if not known(facts):
        return []
    return [
        "Patient by patient, {by_patient.accuracy.value:percent} of the cells are judged as "
        f"labelled on average over {{by_patient.patients}} patients "
        f"({interval(facts, 'by_patient.accuracy')})."
    ]


def patient_limits(facts: Facts) -> list[str]:
    """What they do not."""
    if not known(facts):
        return []
    sentences = [
        "No sensitivity or specificity of patients is given: from which share of blasts on a "
        "person is ill was not fixed before, and may not be chosen by the cells that test it."
    ]
    kinds = facts["by_patient"]["kinds"]
    if kinds["blast"] and kinds["healthy"] and not kinds["both"]:
        sentences.append(
            "Every patient here has cells of one class only: whatever tells people apart, such as "
            "their slides, can pass for what tells blasts from healthy cells."
        )
    if facts["by_patient"]["unknown"]:
        sentences.append(
            "{by_patient.unknown} images are of no known patient and have no part in the numbers "
            "by patient."
        )
    return sentences


def told_by_patient(facts: Facts) -> str:
    """The mean accuracy and the area over patients, or why there is none; no full stop."""
    told = (
        "mean share of a patient's cells judged as labelled {by_patient.accuracy.value:percent} "
        f"({interval(facts, 'by_patient.accuracy')}), ROC AUC of the share called blast "
    )
    if facts["by_patient"]["roc_auc"]["value"] is None:
        return f"{told}undefined: {{by_patient.roc_auc.reason}}"
    return f"{told}{estimate(facts, 'by_patient.roc_auc')}"
