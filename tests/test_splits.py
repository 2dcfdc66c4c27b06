"""Splits and folds: sizes, balance, whole groups, one seed one split."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from alld.config.schema import SplitConfig
from alld.data.manifest import BLAST, HEALTHY, ImageRecord, Manifest
from alld.data.splits import deal, make_folds, make_split, split_text
from alld.errors import DataError


def all_idb2(*, original: bool = True, per_class: int = 130) -> Manifest:
    """A manifest with ALL-IDB2's names and no files behind it."""
    records = [
        ImageRecord(f"Im{n:03d}_{int(n <= per_class)}.tif", int(n <= per_class), f"{n:064x}")
        for n in range(1, 2 * per_class + 1)
    ]
    return Manifest(Path("nowhere"), "ALL-IDB2", tuple(records), synthetic=False, original=original)


def planted_groups(n: int = 260) -> list[str]:
    """Groups of 2 to 5 neighbours among single images."""
    names = [f"single {i}" for i in range(n)]
    for start, size in ((3, 2), (40, 5), (77, 3), (129, 2), (180, 4), (200, 3), (255, 2)):
        names[start : start + size] = [f"group {start}"] * size
    return names


def counts(split_parts: tuple[str, ...], labels: list[int]) -> dict[str, tuple[int, int]]:
    """Part to (blasts, healthy)."""
    seen = Counter(zip(split_parts, labels, strict=True))
    return {p: (seen[p, BLAST], seen[p, HEALTHY]) for p in ("test", "valid", "train")}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["random", "grouped"])
def test_the_sizes_are_52_42_166_and_balanced(kind: str, seed: int) -> None:
    """20 % test, 16 % validation, 64 % training, half of each class, groups or not."""
    manifest = all_idb2()
    config = SplitConfig(kind=kind)
    split = make_split(manifest, planted_groups(), "planted", config, seed)
    assert counts(split.parts, manifest.labels) == {
        "test": (26, 26),
        "valid": (21, 21),
        "train": (83, 83),
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_test_set_has_23_blasts_and_29_healthy(seed: int) -> None:
    """Table 2 decodes to this one unstratified test set of 52."""
    manifest = all_idb2()
    split = make_split(manifest, planted_groups(), "planted", SplitConfig(kind="paper"), seed)
    found = counts(split.parts, manifest.labels)
    assert found["test"] == (23, 29)
    assert sum(found["valid"]) == 42
    assert sum(found["train"]) == 166


@pytest.mark.parametrize("kind", ["grouped", "blocks"])
@pytest.mark.parametrize("seed", range(10))
def test_no_group_leaks(kind: str, seed: int) -> None:
    """Grouped and blocks splits keep every group on one side."""
    split = make_split(all_idb2(), planted_groups(), "planted", SplitConfig(kind=kind), seed)
    assert split.leaking_groups == 0


def test_a_random_split_lets_groups_leak_and_says_how_many() -> None:
    """leaking_groups counts the groups with images in more than one part."""
    names = ["pair"] * 2 + [f"single {i}" for i in range(258)]
    manifest = all_idb2()
    leaking = 0
    for seed in range(30):
        split = make_split(manifest, names, "planted", SplitConfig(kind="random"), seed)
        assert split.leaking_groups == int(split.parts[0] != split.parts[1])
        leaking += split.leaking_groups
    assert leaking > 0


@pytest.mark.parametrize("seed", range(5))
def test_blocks_keep_ten_neighbouring_numbers_together(seed: int) -> None:
    """001 to 010 are in one part, and 131 to 140 too."""
    names = [f"single {i}" for i in range(260)]
    split = make_split(all_idb2(), names, "planted", SplitConfig(kind="blocks"), seed)
    for start in range(0, 260, 10):
        assert len(set(split.parts[start : start + 10])) == 1


def test_equal_seeds_give_equal_splits_and_other_seeds_others() -> None:
    """A split is a function of the set, the groups, the settings and the seed."""
    manifest, names, config = all_idb2(), planted_groups(), SplitConfig()
    first, again, other = (
        make_split(manifest, names, "planted", config, seed).parts for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_large_groups_come_into_the_test_set_as_often_as_chance_has_it() -> None:
    """A group of five is tested in about a fifth of the seeds, not never."""
    names = ["five"] * 5 + [f"single {i}" for i in range(255)]
    manifest = all_idb2()
    hits = sum(
        make_split(manifest, names, "planted", SplitConfig(), seed).parts[0] == "test"
        for seed in range(200)
    )
    assert 20 <= hits <= 62  # binomial(200, 0.2): outside of it with probability below 1e-3


@pytest.mark.parametrize(
    "manifest",
    [all_idb2(original=False), all_idb2(per_class=20)],
    ids=["changed copy", "other size"],
)
def test_the_papers_split_needs_the_original_set(manifest: Manifest) -> None:
    """--split paper on anything but the original 260 images is refused."""
    names = [r.path for r in manifest]
    with pytest.raises(DataError, match="original 260 images"):
        make_split(manifest, names, "planted", SplitConfig(kind="paper"), 0)


def test_a_part_without_a_class_is_refused() -> None:
    """Four images cannot fill three parts with two classes."""
    manifest = all_idb2(per_class=2)
    with pytest.raises(DataError, match=r"no (blast|healthy) image is left"):
        make_split(manifest, list("abcd"), "planted", SplitConfig(), 0)


@pytest.mark.parametrize("kind", ["random", "grouped", "blocks"])
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_folds_test_every_image_once_and_are_balanced(kind: str, folds: int) -> None:
    """k folds: each class is spread evenly, and groups are whole where they should be."""
    manifest, names = all_idb2(), planted_groups()
    fold_of = make_folds(manifest, names, SplitConfig(kind=kind), folds, seed=1)
    assert sorted(set(fold_of)) == list(range(folds))
    slack = 10 if kind == "blocks" else 0
    for label in (BLAST, HEALTHY):
        sizes = np.bincount(fold_of[np.array(manifest.labels) == label], minlength=folds)
        assert sizes.max() - sizes.min() <= slack + (130 % folds > 0)
    if kind != "random":
        for name in set(names):
            assert len({fold_of[i] for i, own in enumerate(names) if own == name}) == 1


def test_more_folds_than_images_of_a_class_are_refused() -> None:
    """A fold without a blast has no sensitivity."""
    with pytest.raises(DataError, match="choose 2 to 3"):
        make_folds(all_idb2(per_class=3), list("abcdef"), SplitConfig(kind="random"), 4, 0)


def test_single_images_fill_the_capacities_exactly() -> None:
    """With units of one image each part gets just what it should hold."""
    labels = np.array([0] * 30 + [1] * 30)
    capacities = np.array([[7, 3], [13, 20], [10, 7]])
    units = [[i] for i in range(60)]
    dealt = deal(units, labels, capacities, np.random.default_rng(0))
    for part in range(3):
        assert np.bincount(labels[dealt == part], minlength=2).tolist() == capacities[part].tolist()


def test_the_split_file_has_a_row_an_image() -> None:
    """path,label,group,part in the manifest's order."""
    manifest = all_idb2()
    split = make_split(manifest, planted_groups(), "planted", SplitConfig(), 0)
    lines = split_text(manifest, split).splitlines()
    assert lines[0] == "path,label,group,part"
    assert lines[1] == f"Im001_1.tif,blast,single 0,{split.parts[0]}"
    assert len(lines) == 261
