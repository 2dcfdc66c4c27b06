"""Say where the images of a set come from, and what of that reveals their class."""

from collections.abc import Iterator

from alld.auditing.examine import Audit
from alld.auditing.fields import InFields, sharing
from alld.auditing.finding import Finding, some
from alld.data.groups.places import TURNS
from alld.data.manifest import LABEL_NAMES
from alld.stats.metrics import Metric

CHANCE = 0.5
UPRIGHT = 0


def fields(audit: Audit) -> Iterator[Finding]:
    """Say in which fields the images lie, and what of their places is unusual."""
    manifest, found = audit.manifest, audit.in_fields
    known = sum(record.field is not None for record in manifest)
    if not known and found is None:
        return
    names = {record.field for record in manifest if record.field}
    share = f"{sharing(manifest)} share one with another image"
    said = f"{known} of {len(manifest)} images lie in {len(names)} known fields; {share}"
    if found is None:
        advice = "--split grouped keeps the crops of one field together; --fields DIR checks them"
        yield Finding("note", "fields", known, said, advice)
        return
    exact = sum(place.exact for place in found.found)
    said = (
        f"{len(found.found)} of {len(manifest)} images were found in {len(names)} of "
        f"{len(found.names)} fields, {exact} of them to the bit; {share}"
    )
    advice = "alld train --data images.csv keeps the crops of one field together"
    yield Finding("note", "fields", len(found.found), said, advice)
    yield from _unusual(audit, found)


def _unusual(audit: Audit, found: InFields) -> Iterator[Finding]:
    pairs = list(zip(audit.manifest, found.places, strict=True))
    nowhere = [record.path for record, place in pairs if place is None]
    said = "in none of the fields"
    yield from some("warning", "fields", nowhere, said, "bring the fields they were cut from")
    turned = [(record.path, place.turn) for record, place in pairs if place and place.turn]
    kinds = ", ".join(TURNS[turn] for turn in sorted({turn for _, turn in turned}))
    said = f"not as in their field: {kinds} they equal it"
    advice = "find out why: turned copies beside the originals would count a cell twice"
    yield from some("warning", "fields", [path for path, _ in turned], said, advice)
    similar = [(r.path, place.similarity) for r, place in pairs if place and not place.exact]
    least = min((similarity for _, similarity in similar), default=1.0)
    said = f"similar to their field, not equal: similarity {least:.3f} and more"
    advice = "they were saved anew, or are another picture of that place"
    yield from some("note", "fields", [path for path, _ in similar], said, advice)
    for name, same in found.copies:
        yield Finding(
            "note", "fields", 0, f"field {name} is the same file as {same}", "nothing to do"
        )
    for problem in found.problems:
        advice = "crops of that field are not found"
        yield Finding("warning", "fields", 0, problem.reason, advice, (problem.path,))


def domains(audit: Audit) -> Iterator[Finding]:
    table, metric = audit.domains, audit.domain_alone
    if table is None:
        said = "no camera, time or column tells which images were taken in one session"
        advice = "name the session, slide or scanner of each image in a column of a table"
        yield Finding("note", "domains", 0, said, advice)
        return
    if not table.confounded:
        right, number = audit.domain_accuracy, len(table.counts)
        guessed = "" if right.value is None else f", guesses {right.k} of {right.n} classes right"
        said = f"the {table.noun} alone, of {number} ({table.source}){guessed}"
        advice = f"a model may learn the {table.noun}s: test it with --split session"
        yield from _shortcut(metric, "domains", said, advice)
        return
    said = (
        f"each of the {len(table.counts)} {table.noun}s ({table.source}) holds one class alone: "
        f"the {table.noun} tells the class of every image"
    )
    advice = (
        f"no split of this set can part the disease from the {table.noun}: test with --split "
        f"session, and bring images of both classes from one {table.noun}"
    )
    yield Finding("error", "domains", len(audit.manifest), said, advice)


def domain_probes(audit: Audit) -> Iterator[Finding]:
    """Say whether an image tells its domain to a model that cannot go by the class."""
    noun = audit.domains.noun if audit.domains else "domain"
    for probe in audit.domain_probes:
        metric, number = probe.balanced_accuracy, len(probe.domains)
        kind, value = LABEL_NAMES[probe.label], metric.value or 0.0
        low, high = metric.ci_low, metric.ci_high
        interval = metric.reason or f"95 % {100 * (low or 0):.1f} to {100 * (high or 0):.1f}"
        said = (
            f"among {kind} images alone, an image tells which of {number} {noun}s it is from: "
            f"{100 * value:.1f} % ({interval}; n = {metric.n}; chance {100 * probe.chance:.1f} %)"
        )
        if low is not None and low > probe.chance:
            advice = f"a model can see the {noun}, whatever the cell: test it with --split session"
            yield Finding("warning", "domains", metric.n, said, advice)
        else:
            said = said.replace("an image tells", "no image is seen to tell")
            yield Finding("note", "domains", metric.n, said, "no more than chance: nothing to do")


def background(audit: Audit) -> Iterator[Finding]:
    metric, what = audit.background, "the background alone, without the cell"
    if metric.value is None and 2 * metric.n < len(audit.manifest):  # more images do not help
        said = f"{what}: {metric.reason}"
        yield Finding("note", "background", metric.n, said, "nothing to do")
        return
    advice = (
        "a model may learn slides, not cells: test it on cells of other slides and laboratories"
    )
    yield from _shortcut(metric, "background", what, advice)


def file_facts(audit: Audit) -> Iterator[Finding]:
    yield from _shortcut(
        audit.file_facts,
        "file sizes",
        "the file size and dimensions alone",
        "bring all images to one size and format before training",
    )


def _shortcut(metric: Metric, code: str, what: str, advice: str) -> Iterator[Finding]:
    if metric.value is None:
        said = f"{what}: what it predicts is undefined: {metric.reason}"
        yield Finding("note", code, metric.n, said, "bring more images")
        return
    interval = metric.reason or f"95 % {metric.ci_low:.3f} to {metric.ci_high:.3f}"
    said = f"{what}: ROC AUC {metric.value:.3f} ({interval}; n = {metric.n})"
    low = metric.value if metric.ci_low is None else metric.ci_low
    if low > CHANCE:
        yield Finding("warning", code, metric.n, said, advice)
    else:
        yield Finding("note", code, metric.n, said, "no more than chance: nothing to do")
