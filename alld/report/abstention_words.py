"""What is said of the images that get no verdict; see `facts` for the fields of sentences."""

from alld.report.words import Facts, interval

CAPTION = (
    "Images judged wrongly among those that are farthest from the threshold, from all on the right "
    "to fewer on the left. A model that knows when it errs falls towards the left."
)


def silent(facts: Facts) -> list[str]:
    """Against a headline that counts every image: some get no verdict in use."""
    if facts["abstention"]["kept"]["k"] == facts["abstention"]["kept"]["n"]:
        return []
    return [
        "All numbers count every image, by what its P(blast) is called at the threshold. In use "
        "{abstention.out_of_domain.k} of {abstention.out_of_domain.n} would be refused as out of "
        "domain and {abstention.uncertain.k} be called uncertain."
    ]


def explained(facts: Facts) -> list[str]:
    """Where the limits come from, above their table."""
    return [_domain(facts), _band(facts)]


def _domain(facts: Facts) -> str:
    limits = facts["abstention"]["limits"]
    if limits["limit"] is None:
        return "No picture is refused as out of domain: {abstention.limits.reason}."
    return (
        "Out of domain is a picture whose score, from the network's features and from simple facts "
        "of the picture, lies {abstention.limits.deviations:plain} robust standard deviations or "
        "more above the median of the {abstention.limits.images} validation images."
    )


def _band(facts: Facts) -> str:
    if facts["abstention"]["band"] is None:
        return "No P(blast) is called uncertain: abstain.uncertain is null."
    return (
        "Uncertain is a P(blast) between {abstention.band.low:score} and "
        "{abstention.band.high:score}, {abstention.band.how}."
    )


def outcome(facts: Facts) -> str:
    """What it bought, below their table."""
    if facts["abstention"]["gain"]["value"] is None:
        return "What silence buys is undefined: {abstention.gain.reason}."
    if facts["abstention"]["gain"]["ci_low"] is None:
        return (
            "Accuracy among the kept less accuracy on all: {abstention.gain.value:points} points "
            "({abstention.gain.reason})."
        )
    return (
        "Accuracy among the kept less accuracy on all: {abstention.gain.value:points} points, "
        f"interval {interval(facts, 'abstention.gain', 'points', 'points')} (by groups)."
    )
