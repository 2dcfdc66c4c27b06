"""The drawn look-alike set: known truth, the real set's traps, never mistaken for real."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.groups.places import overlap
from alld.data.manifest import BLAST, HEALTHY
from alld.data.sources.find import load_manifest
from alld.errors import ConfigError, DataError
from alld.images.decode import is_synthetic
from alld.stats.ranking import roc_auc
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Layout, Recipe, plan


def pixels(file: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file))


def truth(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images with two identical ones, repeats, overlaps and border crops."""
    folder = tmp_path_factory.mktemp("synth") / "set"
    draw_set(folder, Recipe(n=60, seed=3))
    return folder


def test_the_plan_has_all_idb2s_shape() -> None:
    """260 crops, 130 a class, ten of them cut at the border, one identical pair."""
    shots = plan(Recipe())
    assert [shot.label for shot in shots] == [BLAST] * 130 + [HEALTHY] * 130
    assert sum(shot.window[2:] != (257, 257) for shot in shots) == 10
    assert Counter(shot.relation for shot in shots)["identical"] == 2
    assert sum(shot.relation == "same cell" for shot in shots) >= 10
    assert 20 <= sum(shot.relation == "overlap" for shot in shots) <= 90
    assert {cell.kind for shot in shots for cell, _, _ in shot.cells} == {
        "blast", "lymphocyte", "neutrophil", "eosinophil", "monocyte", "platelet clump",
    }  # fmt: skip


def test_planted_relations_are_found_and_no_other(drawn: Path) -> None:
    """Precision and recall 1 over pairs of images in one group."""
    rows = truth(drawn)
    manifest = load_manifest(DataConfig(root=drawn))
    groups = load_groups(manifest)
    found = groups.of_image
    assert [record.path for record in manifest] == [row["path"] for row in rows]
    pairs = [(i, j) for j in range(len(rows)) for i in range(j)]
    planted = {
        (i, j) for i, j in pairs if rows[i]["group"] and rows[i]["group"] == rows[j]["group"]
    }
    assert {(i, j) for i, j in pairs if found[i] == found[j]} == planted
    assert len(planted) >= 6
    kinds = {(r.first, r.second): r.kind for r in groups.relations}
    for i, j in planted:
        if {rows[i]["relation"], rows[j]["relation"]} <= {"same cell", "identical"}:
            assert kinds[i, j] == "same cell"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 5])
def test_planted_groups_are_found_exactly_in_whole_sets(tmp_path: Path, seed: int) -> None:
    """Whole sets of 260; at seed 5 two strangers' red cells once passed for one field."""
    draw_set(tmp_path / "set", Recipe(seed=seed))
    rows = truth(tmp_path / "set")
    found = load_groups(load_manifest(DataConfig(root=tmp_path / "set"))).of_image
    planted = [row["group"] or row["path"] for row in rows]
    pairs = [(i, j) for j in range(len(rows)) for i in range(j)]
    assert {p for p in pairs if found[p[0]] == found[p[1]]} == {
        p for p in pairs if planted[p[0]] == planted[p[1]]
    }


def test_one_pair_is_identical_to_the_pixel(drawn: Path) -> None:
    """As in the real set, one cell is there twice, bit for bit."""
    first, second = (row["path"] for row in truth(drawn) if row["relation"] == "identical")
    assert np.array_equal(pixels(drawn / first), pixels(drawn / second))


def test_overlapping_crops_share_pixels_of_their_field(drawn: Path) -> None:
    """At the windows' offset the shared rectangle is equal bit for bit."""
    rows = [row for row in truth(drawn) if row["relation"] == "overlap"]
    first, second = rows[:2]
    assert first["group"] == second["group"]
    dy, dx = (int(second[side]) - int(first[side]) for side in ("top", "left"))
    a, b = overlap(pixels(drawn / first["path"]), pixels(drawn / second["path"]), dy, dx)
    assert a.size > 0
    assert np.array_equal(a, b)


def test_equal_seeds_draw_equal_files(drawn: Path, tmp_path: Path) -> None:
    """The set is a function of its recipe; another seed draws another one."""
    draw_set(tmp_path / "again", Recipe(n=60, seed=3))
    for file in sorted(drawn.iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    assert plan(Recipe(seed=1)) != plan(Recipe(seed=2))


@pytest.mark.parametrize("layout", ["all-idb2", "folders", "c-nmc"])
def test_every_file_of_every_layout_says_synthetic(tmp_path: Path, layout: Layout) -> None:
    """Each image carries the mark, and each layout is read back as a synthetic set."""
    files = draw_set(tmp_path / "set", Recipe(n=20, layout=layout))
    assert all(is_synthetic(file.read_bytes()) for file in files)
    manifest = load_manifest(DataConfig(root=tmp_path / "set"))
    assert manifest.synthetic
    assert all(manifest.decode(index).pixels.any() for index in range(20))
    blasts = 13 if layout == "c-nmc" else 10
    assert sorted(manifest.labels) == [HEALTHY] * (20 - blasts) + [BLAST] * blasts


def background(shots_seed: int, confound: float) -> float:
    """ROC AUC of the drawn background's warmth for the healthy class."""
    shots = plan(Recipe(seed=shots_seed, confound=confound))
    warmth = np.array([s.slide.background[0] - s.slide.background[2] for s in shots])
    ranks = warmth.argsort().argsort() / len(warmth)
    return roc_auc([1 - s.label for s in shots], ranks)


def test_the_background_betrays_the_class_as_far_as_wanted() -> None:
    """confound 0: like chance over five seeds; confound 1: nearly always."""
    assert abs(np.mean([background(seed, 0) for seed in range(5)]) - 0.5) < 0.04
    assert background(0, 1) > 0.95
    assert background(0, 0) < background(0, 0.5) < background(0, 1)


def test_difficulty_brings_the_classes_together() -> None:
    """The radius separates blasts from lymphocytes at 0 and much less at 1."""

    def separation(difficulty: float) -> float:
        shots = plan(Recipe(n=1000, difficulty=difficulty))
        cells = [(s.label, s.cells[s.central][0]) for s in shots]
        chosen = [
            (label, cell.radius) for label, cell in cells if cell.kind in ("blast", "lymphocyte")
        ]
        labels, radii = zip(*chosen, strict=True)
        return roc_auc(labels, np.array(radii) / 100)

    assert separation(0) > 0.97
    assert separation(1) < separation(0.5) < separation(0)
    assert separation(1) < 0.9


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(confound=1.5), "--confound 1.5"),
        (Recipe(difficulty=-0.1), "--difficulty -0.1"),
        (Recipe(n=7), "--n 7"),
    ],
)
def test_a_recipe_out_of_range_is_refused(tmp_path: Path, recipe: Recipe, named: str) -> None:
    """The option, the value and the range are named; nothing is written."""
    with pytest.raises(ConfigError, match=named):
        draw_set(tmp_path / "set", recipe)
    assert not (tmp_path / "set").exists()


def test_a_folder_with_files_is_never_drawn_into(tmp_path: Path) -> None:
    """Drawn images never mix with others."""
    (tmp_path / "own.tif").touch()
    with pytest.raises(DataError, match="not an empty folder"):
        draw_set(tmp_path, Recipe(n=20))
