"""Examine a set of images before anyone trains on it.

Every image is read once and described. Relations, groups and shortcuts are then found from the
descriptions, and files are read again only where two images have to be compared.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log
from pathlib import Path

import numpy as np

from alld.auditing.background import (
    MAX_COMPARED_SIDE,
    Features,
    background_features,
    best_guess,
    domain_features,
    keep_features,
    measure_background,
    predictive_power,
)
from alld.auditing.domain_probe import Describe, DomainProbe, probe_domains
from alld.auditing.fields import InFields, place_in_fields
from alld.cells.segment import nuclear_stain
from alld.config.schema import DataConfig
from alld.data.domains import DomainTable, domain_table
from alld.data.groups.load import Groups, load_groups, with_owners
from alld.data.groups.places import TURNS, Relation
from alld.data.groups.recapture import TILE, is_small
from alld.data.groups.relations import Description, Search, describe, group_indices, search
from alld.data.manifest import Manifest, Pictures
from alld.data.sources.find import survey_manifest
from alld.data.sources.labelled import Problem
from alld.errors import ImageError
from alld.images.decode import Decoded, decode
from alld.images.rgb import pixels_hash
from alld.runtime.threads import side_by_side
from alld.stats.metrics import Metric

# Nuclear stain against the median of the set. ALL-IDB2: platelets up to 0.315, but for one of 0.55
# that is as large as a cell; white cells 0.589 and more.
LEAST_STAIN = 0.4
MOST_SEGMENTED = 2000  # images, which takes two minutes; the cells of larger sets are not sought
NEARLY_IDENTICAL = 0.98  # similarity of two files of one size, unshifted: another compression
UPRIGHT = 0

Step = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ImageFacts:
    """The properties of one file, apart from what it shows."""

    width: int
    height: int
    file_bytes: int
    format: str
    pixels_sha256: str  # of width, height and RGB samples
    conversions: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """All that was found, in the order of the manifest, which holds the readable images only."""

    manifest: Manifest
    problems: tuple[Problem, ...]
    facts: tuple[ImageFacts, ...]
    not_compared: tuple[int, ...]  # too small or too large to seek relations
    search: Search
    groups: Groups
    background: Metric
    without_background: int  # images in which too little of it is left
    file_facts: Metric
    domains: DomainTable | None  # None where no domain is known
    domain_alone: Metric  # ROC AUC of the best guess of the class from the domain alone
    domain_accuracy: Metric  # of that guess
    in_fields: InFields | None = None  # None where no fields were given
    without_nucleus: frozenset[int] = frozenset()  # hardly any nuclear stain in the centre
    domain_probes: tuple[DomainProbe, ...] = ()  # of each class that allows one

    @property
    def members(self) -> dict[str, list[int]]:
        """The images of every group of at least two, by the group's name."""
        members: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(self.groups.of_image):
            members[name].append(index)
        return {name: images for name, images in members.items() if len(images) > 1}

    @property
    def small(self) -> list[str]:
        """The images that are too small to be recognised in another picture."""
        pairs = zip(self.manifest, self.facts, strict=True)
        return [record.path for record, one in pairs if is_small((one.height, one.width))]

    def name_of(self, relation: Relation) -> str:
        """Return `identical file`, `identical pixels`, `nearly identical`, or the relation's kind.

        The name of an image that is turned ends with its orientation.
        """
        first, second = (self.facts[i] for i in (relation.first, relation.second))
        hashes = {self.manifest.records[i].sha256 for i in (relation.first, relation.second)}
        equal = first.pixels_sha256 == second.pixels_sha256
        one_size = (first.width, first.height) == (second.width, second.height)
        name: str = relation.kind
        if relation.kind == "same cell" and (relation.dy, relation.dx) == (0, 0):
            if len(hashes) == 1:
                name = "identical file"
            elif equal or (relation.turn != UPRIGHT and relation.score == 1.0):
                name = "identical pixels"
            elif one_size and relation.score >= NEARLY_IDENTICAL:
                name = "nearly identical"
        return name if relation.turn == UPRIGHT else f"{name}, {TURNS[relation.turn]}"


def examine(
    data: DataConfig,
    groups: Path | None = None,
    step: Step = lambda name, done, total: None,
    begin: Callable[[Manifest], None] = lambda manifest: None,
    *,
    fields: Path | None = None,
    describe: Describe | None = None,
) -> Audit:
    """Examine a set; files that cannot be read are listed as problems.

    Args:
        data: the set; see `load_manifest`.
        groups: a table `path,group` that overrules the groups found.
        step: called with the name of a step, what is done and how much there is.
        begin: called with the set before its images are read; an exception ends the audit.
        fields: a folder of whole fields, in which the images are sought.
        describe: gives features of images, from which their domain is guessed; None: it is not.

    Raises:
        DataError: there is no set, no field, or the groups file does not fit the set.
    """
    surveyed, problems = survey_manifest(data, lambda *at: step("hashing images", *at))
    begin(surveyed)
    seen: list[_Seen] = []
    readable = []
    looks = side_by_side(partial(_look, surveyed), range(len(surveyed)))
    for number, (record, look) in enumerate(zip(surveyed, looks, strict=True), start=1):
        if isinstance(look, ImageError):
            problems.append(Problem(record.path, str(look)))
        else:
            seen.append(look)
            readable.append(record)
        step("reading images", number, len(surveyed))
    manifest = replace(surveyed, records=tuple(readable))
    found = _compare(manifest, seen, step)
    in_fields = None
    if fields is not None:
        seeking = partial(step, "seeking crops in fields")
        manifest, in_fields = place_in_fields(manifest, fields, data.session_gap, seeking)
    known = _group(manifest, groups, found.relations)
    step("measuring backgrounds", 0, 1)
    background = [one.background for one in seen]
    keep_features(manifest, background)
    independent = with_owners(manifest, known).of_image
    area, accuracy = best_guess(manifest, independent, domain_features(manifest))
    audit = Audit(
        manifest=manifest,
        problems=tuple(problems),
        facts=tuple(one.facts for one in seen),
        not_compared=tuple(i for i, one in enumerate(seen) if one.description is None),
        search=found,
        groups=known,
        background=measure_background(manifest, independent, background),
        without_background=sum(vector is None for vector in background),
        file_facts=predictive_power(
            manifest, independent, [_file_features(one.facts) for one in seen]
        ),
        domains=domain_table(manifest),
        domain_alone=area,
        domain_accuracy=accuracy,
        in_fields=in_fields,
        without_nucleus=_without_nucleus([one.stain for one in seen]),
    )
    step("measuring backgrounds", 1, 1)
    if describe is None or audit.domains is None:
        return audit
    step("guessing domains", 0, 1)
    probes = probe_domains(manifest, independent, describe)
    step("guessing domains", 1, 1)
    return replace(audit, domain_probes=probes)


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image once it was read."""

    facts: ImageFacts
    description: Description | None
    background: Features | None
    stain: float | None  # of the central nucleus; None where it was not sought


def _look(surveyed: Manifest, index: int) -> _Seen | ImageError:
    try:
        data = surveyed.read(index)
        decoded = decode(data, str(surveyed.file(index)))
    except ImageError as error:
        return error
    sides = decoded.pixels.shape[:2]
    few = len(surveyed) <= MOST_SEGMENTED
    comparable = min(sides) >= TILE and max(sides) <= MAX_COMPARED_SIDE
    return _Seen(
        facts=_facts(decoded, len(data)),
        description=describe(decoded.pixels, len(surveyed)) if comparable else None,
        background=background_features(decoded.pixels) if comparable else None,
        stain=nuclear_stain(decoded.pixels) if comparable and few else None,
    )


def _without_nucleus(stains: Sequence[float | None]) -> frozenset[int]:
    """The images whose nuclear stain is far below the median."""
    known = [stain for stain in stains if stain is not None]
    least = LEAST_STAIN * float(np.median(known)) if known else 0.0
    return frozenset(n for n, stain in enumerate(stains) if stain is not None and stain < least)


def _facts(decoded: Decoded, file_bytes: int) -> ImageFacts:
    height, width = decoded.pixels.shape[:2]
    return ImageFacts(
        width=width,
        height=height,
        file_bytes=file_bytes,
        format=decoded.format,
        pixels_sha256=pixels_hash(decoded.pixels),
        conversions=decoded.conversions,
        warnings=decoded.warnings,
    )


def _file_features(facts: ImageFacts) -> Features:
    sizes = (facts.width, facts.height, facts.file_bytes)
    return np.array([*(log(size) for size in sizes), facts.width / facts.height])


def _compare(manifest: Manifest, seen: Sequence[_Seen], step: Step) -> Search:
    """Find all relations; images that cannot be compared are related by equal pixels alone."""
    numbers = [index for index, one in enumerate(seen) if one.description is not None]
    described = [one.description for one in seen if one.description is not None]
    part = replace(manifest, records=tuple(manifest.records[index] for index in numbers))
    n = len(described)
    found = search(
        Pictures(part),
        described,
        lambda share: step("comparing images", int(share * n), n),
        turns=True,
    )

    def whole(relation: Relation) -> Relation:
        first, second = numbers[relation.first], numbers[relation.second]
        return replace(relation, first=first, second=second)

    relations = {(r.first, r.second): r for r in map(whole, found.relations)}
    for relation in _equal([one.facts.pixels_sha256 for one in seen]):
        relations.setdefault((relation.first, relation.second), relation)
    return Search(
        tuple(relations[pair] for pair in sorted(relations)),
        tuple(replace(c, relation=whole(c.relation)) for c in found.recaptured),
        tuple(replace(c, relation=whole(c.relation)) for c in found.rejected),
    )


def _equal(names: Iterable[str]) -> list[Relation]:
    """Relate each further image of one name to the first."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, index), index) for index, name in enumerate(names)]
    return [Relation(*pair, "same cell", 1.0, 0, 0) for pair in pairs if pair[0] != pair[1]]


def _group(manifest: Manifest, file: Path | None, relations: Sequence[Relation]) -> Groups:
    """The groups of a file; else those found, joined with those that the set itself names.

    Patients and fields are left out: they would put every image into a group, and hide what was
    found.
    """
    if file is not None:
        given = load_groups(manifest, file, fields=False)
        return replace(given, relations=tuple(relations))
    own = [record.group or f"image {index}" for index, record in enumerate(manifest)]
    named = _equal(own)
    numbers = group_indices(len(manifest), [*relations, *named])
    names = tuple(manifest.records[number].path for number in numbers)
    source = "found by ALLD" + (", joined with the table's own" if named else "")
    return Groups(names, source, tuple(relations))
