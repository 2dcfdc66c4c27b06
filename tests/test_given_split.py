"""A set's own split: read from folders or a column, kept to by --split given, never ignored."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, Answer
from drawn import draw_cell, save_tiff

from alld.config.schema import DataConfig, SplitConfig
from alld.data.manifest import Manifest
from alld.data.sources.class_folders import load_classes
from alld.data.sources.find import load_manifest
from alld.data.splits import Split, make_split, unused_split
from alld.errors import DataError

SIZES = {"train": 12, "valid": 6, "test": 6}  # images of each class


def draw_divided(folder: Path, names: dict[str, str]) -> Path:
    """Images below `names[part]/blast` and `/healthy`, of a patient for each three of them."""
    rng = np.random.default_rng(0)
    for part, name in names.items():
        for label in ("healthy", "blast"):
            for number in range(SIZES[part]):
                home = folder / name / label / f"patient {part} {label} {number // 3}"
                save_tiff(home / f"{number}.tif", draw_cell(rng, blast=label == "blast"))
    return folder


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in train/, val/ and test/, with a folder for each class and patient. Read only."""
    names = {"train": "train", "valid": "val", "test": "test"}
    return draw_divided(tmp_path_factory.mktemp("divided"), names)


def given(manifest: Manifest, **settings: float) -> Split:
    config = SplitConfig(kind="given", **settings)
    return make_split(manifest, manifest.patients, "", config, seed=0)


def sizes(split: Split) -> dict[str, int]:
    return {part: len(split.indices(part)) for part in ("train", "valid", "test")}


@pytest.mark.parametrize(
    "names",
    [
        {"train": "training", "valid": "validation", "test": "testing"},
        {"train": "Train", "valid": "valid", "test": "test_set"},
        {"train": "training_data", "valid": "validation_data", "test": "testing_data"},
    ],
)
def test_folders_name_the_parts(tmp_path: Path, names: dict[str, str]) -> None:
    """The usual spellings of train, val and test are read, and the split keeps to them."""
    manifest = load_manifest(DataConfig(root=draw_divided(tmp_path, names)))
    split = given(manifest)
    assert sizes(split) == {"train": 24, "valid": 12, "test": 12}
    for record, part in zip(manifest, split.parts, strict=True):
        assert record.path.split("/")[0] == names[part]


def test_the_class_folder_may_hold_the_parts(tmp_path: Path) -> None:
    """blast/train/1.tif is read as train/blast/1.tif is."""
    rng = np.random.default_rng(0)
    for label in ("blast", "healthy"):
        for part in ("train", "val", "test"):
            save_tiff(tmp_path / label / part / "1.tif", draw_cell(rng, blast=label == "blast"))
    manifest = load_manifest(DataConfig(root=tmp_path))
    assert sizes(given(manifest)) == {"train": 2, "valid": 2, "test": 2}


def test_a_column_of_a_table_names_the_parts(divided: Path, tmp_path: Path) -> None:
    """The column has precedence over folders, and is not called meaningless."""
    images = sorted(divided.rglob("*.tif"))
    parts = ["test", "train", "Validation"] * (len(images) // 3)
    rows = [
        f"{path},{'blast' if '/blast/' in str(path) else 'healthy'},{part}"
        for path, part in zip(images, parts, strict=True)
    ]
    table = tmp_path / "set.csv"
    table.write_text("\n".join(["path,label,split", *rows]))
    manifest = load_manifest(DataConfig(root=table))
    assert manifest.warnings == ()
    assert list(given(manifest).parts) == [
        {"Validation": "valid"}.get(part, part) for part in parts
    ]


def test_a_column_of_other_values_stays_unused(divided: Path, tmp_path: Path) -> None:
    """A column split with numbers of folds is no split; the warning shows the first value."""
    first = next(divided.rglob("train/blast/*/*.tif"))
    other = next(divided.rglob("test/healthy/*/*.tif"))
    table = tmp_path / "set.csv"
    table.write_text(f"path,label,split\n{first},blast,fold 1\n{other},healthy,test\n")
    manifest = load_manifest(DataConfig(root=table))
    reason = "'fold 1' is not train, valid or test"
    assert manifest.warnings == (f"{table}: ignored column: split ({reason})",)


def test_validation_is_drawn_from_training_where_the_set_has_none(divided: Path) -> None:
    """train/ and test/ alone: whole patients of train/ validate, and test/ stays as it is."""
    whole = load_manifest(DataConfig(root=divided))
    kept = tuple(record for record in whole if record.part != "valid")
    split = given(replace(whole, records=kept))
    assert sizes(split) == {"train": 18, "valid": 6, "test": 12}
    assert split.leaking_groups == 0
    for record, part in zip(kept, split.parts, strict=True):
        assert (record.part == "test") == (part == "test")


def test_the_groups_that_leak_through_it_are_named(divided: Path) -> None:
    """A patient in train/ and in test/ is named, and no other."""
    whole = load_manifest(DataConfig(root=divided))
    records = [
        replace(record, patient="patient P") if record.path.endswith("/0.tif") else record
        for record in whole
    ]
    assert given(replace(whole, records=tuple(records))).leaking == ["patient P"]


def test_a_set_without_a_split_of_its_own_cannot_give_one(divided: Path) -> None:
    """What is missing is named: the part of an image, or a class in a part."""
    whole = load_manifest(DataConfig(root=divided))
    lost = replace(whole.records[0], part=None)
    with pytest.raises(DataError, match=rf"1 of 48 images are in no part, such as {lost.path}"):
        given(replace(whole, records=(lost, *whole.records[1:])))
    untested = tuple(record for record in whole if record.part != "test")
    with pytest.raises(DataError, match=r"\(24 train, 12 valid\) leaves no healthy image for test"):
        given(replace(whole, records=untested))


def test_a_split_that_is_not_used_is_said_in_one_line(divided: Path) -> None:
    """The default split names the set's own and how to keep to it; --split given says nothing."""
    manifest = load_manifest(DataConfig(root=divided))
    said = unused_split(manifest, SplitConfig())
    assert said is not None
    assert "a split of its own (24 train, 12 valid, 12 test)" in said
    assert "--split given" in said
    assert unused_split(manifest, SplitConfig(kind="given")) is None
    without = tuple(replace(record, part=None) for record in manifest)
    assert unused_split(replace(manifest, records=without), SplitConfig()) is None


def test_pretraining_does_not_take_parts_for_classes(divided: Path) -> None:
    """Below train/, val/ and test/ the next folders are the classes."""
    assert load_classes(divided)[1] == ("blast", "healthy")


def test_the_report_says_whose_split_it_is(
    alld: Callable[..., Answer], divided: Path, tmp_path: Path
) -> None:
    """A run with --split given trains on train/, tests on test/, and its limits name the split."""
    run = tmp_path / "run"
    options = [f"--set={key}={value}" for key, value in {**SMALL, "train.epochs": 0}.items()]
    status, _, err = alld("train", "--data", divided, "--split=given", "--out", run, *options)
    assert status == 0
    assert "given split: 24 train, 12 valid, 12 test" in err
    assert "split of its own" not in err
    status, out, _ = alld("evaluate", run)
    assert status == 0
    assert "The split is the set's own" in out
    facts = json.loads((run / "evaluation" / "metrics.json").read_text())["data"]
    assert (facts["split"], facts["parts"]["test"], facts["leaking"]) == ("given", 12, [])
