"""What an audit comes down to: one sentence each, with a number and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from alld.audit.audit import Audit, sizes_of
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, class_counts
from alld.data.sources.class_folders import folder_label
from alld.data.sources.find import name_label
from alld.stats.metrics import Metric
from alld.stats.patients import patient_kinds

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
CHANCE = 0.5
RARE = 0.1  # share of a class below which accuracy says nothing
WORTH_A_LOOK = 0.5  # similarity; that of different places rarely reaches it
CLOSE = 0.1  # between the weakest pair accepted and the strongest rejected: look at both


@dataclass(frozen=True)
class Finding:
    """`error`: a training would stop or learn what is wrong; `warning`: its numbers would mislead.

    `count` is how many images it is about, `paths` which.
    """

    severity: Severity
    code: str
    count: int
    sentence: str
    advice: str
    paths: tuple[str, ...] = ()


def findings(audit: Audit) -> list[Finding]:
    """Everything worth saying of a set, the worst first."""
    checks: tuple[Callable[[Audit], Iterator[Finding]], ...] = (
        _problems,
        _contradictions,
        _names,
        _classes,
        _background,
        _file_facts,
        _groups,
        _turned,
        _leaking,
        _patients,
        _copies,
        _doubts,
        _sizes,
        _not_compared,
        _decoding,
        _source,
    )
    found = [finding for check in checks for finding in check(audit)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _some(severity: Severity, code: str, paths: list[str], said: str, advice: str) -> Finding:
    """A finding about `paths`: `said` follows their number, and the first of them ends it."""
    number = f"{len(paths)} {'image' if len(paths) == 1 else 'images'}"
    return Finding(
        severity, code, len(paths), f"{number}: {said} (first: {paths[0]})", advice, tuple(paths)
    )


def _problems(audit: Audit) -> Iterator[Finding]:
    for problem in audit.problems:
        advice = "mend it or take it out: a training stops there"
        yield Finding("error", "unusable", 1, problem.reason, advice, (problem.path,))


def _contradictions(audit: Audit) -> Iterator[Finding]:
    records = audit.manifest.records
    for r in audit.groups.relations:
        first, second = records[r.first], records[r.second]
        if r.kind != "same cell" or first.label == second.label:
            continue
        yield Finding(
            "error",
            "contradiction",
            2,
            f"{first.path} is {LABEL_NAMES[first.label]} and {second.path} is "
            f"{LABEL_NAMES[second.label]}, but both show one cell ({audit.name_of(r)})",
            "find out which label is right, or take both out",
            (first.path, second.path),
        )


def _names(audit: Audit) -> Iterator[Finding]:
    manifest = audit.manifest
    by_name = [r.path for r in manifest if name_label(r.path) not in (None, r.label)]
    if by_name:
        said = "named after ALL-IDB2, and the name says the other class than the label"
        yield _some("error", "name", by_name, said, "move them, or correct the label")
    if manifest.kind == "folders":
        return  # the folder is the label
    by_folder = []
    for record in manifest:
        home = (manifest.root / PurePosixPath(record.path)).parent.name
        # ALL-IDB2 itself often lies in a folder called ALL.
        own = home.lower() == "all" and manifest.kind == "ALL-IDB2"
        if not own and folder_label(home) not in (None, record.label):
            by_folder.append(record.path)
    if by_folder:
        said = "in a folder named after the other class than the label"
        yield _some("error", "folder", by_folder, said, "move them, or correct the label")


def _classes(audit: Audit) -> Iterator[Finding]:
    labels = audit.manifest.labels
    counts, n = Counter(labels), len(labels)
    rarer = min((HEALTHY, BLAST), key=lambda label: counts[label])
    said = f"{n} readable images: {class_counts(labels)}"
    if not counts[rarer]:
        yield Finding("error", "classes", n, said, f"bring {LABEL_NAMES[rarer]} images too")
    elif counts[rarer] < RARE * n:
        advice = "judge by sensitivity and specificity: accuracy says little here"
        yield Finding("warning", "classes", n, said, advice)
    else:
        yield Finding("note", "classes", n, said, "nothing to do")


def _background(audit: Audit) -> Iterator[Finding]:
    metric, what = audit.background, "the background alone, without the cell"
    if metric.value is None and 2 * metric.n < len(audit.manifest):  # more images do not help
        said = f"{what}: {metric.reason}"
        yield Finding("note", "background", metric.n, said, "nothing to do")
        return
    advice = (
        "a model may learn slides, not cells: test it on cells of other slides and laboratories"
    )
    yield from _shortcut(metric, "background", what, advice)


def _file_facts(audit: Audit) -> Iterator[Finding]:
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


def _groups(audit: Audit) -> Iterator[Finding]:
    members = audit.members
    if not members:
        yield Finding("note", "groups", 0, "no two images share a cell or pixels", "nothing to do")
        return
    kinds = Counter(r.kind for r in audit.groups.relations)
    grouped = sum(map(len, members.values()))
    said = (
        f"{grouped} of {len(audit.manifest)} images belong to {len(members)} groups: "
        f"{kinds['same cell']} pairs show the same cell, {kinds['overlap']} share part of a field"
    )
    advice = "look at groups.png, and keep to grouped splits: a random one tests on what it trained"
    yield Finding("warning", "groups", grouped, said, advice)


def _turned(audit: Audit) -> Iterator[Finding]:
    pairs = [(r.first, r.second) for r in audit.groups.relations if r.turn]
    paths = sorted({audit.manifest.records[index].path for pair in pairs for index in pair})
    if paths:
        said = "the same place as in another image, turned or flipped"
        advice = "`alld train` does not seek turned copies itself: give it groups.csv with --groups"
        yield _some("warning", "turned", paths, said, advice)


def _leaking(audit: Audit) -> Iterator[Finding]:
    name = audit.groups.of_image
    pairs = [r for r in audit.groups.relations if name[r.first] != name[r.second]]
    paths = sorted({audit.manifest.records[i].path for r in pairs for i in (r.first, r.second)})
    if paths:
        said = f"related in {len(pairs)} pairs, but the groups file puts them apart"
        yield _some("warning", "leaking", paths, said, "look at groups.png, and correct the file")


def _patients(audit: Audit) -> Iterator[Finding]:
    patients = audit.manifest.patients
    if not any(patients):
        return
    kinds, unknown = patient_kinds(audit.manifest.labels, patients), patients.count("")
    said = (
        f"{sum(kinds)} patients: {kinds.blast} with blasts only, {kinds.healthy} with healthy "
        f"cells only, {kinds.both} with both"
    )
    yield Finding("note", "patients", len(patients) - unknown, said, "nothing to do")
    if unknown:
        paths = [record.path for record in audit.manifest if not record.patient]
        advice = "name them: nothing keeps these images apart from the patient's others"
        yield _some("warning", "patients", paths, "of no known patient, as others are", advice)
    of_two = [(r, {patients[r.first], patients[r.second]} - {""}) for r in audit.groups.relations]
    pairs = [r for r, both in of_two if len(both) > 1]
    paths = sorted({audit.manifest.records[i].path for r in pairs for i in (r.first, r.second)})
    if paths:
        said = f"related in {len(pairs)} pairs, but of different patients"
        advice = "find out whose cells they are; --groups groups.csv keeps both patients together"
        yield _some("warning", "patients", paths, said, advice)


def _copies(audit: Audit) -> Iterator[Finding]:
    names = {r: audit.name_of(r).split(",")[0] for r in audit.groups.relations}
    for name in ("identical file", "identical pixels", "nearly identical"):
        paths = [audit.manifest.records[r.second].path for r in names if names[r] == name]
        if paths:
            said = {
                "identical file": "byte for byte a copy of another",
                "identical pixels": "the same pixels as another file",
                "nearly identical": "the same as another but for noise or compression",
            }[name]
            advice = "keep one of each: copies count a cell twice"
            yield _some("warning", name, sorted(set(paths)), said, advice)


def _doubts(audit: Audit) -> Iterator[Finding]:
    accepted = min((c.similarity for c in audit.search.recaptured), default=None)
    rejected = audit.search.rejected[0] if audit.search.rejected else None
    if rejected is None:
        return
    records = audit.manifest.records
    pair = tuple(records[i].path for i in (rejected.relation.first, rejected.relation.second))
    if accepted is None and rejected.similarity < WORTH_A_LOOK:
        return
    if accepted is None:
        said = f"no pair was accepted by its texture; the most alike, {pair[0]} and {pair[1]}, "
        said += f"has similarity {rejected.similarity:.2f}"
        yield Finding("note", "doubt", 2, said, "look at both if in doubt", pair)
        return
    said = (
        f"the weakest pair taken for one place has similarity {accepted:.2f}, the strongest not "
        f"taken {rejected.similarity:.2f} ({pair[0]}, {pair[1]})"
    )
    if accepted - rejected.similarity < CLOSE:
        advice = "look at this pair: if it shows one place, add it to groups.csv"
        yield Finding("warning", "doubt", 2, said, advice, pair)
    else:
        yield Finding("note", "doubt", 2, said, "a clear gap: nothing to do", pair)


def _sizes(audit: Audit) -> Iterator[Finding]:
    sizes = sizes_of(audit.facts)
    if len(sizes) < 2:
        return
    (usual, times), *_ = sizes.most_common(1)
    odd = [
        record.path
        for record, facts in zip(audit.manifest, audit.facts, strict=True)
        if (facts.width, facts.height) != usual
    ]
    said = f"not {usual[0]} x {usual[1]} px as {times} others"
    advice = (
        "ALLD pads them by reflection: look whether the cell is whole, and of one magnification"
    )
    yield _some("note", "sizes", odd, said, advice)


def _not_compared(audit: Audit) -> Iterator[Finding]:
    paths = [audit.manifest.records[index].path for index in audit.not_compared]
    if paths:
        said = "too small or too large to be compared with others"
        yield _some("warning", "not compared", paths, said, "give crops of single cells")


def _decoding(audit: Audit) -> Iterator[Finding]:
    said: dict[tuple[Severity, str], list[str]] = {}
    for record, facts in zip(audit.manifest, audit.facts, strict=True):
        for text in facts.warnings:
            said.setdefault(("warning", text), []).append(record.path)
        for text in facts.conversions:
            said.setdefault(("note", text), []).append(record.path)
    for (severity, text), paths in said.items():
        advice = "see whether both classes were saved alike"
        yield _some(severity, "decoding", paths, text, advice)


def _source(audit: Audit) -> Iterator[Finding]:
    for text in audit.manifest.warnings:
        yield Finding("note", "source", 0, text, "see that this is what you mean")
