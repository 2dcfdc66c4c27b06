"""Crops of one field: kept together by splits, and by cross-validations as they began."""

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
from trainings import with_settings

from alld.config.files import load_config
from alld.config.schema import Config, SplitConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import ImageRecord, Manifest
from alld.data.sources.find import load_manifest
from alld.data.sources.known_crops import known_crops
from alld.data.splits import make_split, split_text
from alld.errors import RunError
from alld.evaluation.crossval.folds import Plan, read_plan
from alld.evaluation.crossval.train import resume_crossval
from alld.paper.grid import check_experiments, config_of, plan_experiments
from alld.runs.create import create_run, resolve_config
from alld.runs.machine import differences

MIXED = r"split\.fields: False then, True now"


def in_fields(drawn_set: Path, folder: Path, crops: int = 2) -> Path:
    """The drawn set as a table, so many crops in each field."""
    shutil.copytree(drawn_set, folder / "images")
    files = sorted((folder / "images").glob("*.tif"))
    rows = [
        f"images/{image.name},{image.stem[-1]},{number // crops}"
        for number, image in enumerate(files)
    ]
    table = folder / "set.csv"
    table.write_text("\n".join(["path,label,field", *rows, ""]), encoding="utf-8")
    return table


def test_crops_of_one_field_are_on_one_side_of_a_split(drawn_set: Path, tmp_path: Path) -> None:
    """Where a column names the fields; not with split.fields=false."""
    manifest = load_manifest(
        load_config(options={"data.root": in_fields(drawn_set, tmp_path)}).data
    )
    assert not manifest.warnings
    split = load_config().split
    for fields in (True, False):
        groups = load_groups(manifest, fields=fields)
        dealt = make_split(manifest, groups.of_image, groups.source, split, seed=0)
        sides = {(record.field, part) for record, part in zip(manifest, dealt.parts, strict=True)}
        assert (len(sides) == len({record.field for record in manifest})) is fields
        assert ("crops of one field" in groups.source) is fields


def test_blocks_are_not_joined_by_fields() -> None:
    """Fields lie in many blocks: all blocks of a class would be one group, and no fold possible."""
    records = tuple(
        ImageRecord(crop.name, int(crop.name[-5]), crop.sha256, group=crop.name, field=crop.field)
        for crop in known_crops()
    )
    manifest = Manifest(Path("set"), "ALL-IDB2", records, synthetic=False)
    split = SplitConfig(kind="blocks", folds=5, fold=1)
    groups = load_groups(manifest, fields=split.joins_fields)
    dealt = make_split(manifest, groups.of_image, groups.source, split, seed=0)
    assert len(dealt.indices("test")) == 60  # six blocks of ten
    assert SplitConfig().joins_fields
    assert not SplitConfig(fields=False).joins_fields


def test_the_fields_of_all_idb2_are_known() -> None:
    """By the hash of each crop: 102 fields, of which some show one cell."""
    records = tuple(
        ImageRecord(crop.name, int(crop.name[-5]), crop.sha256, group=crop.name, field=crop.field)
        for crop in known_crops()
    )
    groups = load_groups(Manifest(Path("set"), "ALL-IDB2", records, synthetic=False))
    assert len(set(groups.of_image)) == 102
    assert groups.of_image[0] == "field Im001_1"


def begin_folds(folder: Path, config: Config) -> Plan:
    """A cross-validation as it is on disk after the first second of both its folds."""
    manifest = load_manifest(config.data)
    config = resolve_config(config, manifest)
    plan = Plan(folder, "", 2, 1, manifest.fingerprint, config)
    groups = load_groups(manifest, fields=config.split.fields)
    for fold in plan.all_folds():
        own = plan.config_of(fold.repeat, fold.fold)
        split = make_split(manifest, groups.of_image, groups.source, own.split, own.split_seed)
        create_run(fold.folder, own, manifest, split_text(manifest, split), {})
    plan.write()
    return plan


def test_a_cross_validation_goes_on_with_the_groups_it_began_with(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was begun when fields were unknown keeps its folds, which new ones would overlap."""
    monkeypatch.setattr("alld.evaluation.crossval.train._complete", lambda plan, *_, **__: plan)
    config = with_settings(in_fields(drawn_set, tmp_path), split__fields=False)
    plan = begin_folds(tmp_path / "cv", config)
    file = plan.folder / "crossval.json"
    facts = json.loads(file.read_text())
    del facts["config"]["split"]["fields"]
    file.write_text(json.dumps(facts))
    resume_crossval(plan.folder, allow_inexact=True)
    assert read_plan(plan.folder).config.split.fields is False

    facts["config"]["split"]["fields"] = True
    file.write_text(json.dumps(facts))
    with pytest.raises(RunError, match="another split"):
        resume_crossval(plan.folder, allow_inexact=True)


def test_a_table_does_not_mix_folds_with_and_without_fields(
    drawn_set: Path, tmp_path: Path
) -> None:
    """It says with which setting it goes on."""
    table = in_fields(drawn_set, tmp_path)
    config = with_settings(table, split__fields=False)
    experiment = plan_experiments(tmp_path, [config.model.arch], seeds=1)[-1]
    begin_folds(experiment.folder, config_of(experiment, config))
    for fields, refused in ((False, nullcontext()), (True, pytest.raises(RunError, match=MIXED))):
        with refused:
            check_experiments([experiment], with_settings(table, split__fields=fields), here=False)


def test_a_run_goes_on_that_began_before_fields_were_known() -> None:
    """Its checkpoint lacks the setting; what it decides is in the split and its hash."""
    now = load_config().model_dump(mode="json")
    then = {**now, "split": {k: v for k, v in now["split"].items() if k != "fields"}}
    assert differences({"config": then}, {"config": now}) == []
