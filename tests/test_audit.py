"""What an audit finds in sets whose faults are known, and what it leaves behind."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_all_idb2, draw_cell, save_tiff
from numpy.typing import NDArray
from PIL import Image

from alld.auditing import contact_sheet
from alld.auditing.background import (
    FEATURES,
    background_features,
    background_mask,
    predictive_power,
)
from alld.auditing.examine import Audit, examine
from alld.auditing.finding import Finding
from alld.auditing.findings import findings
from alld.auditing.folder import check_place, groups_table, write_audit
from alld.cli import run_command
from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.groups.places import TURNS, turned
from alld.data.manifest import ImageRecord, Manifest
from alld.data.sources.find import load_manifest
from alld.errors import DataError


def look(root: Path, groups: Path | None = None) -> Audit:
    return examine(DataConfig(root=root), groups)


def by_code(audit: Audit) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings(audit)}


def pixels_of(file: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("RGB"))


def copy_few(drawn_set: Path, root: Path) -> Path:
    """Copy six unrelated drawn images into a folder for each class."""
    for name in ("Im001_1", "Im006_1", "Im012_1", "Im021_0", "Im027_0", "Im033_0"):
        folder = root / ("blast" if name.endswith("1") else "healthy")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn_set / f"{name}.tif", folder / f"{name[2:5]}.tif")
    return root


@pytest.fixture
def few(drawn_set: Path, tmp_path: Path) -> Path:
    """Six unrelated drawn images in a folder for each class."""
    return copy_few(drawn_set, tmp_path / "few")


@pytest.fixture(scope="module")
def faulty(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """The audit of the six images and of one file for each fault. Read only."""
    root = copy_few(drawn_set, tmp_path_factory.mktemp("faulty") / "set")
    blast, healthy = root / "blast", root / "healthy"
    shutil.copy(blast / "001.tif", healthy / "other.tif")
    (blast / "text.tif").write_text("no picture")
    (blast / "empty.tif").touch()
    (healthy / "cut.tif").write_bytes((blast / "001.tif").read_bytes()[:9000])
    (healthy / "dangling.tif").symlink_to(root / "nothing")
    Image.fromarray(pixels_of(blast / "012.tif")[:200]).save(blast / "small.png")
    whole = pixels_of(blast / "006.tif")
    alpha = np.dstack([whole, np.full(whole.shape[:2], 255, np.uint8)])
    Image.fromarray(alpha).save(blast / "alpha.png")
    tiny = draw_cell(np.random.default_rng(0), blast=True, side=8)
    for name in ("tiny", "tiny too"):
        save_tiff(blast / f"{name}.tif", tiny)
    return look(root)


def test_an_audit_groups_what_the_drawing_put_together(audited: Audit, drawn_set: Path) -> None:
    """The groups are those of truth.csv, no more and no fewer."""
    with (drawn_set / "truth.csv").open(newline="") as file:
        groups: dict[str, set[str]] = {}
        for row in csv.DictReader(file):
            if row["group"]:
                groups.setdefault(row["group"], set()).add(row["path"])
    records = audited.manifest.records
    seen = [{records[index].path for index in members} for members in audited.members.values()]
    assert sorted(map(sorted, seen)) == sorted(map(sorted, groups.values()))


def test_a_turned_copy_is_found_in_every_orientation(few: Path) -> None:
    """The relation names the orientation that brings the copy back onto the first image."""
    original = pixels_of(few / "blast" / "001.tif")
    for turn in range(1, 8):
        save_tiff(few / "blast" / f"copy{turn}.tif", np.ascontiguousarray(turned(original, turn)))
    seen = look(few)
    paths = [record.path for record in seen.manifest]
    first = paths.index("blast/001.tif")
    relations = [r for r in seen.groups.relations if r.first == first]
    assert sorted(r.turn for r in relations) == list(range(1, 8))
    for relation in relations:
        back = turned(pixels_of(few / paths[relation.second]), relation.turn)
        assert np.array_equal(back, original)
        assert seen.name_of(relation) == f"identical pixels, {TURNS[relation.turn]}"
        assert (relation.dy, relation.dx) == (0, 0)


@pytest.mark.parametrize("turn", [1, 2, 4, 7], ids=lambda turn: TURNS[turn])
def test_a_turned_copy_of_another_size_is_laid_where_it_belongs(few: Path, turn: int) -> None:
    """Sides that are no multiple of four and a shift: dy and dx still place it to the pixel."""
    original = pixels_of(few / "blast" / "001.tif")
    part = np.ascontiguousarray(turned(original[8:247, 8:247], turn))
    save_tiff(few / "blast" / "copy.tif", part)
    (relation,) = look(few).groups.relations
    assert (relation.score, relation.dy, relation.dx) == (1.0, 8, 8)


def test_copies_are_named_by_how_alike_they_are(few: Path) -> None:
    """The same bytes, the same pixels in another file, and pixels with a little noise differ."""
    source = few / "blast" / "001.tif"
    shutil.copy(source, few / "blast" / "a.tif")
    Image.fromarray(pixels_of(source)).save(few / "blast" / "b.png")
    noise = np.random.default_rng(0).integers(0, 2, pixels_of(source).shape)
    save_tiff(few / "blast" / "c.tif", (pixels_of(source) ^ noise).astype(np.uint8))
    seen = look(few)
    names = {
        seen.manifest.records[r.second].path: seen.name_of(r)
        for r in seen.groups.relations
        if seen.manifest.records[r.first].path == "blast/001.tif"
    }
    assert names == {
        "blast/a.tif": "identical file",
        "blast/b.png": "identical pixels",
        "blast/c.tif": "nearly identical",
    }


def test_one_cell_under_two_labels_is_a_contradiction(faulty: Audit) -> None:
    """The finding is an error and names both files and both labels."""
    finding = by_code(faulty)["contradiction"]
    assert finding.severity == "error"
    assert "blast/001.tif is blast and healthy/other.tif is healthy" in finding.sentence


def test_unreadable_files_are_all_listed_and_the_rest_is_audited(faulty: Audit) -> None:
    """Text, a cut file, an empty file and a dangling link are listed; none stops the audit."""
    assert len(faulty.manifest) == 11
    unreadable = {Path(problem.path).name for problem in faulty.problems}
    assert unreadable == {"text.tif", "empty.tif", "cut.tif", "dangling.tif"}


def test_a_tables_bad_rows_are_listed(few: Path) -> None:
    """A missing file, an unknown label and a path listed again under the other label."""
    table = few / "set.csv"
    table.write_text(
        "path,label\nblast/001.tif,1\nblast/006.tif,1\nhealthy/021.tif,0\n"
        "healthy/no.tif,0\nhealthy/027.tif,perhaps\nblast/006.tif,0\n"
    )
    seen = look(table)
    assert len(seen.manifest) == 3
    reasons = " ".join(problem.reason for problem in seen.problems)
    assert "no.tif: no file has that name" in reasons
    assert "'perhaps' is neither" in reasons
    assert "blast/006.tif: listed again, under the other label" in reasons


def test_names_that_disagree_with_their_folder_are_errors(tmp_path: Path) -> None:
    """ALL-IDB2 sorted into class folders, with one blast among the healthy."""
    draw_all_idb2(tmp_path / "all", per_class=3)
    for file in sorted((tmp_path / "all").iterdir()):
        wrong = file.name == "Im002_1.tif"
        home = "blast" if file.stem.endswith("1") and not wrong else "healthy"
        (tmp_path / "set" / home).mkdir(parents=True, exist_ok=True)
        shutil.move(file, tmp_path / "set" / home / file.name)
    finding = by_code(look(tmp_path / "set"))["name"]
    assert (finding.severity, finding.paths) == ("error", ("healthy/Im002_1.tif",))


def test_a_table_that_contradicts_a_folder_is_an_error(few: Path) -> None:
    """The label of the table against the name of the folder in which the file lies."""
    (few / "set.csv").write_text("path,label\nblast/001.tif,0\nblast/006.tif,1\n")
    assert by_code(look(few / "set.csv"))["folder"].paths == ("blast/001.tif",)


def test_all_idb2_in_a_folder_called_all_is_no_contradiction(tmp_path: Path) -> None:
    """ALL is a class name and also what people call the whole set."""
    draw_all_idb2(tmp_path / "ALL", per_class=3)
    assert not {"name", "folder"} & by_code(look(tmp_path)).keys()


def test_one_class_alone_is_audited_and_said(few: Path) -> None:
    """A training stops there; an audit says which class is missing, and what is undefined."""
    shutil.rmtree(few / "healthy")
    shown = by_code(look(few))
    assert shown["classes"].severity == "error"
    assert "3 blast, 0 healthy" in shown["classes"].sentence
    assert "undefined: 0 groups with healthy images" in shown["background"].sentence


def test_odd_sizes_and_conversions_are_counted(faulty: Audit) -> None:
    """The smaller images and the one with an alpha channel are named."""
    shown = by_code(faulty)
    assert shown["sizes"].paths == ("blast/small.png", "blast/tiny too.tif", "blast/tiny.tif")
    assert shown["decoding"].paths == ("blast/alpha.png",)
    assert "opaque alpha dropped" in shown["decoding"].sentence


def test_images_too_small_to_compare_are_named_and_equal_ones_still_found(faulty: Audit) -> None:
    """Two images of 8 px have no texture to compare, but their files are equal."""
    assert len(faulty.not_compared) == 2
    names = [faulty.name_of(r) for r in faulty.groups.relations if r.first in faulty.not_compared]
    assert names == ["identical file"]


def test_the_central_cell_and_its_neighbours_are_no_background(
    audited: Audit, drawn_set: Path
) -> None:
    """No pixel within 116 px of the centre is left, and no dark nucleus anywhere."""
    for record in audited.manifest.records[::4]:
        pixels = pixels_of(drawn_set / record.path)
        mask = background_mask(pixels)
        height, width = mask.shape
        assert not mask[
            height // 2 - 60 : height // 2 + 60, width // 2 - 60 : width // 2 + 60
        ].any()
        # A nucleus takes away twice as much green as red; the look-alike's smear never does.
        left = pixels[mask].astype(int)
        assert (left[:, 2] - left[:, 1] > 60).mean() < 0.01, record.path


def random_set(images: int, *, blasts: int) -> Manifest:
    records = tuple(ImageRecord(f"{i}.tif", int(i < blasts), "") for i in range(images))
    return Manifest(Path("nowhere"), "folders", records, synthetic=True)


def test_features_that_tell_the_class_reach_an_auc_of_one_and_noise_covers_a_half() -> None:
    """The whole way of the number, on features whose worth is known."""
    manifest = random_set(200, blasts=100)
    groups = [record.path for record in manifest]
    rng = np.random.default_rng(0)
    noise = list(rng.normal(size=(200, 5)))
    metric = predictive_power(manifest, groups, noise)
    assert (metric.ci_low or 1) < 0.5 < (metric.ci_high or 0)
    telling = [
        vector + [4.0 * label] * 5 for vector, label in zip(noise, manifest.labels, strict=True)
    ]
    assert predictive_power(manifest, groups, telling).value == pytest.approx(1, abs=0.01)


def test_what_a_group_alone_tells_is_not_predicted() -> None:
    """Features that name the group and nothing else give no AUC, as no group is in two folds."""
    manifest = random_set(120, blasts=60)
    groups = [f"group {index // 4}" for index in range(120)]
    own = np.random.default_rng(1).normal(size=(30, 40))
    features = [own[index // 4] for index in range(120)]
    together = predictive_power(manifest, groups, features).value
    leaking = predictive_power(manifest, [record.path for record in manifest], features).value
    assert (together or 1) < 0.75
    assert (leaking or 0) > 0.9


def test_too_few_groups_leave_the_background_undefined() -> None:
    """Four groups of one class cannot fill five folds: no number, but the reason."""
    manifest = random_set(40, blasts=20)
    groups = [f"group {index // 5}" for index in range(40)]
    metric = predictive_power(manifest, groups, list(np.zeros((40, 2))))
    assert metric.value is None
    assert metric.reason == "4 groups with healthy images: 5 folds need 5 of each class"


def test_the_folder_of_an_audit_holds_all_of_it(audited: Audit, tmp_path: Path) -> None:
    """JSON, table and sheet; the drawn set's JSON says synthetic."""
    write_audit(tmp_path / "audit", audited)
    facts = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert facts["data"]["synthetic"] is True
    assert facts["data"]["images"] == len(facts["images"]) == 40
    assert set(facts["background"]["roc_auc"]) >= {"value", "k", "n", "ci_low", "ci_high", "method"}
    assert len(facts["groups"]["of"]) == len(audited.members)
    with Image.open(tmp_path / "audit" / "groups.png") as sheet:
        assert sheet.width > 900
    assert facts["files"]["sheets"] == ["groups.png"]


def test_many_groups_go_on_several_sheets(
    audited: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No sheet grows beyond what a person can look at; the names are numbered."""
    monkeypatch.setattr(contact_sheet, "GROUPS_A_SHEET", 2)
    sheets = contact_sheet.draw_sheets(tmp_path, audited)
    assert len(sheets) == -(-len(audited.members) // 2) > 1
    assert [sheet.name for sheet in sheets[:2]] == ["groups.png", "groups-2.png"]


def test_a_picture_that_is_not_one_cell_has_no_background(audited: Audit) -> None:
    """Beyond the size of a crop the features would take minutes."""
    pixels = audited.manifest.decode(0).pixels
    features = background_features(pixels)
    assert features is not None
    assert features.shape == (FEATURES,)
    assert background_features(pixels.repeat(6, axis=0)) is None  # 1542 px


def test_the_groups_table_goes_back_in(audited: Audit, drawn_set: Path, tmp_path: Path) -> None:
    """`--groups audit/groups.csv` gives the groups that the audit found, its third column too."""
    (tmp_path / "groups.csv").write_text(groups_table(audited))
    manifest = load_manifest(DataConfig(root=drawn_set))
    given = load_groups(manifest, tmp_path / "groups.csv").of_image

    def partition(names: tuple[str, ...]) -> set[frozenset[int]]:
        return {frozenset(i for i, n in enumerate(names) if n == name) for name in names}

    assert partition(given) == partition(audited.groups.of_image)
    assert groups_table(audited).startswith("path,group,relation\n")


def test_a_groups_file_that_separates_what_was_found_is_a_finding(few: Path) -> None:
    """The file wins, and the pair that it separates is named."""
    shutil.copy(few / "blast" / "001.tif", few / "blast" / "copy.tif")
    (few.parent / "groups.csv").write_text("path,group\nblast/001.tif,a\nblast/copy.tif,b\n")
    shown = by_code(look(few, few.parent / "groups.csv"))
    assert shown["leaking"].paths == ("blast/001.tif", "blast/copy.tif")


def test_edited_groups_and_strange_files_are_never_replaced(audited: Audit, tmp_path: Path) -> None:
    """An audit replaces its own folder, unless a person has put work into it."""
    folder = tmp_path / "audit"
    write_audit(folder, audited)
    check_place(folder)
    (folder / "groups.csv").write_text("path,group\nIm001_1.tif,a\n")
    with pytest.raises(DataError, match="was edited"):
        check_place(folder)
    (folder / "thesis.doc").touch()
    with pytest.raises(DataError, match=r"thesis\.doc"):
        check_place(folder)


def test_an_audit_does_not_lay_its_pictures_among_the_cells(few: Path) -> None:
    """Inside the set its sheet would be taken for an image."""
    with pytest.raises(DataError, match="inside the set"):
        check_place(few / "audit", load_manifest(DataConfig(root=few)))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["{tmp}/nothing"], "there is no such folder"),
        (["{tmp}"], "no image lies in or below"),
        (["{few}", "--positive", "tumour"], "no folder or label"),
        (["{few}", "--out", "{few}/blast"], "001.tif, which no audit made"),
        (["{few}", "--out", "{few}/audit"], "inside the set"),
        (["{few}", "--groups", "{tmp}/none.csv"], "cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_one_line(
    words: list[str],
    named: str,
    few: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, the reason, and nothing on standard output."""
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.chdir(few.parent)
    assert run_command(["audit", *(word.format(tmp=empty, few=few) for word in words)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert named in shown.err
    assert not (few.parent / "audit").exists()


def test_the_command_says_its_findings_and_ends_with_1_after_an_unreadable_file(
    few: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Findings are an answer: status 0; an image that nobody can read: status 1, all else said."""
    monkeypatch.chdir(few.parent)
    assert run_command(["audit", "few"]) == 0
    shown = capsys.readouterr()
    assert "SYNTHETIC folders: 3 blast, 3 healthy" in shown.out
    assert "Not a medical device" in shown.err
    (few / "blast" / "text.tif").write_text("no picture")
    assert run_command(["audit", "few", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["findings"][0]["paths"] == ["blast/text.tif"]
    assert (few.parent / "audit" / "groups.csv").read_text() == "path,group,relation\n"


def test_all_idb2s_background_tells_its_class(real_set: Path) -> None:
    """51 relations in 33 groups, a clear gap, and the background at 0.87 as a study reports."""
    seen = look(real_set)
    assert (len(seen.groups.relations), len(seen.members)) == (51, 33)
    assert min(c.similarity for c in seen.search.recaptured) > 0.75
    assert seen.search.rejected[0].similarity < 0.55
    assert seen.background.value == pytest.approx(0.87, abs=0.04)


def test_images_without_a_white_cell_are_listed(drawn_set: Path, tmp_path: Path) -> None:
    """Drawn platelets and an empty picture: in the findings, and in the table that is left."""
    shutil.copytree(drawn_set, tmp_path / "set")
    with open(tmp_path / "set" / "truth.csv", newline="") as file:
        kinds = {row["path"]: row["kind"] for row in csv.DictReader(file)}
    noise = np.random.default_rng(0).integers(200, 220, (257, 257, 3)).astype(np.uint8)
    save_tiff(tmp_path / "set" / "Im900_0.tif", noise)
    audit = look(tmp_path / "set")
    found = by_code(audit)["no white cell"].paths
    platelets = {path for path, kind in kinds.items() if kind == "platelet clump"}
    assert set(found) == platelets | {"Im900_0.tif"}
    write_audit(tmp_path / "audit", audit)
    with open(tmp_path / "audit" / "images.csv", newline="") as file:
        no = [row["path"] for row in csv.DictReader(file) if row["white_cell"] == "no"]
    assert no == [f"../set/{path}" for path in found]
