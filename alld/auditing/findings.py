"""Turn an audit into findings: a sentence with a number, and what to do about it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath

from alld.auditing.examine import Audit
from alld.auditing.finding import SEVERITIES, Finding, Severity, some
from alld.auditing.origins import background, domain_probes, domains, fields, file_facts
from alld.data.groups.places import Relation
from alld.data.groups.recapture import SMALL_SIDE
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, class_counts
from alld.data.sources.class_names import ClassNames
from alld.data.sources.find import name_label
from alld.stats.patients import patient_kinds

RARE = 0.1  # share of a class below which accuracy says nothing
WORTH_A_LOOK = 0.5  # similarity that different places rarely reach
CLOSE = 0.1  # between the weakest accepted and the strongest rejected pair


def findings(audit: Audit) -> list[Finding]:
    """Return all findings of an audit, the most severe first."""
    checks: tuple[Callable[[Audit], Iterator[Finding]], ...] = (
        _problems,
        _contradictions,
        _names,
        _classes,
        fields,
        domains,
        domain_probes,
        background,
        file_facts,
        _groups,
        _turned,
        _leaking,
        _patients,
        _copies,
        _without_nucleus,
        _doubts,
        _sizes,
        _not_compared,
        _decoding,
        _source,
    )
    found = [finding for check in checks for finding in check(audit)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _paths(audit: Audit, relations: Iterable[Relation]) -> list[str]:
    """The paths of all images in some relations, sorted."""
    images = {index for r in relations for index in (r.first, r.second)}
    return sorted(audit.manifest.records[index].path for index in images)


def _problems(audit: Audit) -> Iterator[Finding]:
    for problem in audit.problems:
        advice = "repair or remove it: a training stops there"
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
    said = "named after ALL-IDB2, and the name says the other class than the label"
    yield from some("error", "name", by_name, said, "move them, or correct the label")
    if manifest.kind == "folders":
        return  # the folder is the label
    by_folder = []
    for record in manifest:
        home = (manifest.root / PurePosixPath(record.path)).parent.name
        # ALL-IDB2 itself often lies in a folder called ALL.
        own = home.lower() == "all" and manifest.kind == "ALL-IDB2"
        if not own and ClassNames().label_of([home]) not in (None, record.label):
            by_folder.append(record.path)
    said = "in a folder named after the other class than the label"
    yield from some("error", "folder", by_folder, said, "move them, or correct the label")


def _classes(audit: Audit) -> Iterator[Finding]:
    labels = audit.manifest.labels
    counts, n = Counter(labels), len(labels)
    rarer = min((HEALTHY, BLAST), key=lambda label: counts[label])
    said = f"{n} readable images: {class_counts(labels)}"
    if not counts[rarer]:
        yield Finding("error", "classes", n, said, f"bring {LABEL_NAMES[rarer]} images too")
    elif counts[rarer] < RARE * n:
        advice = "use sensitivity and specificity: accuracy says little here"
        yield Finding("warning", "classes", n, said, advice)
    else:
        yield Finding("note", "classes", n, said, "nothing to do")


def _groups(audit: Audit) -> Iterator[Finding]:
    members = audit.members
    if not members:
        if not audit.small:
            said = "no two images share a cell or pixels"
            yield Finding("note", "groups", 0, said, "nothing to do")
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
    paths = _paths(audit, (r for r in audit.groups.relations if r.turn))
    said = "the same place as in another image, turned or flipped"
    advice = "`alld train` does not seek turned copies itself: give it groups.csv with --groups"
    yield from some("warning", "turned", paths, said, advice)


def _leaking(audit: Audit) -> Iterator[Finding]:
    name = audit.groups.of_image
    pairs = [r for r in audit.groups.relations if name[r.first] != name[r.second]]
    said = f"related in {len(pairs)} pairs, but the groups file separates them"
    advice = "look at groups.png, and correct the file"
    yield from some("warning", "leaking", _paths(audit, pairs), said, advice)


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
    paths = [record.path for record in audit.manifest if not record.patient]
    advice = "name the patients: a split may separate these images from others of the same patient"
    yield from some("warning", "patients", paths, "their patient is unknown", advice)
    pairs = [
        r for r in audit.groups.relations if len({patients[r.first], patients[r.second]} - {""}) > 1
    ]
    said = f"related in {len(pairs)} pairs, but of different patients"
    advice = "find out whose cells they are; --groups groups.csv keeps both patients together"
    yield from some("warning", "patients", _paths(audit, pairs), said, advice)


def _copies(audit: Audit) -> Iterator[Finding]:
    names = {r: audit.name_of(r).split(",")[0] for r in audit.groups.relations}
    for name, said in (
        ("identical file", "byte for byte a copy of another"),
        ("identical pixels", "the same pixels as another file"),
        ("nearly identical", "the same as another except for noise or compression"),
    ):
        paths = {audit.manifest.records[r.second].path for r in names if names[r] == name}
        advice = "keep one of each: copies count a cell twice"
        yield from some("warning", name, sorted(paths), said, advice)


def _doubts(audit: Audit) -> Iterator[Finding]:
    accepted = min((c.similarity for c in audit.search.recaptured), default=None)
    if not audit.search.rejected:
        return
    rejected = audit.search.rejected[0]
    pair = tuple(audit.manifest.records[index].path for index in rejected.pair)
    if accepted is None:
        if rejected.similarity >= WORTH_A_LOOK:
            said = (
                f"no pair was accepted by its texture; the most similar, {pair[0]} and {pair[1]}, "
                f"has similarity {rejected.similarity:.2f}"
            )
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


def _without_nucleus(audit: Audit) -> Iterator[Finding]:
    records = [audit.manifest.records[index] for index in sorted(audit.without_nucleus)]
    counts = class_counts([record.label for record in records])
    said = f"hardly any nuclear stain in the centre, as of platelets: {counts}"
    advice = "look at them, and give figures without them too: images.csv has them as white_cell no"
    yield from some("warning", "no white cell", [one.path for one in records], said, advice)


def _sizes(audit: Audit) -> Iterator[Finding]:
    sizes = [(one.width, one.height) for one in audit.facts]
    if not sizes:
        return
    (usual, times), *_ = Counter(sizes).most_common(1)
    pairs = zip(audit.manifest, sizes, strict=True)
    odd = [record.path for record, size in pairs if size != usual]
    said = f"not {usual[0]} x {usual[1]} px like {times} others"
    advice = "ALLD pads them by reflection: check that the cell is whole and of the same scale"
    yield from some("note", "sizes", odd, said, advice)


def _not_compared(audit: Audit) -> Iterator[Finding]:
    paths = [audit.manifest.records[index].path for index in audit.not_compared]
    said = "too small or too large to be compared with others"
    yield from some("warning", "not compared", paths, said, "give crops of single cells")
    said = f"smaller than {SMALL_SIDE} px, where only exact copies can be found"
    advice = "other pictures of one cell remain hidden here: name the patients or groups"
    yield from some("warning", "small", audit.small, said, advice)


def _decoding(audit: Audit) -> Iterator[Finding]:
    said: dict[tuple[Severity, str], list[str]] = {}
    for record, facts in zip(audit.manifest, audit.facts, strict=True):
        for text in facts.warnings:
            said.setdefault(("warning", text), []).append(record.path)
        for text in facts.conversions:
            said.setdefault(("note", text), []).append(record.path)
    for (severity, text), paths in said.items():
        advice = "check that both classes were saved in the same way"
        yield from some(severity, "decoding", paths, text, advice)


def _source(audit: Audit) -> Iterator[Finding]:
    for text in audit.manifest.warnings:
        yield Finding("note", "source", 0, text, "check that this is what you want")
