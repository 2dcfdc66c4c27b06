"""Load the group of every image of a set: from a file, from the set itself, or from the pixels.

In any case all cells of one patient belong to one group, and where they are known the crops of one
field, unless the settings say otherwise.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from alld.data.cache import cache_file, read_cached, write_cached
from alld.data.dealing import connected
from alld.data.groups.recapture import SMALL_SIDE, is_small
from alld.data.groups.relations import (
    ALGORITHM_VERSION,
    Relation,
    describe_all,
    group_indices,
    search,
)
from alld.data.manifest import Manifest, Pictures, Progress
from alld.errors import DataError
from alld.runtime.files import cell, plain_path
from alld.runtime.reading import read_csv


@dataclass(frozen=True)
class Groups:
    """`of_image` has one name for each image of the manifest; equal names belong together."""

    of_image: tuple[str, ...]
    source: str
    relations: tuple[Relation, ...] = ()  # the pairs behind them, where ALLD found them
    small: int = 0  # images in which only equal pixels were recognised

    @property
    def warning(self) -> str | None:
        """What was not sought, or None."""
        if not self.small:
            return None
        return (
            f"{self.small} images are smaller than {SMALL_SIDE} px: only exact copies can be found "
            "among them, and other pictures of one cell may lie on both sides of the split; name "
            "the patients, or give --groups"
        )


def load_groups(
    manifest: Manifest,
    file: Path | None = None,
    progress: Progress | None = None,
    *,
    fields: bool = True,
) -> Groups:
    """Return the groups of `file` if given, else those of the set, else those found in the pixels.

    The pixels are searched only where some image has neither patient nor group. What is found is
    kept in the user's cache folder under the fingerprint of the set.

    Args:
        fields: keep crops of one field together, where the set says from which each was cut.

    Raises:
        DataError: a groups file that does not fit the set.
        ImageError: an image that cannot be read.
    """
    if file is not None:
        return with_owners(manifest, _from_file(manifest, file), fields=fields)
    if all(record.patient or record.group for record in manifest):
        groups = Groups(tuple(f"image {record.path}" for record in manifest), "")
    else:
        groups = _found(manifest, progress)
    own = [record.group or "" for record in manifest]
    groups = _joined(groups, own, "groups as the set names them")
    return with_owners(manifest, groups, fields=fields)


def with_owners(manifest: Manifest, groups: Groups, *, fields: bool = True) -> Groups:
    """Return the groups, joined where they share a patient or, with `fields`, a field."""
    if fields:
        owners = [f"field {record.field}" if record.field else "" for record in manifest]
        groups = _joined(groups, owners, "crops of one field")
    patients = [patient and f"patient {patient}" for patient in manifest.patients]
    return _joined(groups, patients, "patients as the set names them")


def _joined(groups: Groups, owners: Sequence[str], source: str) -> Groups:
    """Join groups that share an owner, and name each after its owner if it has only one."""
    if not any(owners):
        return groups
    names = list(groups.of_image)
    keys = [
        [f"group {group}", *([f"owner {owner}"] if owner else [])]
        for group, owner in zip(names, owners, strict=True)
    ]
    for unit in connected(keys):
        own = {owners[index] for index in unit} - {""}
        name = own.pop() if len(own) == 1 else names[unit[0]]
        for index in unit:
            names[index] = name
    if groups.source:
        source = f"{source}, and {groups.source}"
    return replace(groups, of_image=tuple(names), source=source)


def _found(manifest: Manifest, progress: Progress | None) -> Groups:
    """Images joined by any relation, directly or through others, named after the first of them."""
    file = cache_file("groups", manifest.fingerprint, ALGORITHM_VERSION)
    kept = _cached(file, len(manifest))
    relations, small = kept or _search(manifest, progress)
    if kept is None:
        rows = [asdict(relation) for relation in relations]
        write_cached(file, {"relations": rows, "small": small})
    # Whole paths: blast/000.tif and healthy/000.tif have one stem and nothing else in common.
    first = group_indices(len(manifest), relations)
    names = tuple(manifest.records[index].path for index in first)
    return Groups(names, "same cells and overlapping crops, found by ALLD", relations, small)


def _search(manifest: Manifest, progress: Progress | None) -> tuple[tuple[Relation, ...], int]:
    """The relations, and the number of images that are too small to be recognised."""
    pictures, n = Pictures(manifest), len(manifest)
    names = [str(manifest.file(index)) for index in range(n)]
    described = describe_all(pictures, progress, names)

    def reached(share: float) -> None:
        if progress:
            progress(n + int(share * n), 2 * n)

    small = sum(is_small(one.patches.shape) for one in described)
    return search(pictures, described, reached).relations, small


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
    names = tuple(given.get(record.path) or f"image {record.path}" for record in manifest)
    source = f"file {file.name}, {len(given)} images in {len(set(given.values()))} groups"
    return Groups(names, source)


def _cached(file: Path, images: int) -> tuple[tuple[Relation, ...], int] | None:
    """The relations and the number of small images in a cache file, None where they do not fit."""
    try:
        kept = read_cached(file)
        relations = tuple(Relation(**row) for row in kept["relations"])
        small = int(kept["small"])
        fits = all(0 <= r.first < r.second < images for r in relations)
    except (TypeError, ValueError, KeyError):  # no such content
        return None
    return (relations, small) if fits else None
