"""The group of every image of a set: from a file, from the set itself, or found and cached.

Whatever else says which images belong together: the cells of one patient always do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.groups.relations import ALGORITHM_VERSION, Relation, find_relations, group_indices
from alld.data.manifest import Manifest, Pictures, Progress
from alld.data.splits import connected
from alld.errors import DataError
from alld.runtime.files import cell, plain_path
from alld.runtime.reading import read_csv


@dataclass(frozen=True)
class Groups:
    """`of_image`: one name for each image of the manifest; equal names belong together.

    `relations` are the pairs behind them where ALLD found them itself.
    """

    of_image: tuple[str, ...]
    source: str
    relations: tuple[Relation, ...] = ()


def load_groups(
    manifest: Manifest, file: Path | None = None, progress: Progress | None = None
) -> Groups:
    """Groups from `file` if given, else as the set itself tells them, else found in the pixels.

    Nothing is sought where the set names a patient or a group for every image. What was found is
    kept in the user's cache folder under the fingerprint of the set. Images of one patient are of
    one group in any case.

    Raises:
        DataError: a groups file that does not fit the set.
        ImageError: an image that cannot be read.
    """
    if file is not None:
        return with_patients(manifest, _from_file(manifest, file))
    alone = [f"image {record.path}" for record in manifest]
    if all(record.patient or record.group for record in manifest):
        return with_patients(manifest, with_own(manifest, Groups(tuple(alone), "")))
    relations = _cached(manifest)
    if relations is None:
        relations = tuple(find_relations(Pictures(manifest), progress))
        write_cached(_cache_file(manifest), [asdict(relation) for relation in relations])
    return with_patients(manifest, with_own(manifest, from_relations(manifest, relations)))


def with_patients(manifest: Manifest, groups: Groups) -> Groups:
    """The groups, joined where they share a patient."""
    patients = [patient and f"patient {patient}" for patient in manifest.patients]
    return _joined(groups, patients, "patients as the set names them")


def with_own(manifest: Manifest, groups: Groups) -> Groups:
    """The groups, joined where the set itself gives images one group."""
    own = [record.group or "" for record in manifest]
    return _joined(groups, own, "groups as the set names them")


def _joined(groups: Groups, owners: Sequence[str], told: str) -> Groups:
    """Groups that share an owner become one, called after its owner if it has no other."""
    if not any(owners):
        return groups
    keys = [
        [f"group {group}", *([f"owner {owner}"] if owner else [])]
        for group, owner in zip(groups.of_image, owners, strict=True)
    ]
    names = list(groups.of_image)
    for unit in connected(keys):
        own = {owners[index] for index in unit} - {""}
        name = own.pop() if len(own) == 1 else names[unit[0]]
        for index in unit:
            names[index] = name
    source = f"{told}, and {groups.source}" if groups.source else told
    return Groups(tuple(names), source, groups.relations)


def from_relations(manifest: Manifest, relations: Sequence[Relation]) -> Groups:
    """Images joined by any relation, directly or through others, named after the first of them."""
    numbers = group_indices(len(manifest), relations)
    # Whole paths: blast/000.tif and healthy/000.tif have one stem and nothing else in common.
    names = tuple(manifest.records[number].path for number in numbers)
    source = f"same cells and overlapping crops, found by ALLD (method {ALGORITHM_VERSION})"
    return Groups(names, source, tuple(relations))


def _from_file(manifest: Manifest, file: Path) -> Groups:
    try:
        rows = read_csv(file)
    except (OSError, ValueError) as error:
        raise DataError(f"--groups {file}: cannot be read as a CSV table: {error}") from error
    if not rows:
        raise DataError(f"--groups {file}: has no rows; leave it out, and ALLD looks for groups")
    if not {"path", "group"} <= rows[0].keys():
        seen = ",".join(rows[0])
        raise DataError(f"--groups {file}: needs rows with the columns path,group; found {seen}")
    given: dict[str, str] = {}
    for row in rows:
        path, group = plain_path(row["path"]), cell(row["group"].strip())
        if not group or given.setdefault(path, group) != group:
            raise DataError(f"--groups {file}: {path} needs one group, found {group!r} there")
    unknown = sorted(given.keys() - {record.path for record in manifest})
    if unknown:
        raise DataError(f"--groups {file}: {unknown[0]} is no image of {manifest.root}")
    names = [given.get(record.path) or f"image {record.path}" for record in manifest]
    source = f"file {file.name}, {len(given)} images in {len(set(given.values()))} groups"
    return Groups(tuple(names), source)


def _cache_file(manifest: Manifest) -> Path:
    return cache_file("groups", manifest.fingerprint, ALGORITHM_VERSION)


def _cached(manifest: Manifest) -> tuple[Relation, ...] | None:
    """None where nothing is cached or what lies there is not ours: it is then found anew."""
    try:
        relations = tuple(Relation(**row) for row in read_cached(_cache_file(manifest)))
        fits = all(0 <= r.first < r.second < len(manifest) for r in relations)
    except TypeError:  # no list of relations, or none at all
        return None
    return relations if fits else None
