"""Splits and folds: sizes, balance, whole groups, one seed one split."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from alld.config.schema import SplitConfig, SplitKind
from alld.data.dealing import connected, deal
from alld.data.manifest import BLAST, HEALTHY, ImageRecord, Manifest
from alld.data.splits import Split, make_folds, make_split, split_text
from alld.errors import DataError


def all_idb2(*, original: bool = True, per_class: int = 130) -> Manifest:
    """A manifest with ALL-IDB2's names and no files behind it."""
    records = [
        ImageRecord(f"Im{n:03d}_{int(n <= per_class)}.tif", int(n <= per_class), f"{n:064x}")
        for n in range(1, 2 * per_class + 1)
    ]
    return Manifest(Path("nowhere"), "ALL-IDB2", tuple(records), synthetic=False, original=original)


MANIFEST = all_idb2()
# Groups of 2 to 5 neighbours among single images.
GROUPS = [f"single {i}" for i in range(260)]
for start, size in ((3, 2), (40, 5), (77, 3), (129, 2), (180, 4), (200, 3), (255, 2)):
    GROUPS[start : start + size] = [f"group {start}"] * size


def split_of(kind: SplitKind, seed: int, groups: list[str] = GROUPS) -> Split:
    return make_split(MANIFEST, groups, "planted", SplitConfig(kind=kind), seed)


def sizes(split: Split) -> dict[str, tuple[int, int]]:
    """Part to (blasts, healthy)."""
    seen = Counter(zip(split.parts, MANIFEST.labels, strict=True))
    return {p: (seen[p, BLAST], seen[p, HEALTHY]) for p in ("test", "valid", "train")}


@pytest.mark.parametrize("seed", range(5))
def test_the_sizes_are_52_42_166_and_balanced(seed: int) -> None:
    """20 % test, 16 % validation, 64 % training, half of each class, groups or not."""
    for kind in ("random", "grouped"):
        found = sizes(split_of(kind, seed))
        assert found == {"test": (26, 26), "valid": (21, 21), "train": (83, 83)}


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_test_set_has_23_blasts_and_29_healthy(seed: int) -> None:
    """Table 2 decodes to this one unstratified test set of 52."""
    found = sizes(split_of("paper", seed))
    assert found["test"] == (23, 29)
    assert (sum(found["valid"]), sum(found["train"])) == (42, 166)


@pytest.mark.parametrize("seed", range(10))
def test_no_group_leaks(seed: int) -> None:
    """Grouped and blocks splits keep every group on one side."""
    assert split_of("grouped", seed).leaking_groups == 0
    assert split_of("blocks", seed).leaking_groups == 0


def test_a_random_split_lets_groups_leak_and_says_how_many() -> None:
    """leaking_groups counts the groups with images in more than one part."""
    groups = ["pair"] * 2 + [f"single {i}" for i in range(258)]
    splits = [split_of("random", seed, groups) for seed in range(30)]
    leaking = [split.leaking_groups for split in splits]
    assert leaking == [int(split.parts[0] != split.parts[1]) for split in splits]
    assert sum(leaking) > 0


@pytest.mark.parametrize("seed", range(5))
def test_blocks_keep_ten_neighbouring_numbers_together(seed: int) -> None:
    """001 to 010 are in one part, and 131 to 140 too."""
    split = split_of("blocks", seed, [f"single {i}" for i in range(260)])
    for start in range(0, 260, 10):
        assert len(set(split.parts[start : start + 10])) == 1


def test_equal_seeds_give_equal_splits_and_other_seeds_others() -> None:
    """A split is a function of the set, the groups, the settings and the seed."""
    first, again, other = (split_of("grouped", seed).parts for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_large_groups_come_into_the_test_set_as_often_as_chance_has_it() -> None:
    """A group of five is tested in about a fifth of the seeds, not never."""
    groups = ["five"] * 5 + [f"single {i}" for i in range(255)]
    hits = sum(split_of("grouped", seed, groups).parts[0] == "test" for seed in range(200))
    assert 20 <= hits <= 62  # binomial(200, 0.2): outside of it with probability below 1e-3


@pytest.mark.parametrize(
    "manifest",
    [all_idb2(original=False), all_idb2(per_class=20)],
    ids=["changed copy", "other size"],
)
def test_the_papers_split_needs_the_original_set(manifest: Manifest) -> None:
    """--split paper on anything but the original 260 images is refused."""
    with pytest.raises(DataError, match="original 260 images"):
        make_split(manifest, GROUPS[: len(manifest)], "", SplitConfig(kind="paper"), 0)


def of_patients(blast: list[int], healthy: list[int]) -> tuple[Manifest, list[str]]:
    """A manifest of as many images of each patient as given, and the patients as groups."""
    records = [
        ImageRecord(f"{label}-{number}-{i}.png", label, f"{label}{number}{i}", None, name)
        for label, sizes in ((BLAST, blast), (HEALTHY, healthy))
        for number, size in enumerate(sizes)
        for name in [f"patient {label}-{number}"]
        for i in range(size)
    ]
    manifest = Manifest(Path("nowhere"), "folders", tuple(records), synthetic=False)
    return manifest, [record.patient or "" for record in records]


def classes_in(manifest: Manifest, parts: Sequence[object]) -> list[int]:
    """How many classes each part has."""
    pairs = set(zip(parts, manifest.labels, strict=True))
    return list(Counter(part for part, _ in pairs).values())


@pytest.mark.parametrize(
    ("blast", "healthy"),
    [([6, 6, 6], [6, 6, 6]), ([90, 5, 5], [1, 1, 40, 1]), ([30, 2, 9, 9, 4], [50, 1, 1])],
    ids=["equal sizes", "one large", "unequal"],
)
def test_three_patients_a_class_are_enough_for_a_split(
    blast: list[int], healthy: list[int]
) -> None:
    """Each part gets a patient of each class, for every seed; no patient is in two parts."""
    manifest, groups = of_patients(blast, healthy)
    for seed in range(20):
        split = make_split(manifest, groups, "planted", SplitConfig(), seed)
        assert classes_in(manifest, split.parts) == [2, 2, 2]
        assert split.leaking_groups == 0


@pytest.mark.parametrize(
    ("blast", "healthy", "folds"),
    [
        ([4] * 4, [4] * 4, 4),
        ([40, 3, 3, 3, 9, 9, 1, 1], [30, 2, 2, 5, 5, 8, 1], 5),
        ([4] * 4, [20, 1, 1, 1], 2),
        ([4] * 3, [4] * 3, 3),
    ],
)
def test_every_fold_trains_validates_and_tests_both_classes(
    blast: list[int], healthy: list[int], folds: int
) -> None:
    """With few patients of any sizes no fold lacks a class, for every seed."""
    manifest, groups = of_patients(blast, healthy)
    for seed in range(20):
        tested: list[int] = []
        for fold in range(1, folds + 1):
            config = SplitConfig(folds=folds, fold=fold)
            split = make_split(manifest, groups, "planted", config, seed)
            assert classes_in(manifest, split.parts) == [2, 2, 2]
            tested += split.indices("test")
        assert sorted(tested) == list(range(len(manifest)))


@pytest.mark.parametrize("seed", range(10))
def test_patients_with_both_classes_fill_parts_too(seed: int) -> None:
    """Three patients, two of them with cells of both classes, make three parts."""
    manifest, groups = of_patients([8, 2, 5], [8, 2, 5])
    both = [name.replace("1-2", "0-2").replace("1-1", "0-1") for name in groups]
    split = make_split(manifest, both, "planted", SplitConfig(), seed)
    assert classes_in(manifest, split.parts) == [2, 2, 2]


def test_too_few_patients_are_refused_with_what_is_possible() -> None:
    """Every message names the scarce class, how many patients it has and what would do."""
    four, groups = of_patients([4] * 4, [4] * 5)
    with pytest.raises(DataError, match=r"5 folds: the blast .* 4 patients; .* 2 to 4 folds"):
        make_folds(four, groups, SplitConfig(), 5, 0)
    three, groups = of_patients([4] * 4, [4] * 3)
    with pytest.raises(DataError, match="healthy images come from 3 patients; choose 3 folds"):
        make_folds(three, groups, SplitConfig(), 2, 0)
    two, groups = of_patients([4] * 4, [4] * 2)
    with pytest.raises(DataError, match=r"2 patients; .* need 3; add .* or use --split random"):
        make_split(two, groups, "planted", SplitConfig(), 0)
    with pytest.raises(DataError, match=r"2 healthy images; .* need 3; add images$"):
        make_split(all_idb2(per_class=2), list("abcd"), "", SplitConfig(kind="random"), 0)


@pytest.mark.parametrize("kind", ["random", "grouped", "blocks"])
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_folds_test_every_image_once_and_are_balanced(kind: SplitKind, folds: int) -> None:
    """k folds: each class is spread evenly, and groups are whole where they should be."""
    fold_of = make_folds(MANIFEST, GROUPS, SplitConfig(kind=kind), folds, seed=1)
    assert sorted(set(fold_of)) == list(range(folds))
    slack = 10 if kind == "blocks" else 0
    for label in (BLAST, HEALTHY):
        counts = np.bincount(fold_of[np.array(MANIFEST.labels) == label], minlength=folds)
        assert counts.max() - counts.min() <= slack + (130 % folds > 0)
    if kind != "random":
        assert len(set(zip(GROUPS, fold_of, strict=True))) == len(set(GROUPS))


def test_single_images_fill_the_capacities_exactly() -> None:
    """With units of one image each part gets just what it should hold."""
    labels = np.array([0] * 30 + [1] * 30)
    capacities = np.array([[7, 3], [13, 20], [10, 7]])
    dealt = deal([[i] for i in range(60)], labels, capacities, np.random.default_rng(0))
    for part in range(3):
        assert np.bincount(labels[dealt == part], minlength=2).tolist() == capacities[part].tolist()


def test_images_are_connected_through_others() -> None:
    """Images that share keys form a chain; each unit stands where its first image does."""
    assert connected([["b"], ["a"], [], ["a", "c"], ["c"]]) == [[0], [1, 3, 4], [2]]
    assert connected([]) == []


def test_the_split_file_has_a_row_an_image() -> None:
    """path,label,group,part in the manifest's order."""
    split = split_of("grouped", 0)
    lines = split_text(MANIFEST, split).splitlines()
    assert lines[0] == "path,label,group,part"
    assert lines[1] == f"Im001_1.tif,blast,single 0,{split.parts[0]}"
    assert len(lines) == 261
