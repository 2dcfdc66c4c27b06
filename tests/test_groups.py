"""The group of every image: found in the pixels, given in a file, or told by the set."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_all_idb2
from PIL import Image

from alld.auditing.examine import examine
from alld.auditing.findings import findings
from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.errors import DataError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return load_manifest(DataConfig(root=draw_all_idb2(tmp_path / "set", per_class=3)))


def test_an_image_that_is_too_small_for_groups_is_named(manifest: Manifest) -> None:
    """By its file, not by a number."""
    file = manifest.file(0)
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(file)
    small = load_manifest(DataConfig(root=manifest.root))
    with pytest.raises(DataError, match=rf"{file.name}: uint8 samples of shape \(8, 8, 3\)"):
        load_groups(small)


def test_equal_names_in_two_folders_are_no_group(tmp_path: Path) -> None:
    """blast/000.tif and healthy/000.tif have nothing in common but their name."""
    source = draw_all_idb2(tmp_path / "set", per_class=2)
    for number, file in enumerate(sorted(source.iterdir())):
        target = tmp_path / "own" / ("blast" if number < 2 else "healthy") / f"{number % 2}.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    groups = load_groups(load_manifest(DataConfig(root=tmp_path / "own")))
    assert len(set(groups.of_image)) == 4


def test_small_images_are_no_false_all_clear(manifest: Manifest) -> None:
    """Groups, also those from the cache, and audit say that only exact copies are found there."""
    for groups in (load_groups(manifest), load_groups(manifest)):
        assert groups.warning is not None
        assert groups.warning.startswith("6 images are smaller than 80 px: only exact copies")
    found = findings(examine(DataConfig(root=manifest.root)))
    said = {finding.code: finding.sentence for finding in found}
    assert "groups" not in said
    assert said["small"].startswith("6 images: smaller than 80 px, where only exact copies")


def test_a_groups_file_wins_and_says_how_much_it_covers(manifest: Manifest, tmp_path: Path) -> None:
    """Listed images share their group, the others stand alone."""
    file = tmp_path / "groups.csv"
    file.write_text("path,group\nIm001_1.tif,a\nIm003_1.tif,a\n")
    groups = load_groups(manifest, file)
    assert groups.of_image[0] == groups.of_image[2]
    assert len(set(groups.of_image)) == 5
    assert groups.source == "file groups.csv, 2 images in 1 groups"


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "has no rows"),
        ("path,group\n", "leave it out"),
        ("foo,bar\n1,2\n", "found foo,bar"),
        ("path,group\nIm001_1.tif,\n", "needs one group"),
        ("path,group\nIm001_1.tif,a\nIm001_1.tif,b\n", "needs one group"),
        ("path,group\nIm999_1.tif,a\n", "Im999_1.tif is no image"),
    ],
)
def test_a_groups_file_that_cannot_be_meant_is_refused(
    manifest: Manifest, tmp_path: Path, content: str, named: str
) -> None:
    """An empty or contradictory file would switch the grouping off in silence."""
    (tmp_path / "groups.csv").write_text(content)
    with pytest.raises(DataError, match=named):
        load_groups(manifest, tmp_path / "groups.csv")
