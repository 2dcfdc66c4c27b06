"""Crops of fields: found there by their pixels, and kept together by splits."""

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from conftest import Answer
from numpy.typing import NDArray
from PIL import Image
from trainings import with_settings

from alld.auditing.examine import Audit, examine
from alld.auditing.findings import findings
from alld.auditing.folder import write_audit
from alld.config.files import load_config
from alld.config.schema import Config, DataConfig
from alld.data.groups.load import load_groups
from alld.data.groups.places import turned
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
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe

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


SIDE = 160  # px of the crops
Crop = NDArray[np.uint8]


def saved_anew(crop: Crop, file: Path) -> None:
    """A little brighter, as a JPEG."""
    brighter = np.clip(crop * 1.05 + 4, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(file, quality=75)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of three fields, turned, and one of each saved anew; the third field is away."""
    home = tmp_path_factory.mktemp("cut")
    recipe = Recipe(n=6, seed=3, sessions=4, confound=1.0)
    files = draw_fields(home / "fields", recipe, shape=(480, 640))
    rng = np.random.default_rng(0)
    rows = []
    for number, file in enumerate((files[0], files[4], files[5])):
        field = np.asarray(Image.open(file))
        folder = home / "crops" / ("blast" if file.stem.endswith("1") else "healthy")
        folder.mkdir(parents=True, exist_ok=True)
        for turn in range(0, 8, 2):
            x, y = int(rng.integers(0, 640 - SIDE)), int(rng.integers(0, 480 - SIDE))
            crop = np.ascontiguousarray(turned(field[y : y + SIDE, x : x + SIDE], turn))
            name = f"{number}-{turn}"
            if turn == 6:
                saved_anew(crop, folder / f"{name}.jpg")
            else:
                Image.fromarray(crop).save(folder / f"{name}.png")
            rows.append(
                (f"{folder.name}/{name}", file.relative_to(home / "fields").as_posix(), x, y)
            )
    for file in (*files[1:4], files[5]):
        file.unlink()
    (home / "fields" / "broken.jpg").write_bytes(b"no picture")
    shutil.copy(files[0], home / "fields" / "z-copy.jpg")
    with open(home / "truth.csv", "w", newline="") as file_of_rows:
        csv.writer(file_of_rows).writerows(rows)
    return home


@pytest.fixture(scope="module")
def placed(cut: Path) -> Audit:
    """The audit of these crops in these fields. Read only."""
    return examine(DataConfig(root=cut / "crops"), fields=cut / "fields")


def truth_of(cut: Path) -> dict[str, tuple[str, int, int]]:
    with open(cut / "truth.csv", newline="") as file:
        return {name: (field, int(x), int(y)) for name, field, x, y in csv.reader(file)}


def test_crops_are_found_in_their_fields(cut: Path, placed: Audit) -> None:
    """Turned ones to the bit, one saved anew nearly; those of an absent field are in none."""
    truth = truth_of(cut)
    assert placed.in_fields is not None
    for record, place in zip(placed.manifest, placed.in_fields.places, strict=True):
        name, _, turn = record.path.rpartition(".")[0].rpartition("-")
        field, x, y = truth[f"{name}-{turn}"]
        if name.endswith("2"):
            assert (place, record.field) == (None, None)
            continue
        assert place is not None
        assert (record.field, place.x, place.y) == (field, x, y)
        assert place.exact is (turn != "6")
        # Quarter turns are undone by the opposite ones, flips by themselves.
        assert place.turn == {"0": 0, "2": 2, "4": 4, "6": 6}[turn]


def test_the_findings_say_what_was_derived(placed: Audit) -> None:
    """How many are in fields, in none, turned and similar, and which fields are odd."""
    said = " ".join(finding.sentence for finding in findings(placed))
    assert "8 of 12 images were found in 2 of 3 fields, 6 of them to the bit" in said
    assert "4 images: in none of the fields" in said
    assert "6 images: not as in their field: turned 180°, flipped, flipped, turned 180°" in said
    assert "2 images: similar to their field, not equal" in said
    assert "z-copy.jpg is the same file as" in said
    assert "broken.jpg" in said


def test_the_table_of_an_audit_can_be_trained_on(cut: Path, placed: Audit, tmp_path: Path) -> None:
    """It has labels, fields and sessions, by which splits keep crops of one field together."""
    write_audit(tmp_path / "audit", placed)
    config = load_config(options={"data.root": tmp_path / "audit" / "images.csv"})
    manifest = load_manifest(config.data)
    assert not manifest.warnings
    assert manifest.labels == placed.manifest.labels
    assert [record.field for record in manifest] == [record.field for record in placed.manifest]
    assert manifest.domains_source == "column session"
    assert len({record.domain for record in manifest if record.field}) == 2
    groups = load_groups(manifest).of_image
    known = {(r.field, group) for r, group in zip(manifest, groups, strict=True) if r.field}
    assert len(known) == len({field for field, _ in known}) == 2


def test_the_command_takes_fields(cut: Path, tmp_path: Path, alld: Callable[..., Answer]) -> None:
    """And a folder without images is an error in one line."""
    (tmp_path / "none").mkdir()
    words = ("audit", cut / "crops", "--out", tmp_path / "audit", "--fields")
    status, _, err = alld(*words, tmp_path / "none")
    assert status == 2
    assert "no image lies in or below that folder" in err
    status, out, err = alld(*words, cut / "fields")
    assert status == 0, err
    assert "8 of 12 images were found" in out
    facts = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert (facts["fields"]["found"], facts["fields"]["equal"]) == (8, 6)
    (tmp_path / "audit" / "images.csv").write_text("path,label\n")
    assert alld("audit", cut / "crops", "--out", tmp_path / "audit")[0] == 2
