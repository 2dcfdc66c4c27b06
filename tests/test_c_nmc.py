"""C-NMC 2019: subjects out of the names, both of its labelled parts, cells on black."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_c_nmc, draw_cell, draw_on_black, draw_preliminary, save_tiff

from alld.auditing.background import background_auc
from alld.auditing.examine import examine
from alld.auditing.findings import findings
from alld.config.schema import DataConfig, SplitConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import BLAST, HEALTHY, Manifest
from alld.data.sources.find import load_manifest, survey_manifest
from alld.data.splits import make_folds, make_split, split_text
from alld.errors import DataError
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe

PRELIMINARY = ["UID_57_29_1_all.bmp", "UID_57_22_2_all.bmp", "UID_H49_35_1_hem.bmp"]


def load(root: Path) -> Manifest:
    return load_manifest(DataConfig(root=root))


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight subjects a class, 72 cells. Read only."""
    return draw_c_nmc(tmp_path_factory.mktemp("c-nmc") / "C-NMC_training_data")


@pytest.fixture(scope="module")
def look_alike(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 images of `alld synth --layout c-nmc`. Read only."""
    folder = tmp_path_factory.mktemp("synth") / "c-nmc"
    draw_set(folder, Recipe(n=44, layout="c-nmc"))
    return folder


def test_names_say_class_and_subject(training: Path) -> None:
    """UID_3_1_2_all.bmp is a blast of subject 3; subject H3 is somebody else, and healthy."""
    manifest = load(training)
    assert manifest.kind == "C-NMC 2019"
    assert manifest.synthetic
    found = {record.path: (record.label, record.patient) for record in manifest}
    assert found["fold_0/all/UID_3_1_2_all.bmp"] == (BLAST, "3")
    assert found["fold_0/hem/UID_H3_1_2_hem.bmp"] == (HEALTHY, "H3")
    assert Counter(manifest.labels) == {BLAST: 48, HEALTHY: 24}
    assert len(set(manifest.patients)) == 16


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_the_preliminary_test_is_read_by_its_table(tmp_path: Path, place: str) -> None:
    """Its table lies beside the folder of its images or in it; names of files tell nothing."""
    table = draw_preliminary(tmp_path, PRELIMINARY)
    # The final test has files of the same names, and no labels.
    shutil.copytree(tmp_path / table.stem.removesuffix("_labels"), tmp_path / "final")
    if place == "inside":
        table = Path(shutil.move(table, tmp_path / table.stem.removesuffix("_labels")))
    manifest = load(table)
    assert manifest.kind == "C-NMC 2019"
    assert [record.path.rpartition("/")[2] for record in manifest] == ["1.bmp", "2.bmp", "3.bmp"]
    assert all("final" not in record.path for record in manifest)
    assert manifest.labels == [BLAST, BLAST, HEALTHY]
    assert manifest.patients == ["57", "57", "H49"]


def test_a_folder_with_both_parts_is_all_that_has_a_label(training: Path, tmp_path: Path) -> None:
    """Training and preliminary test together; images without a label are counted in a warning."""
    shutil.copytree(training, tmp_path / "C-NMC_training_data")
    draw_preliminary(tmp_path, PRELIMINARY)
    for number in (1, 2):
        path = tmp_path / "C-NMC_test_final_phase_data" / f"{number}.bmp"
        draw_on_black(path, np.random.default_rng(number), blast=True)
    manifest = load(tmp_path)
    assert len(manifest) == 75
    assert {"57", "H49", "3"} <= set(manifest.patients)
    assert manifest.warnings[0].startswith("2 other images below")


def test_one_name_in_two_folders_is_refused(training: Path, tmp_path: Path) -> None:
    """Some copies hold the folds merged and apart: every cell would count twice."""
    shutil.copytree(training / "fold_1", tmp_path / "fold_1")
    shutil.copytree(training / "fold_1", tmp_path / "merged")
    with pytest.raises(DataError, match=r"UID_1_1_1_all lies in .*fold_1.all too; name one"):
        load(tmp_path)


def test_a_name_in_the_other_folder_is_refused(training: Path, tmp_path: Path) -> None:
    """UID_1_1_1_all.bmp in hem/ is one or the other; an audit goes on without it."""
    copy = Path(shutil.copytree(training, tmp_path / "set"))
    shutil.move(copy / "fold_1" / "all" / "UID_1_1_1_all.bmp", copy / "fold_1" / "hem")
    with pytest.raises(DataError, match="its name says blast and its folder healthy"):
        load(copy)
    manifest, problems = survey_manifest(DataConfig(root=copy))
    assert len(manifest) == 71
    assert "its name says blast" in problems[0].reason


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("UID_57_29_1_all.bmp,1.bmp,0", "line 2: label '0' for 'UID_57_29_1_all.bmp'"),
        ("UID_57_29_1_all.bmp,1.bmp,", "line 2: label ''"),
        ("somebody,1.bmp,1", "line 2: label '1' for 'somebody'"),
        ("UID_57_29_1_all.bmp,../1.bmp,1", "line 2: '../1.bmp' is no name of a file"),
        ("UID_57_29_1_all.bmp", "line 2"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused(tmp_path: Path, row: str, named: str) -> None:
    """Labels that contradict the name, names of nobody, files elsewhere: named with the line."""
    table = draw_preliminary(tmp_path, PRELIMINARY)
    table.write_text(f"Patient_ID,new_names,labels\n{row}\nUID_H49_35_1_hem.bmp,3.bmp,0\n")
    with pytest.raises(DataError) as caught:
        load(table)
    assert named in str(caught.value)


def test_a_table_that_fits_two_folders_is_refused(tmp_path: Path) -> None:
    """Both tests have files called 1.bmp: the labels of one must not fall on the other."""
    table = draw_preliminary(tmp_path, PRELIMINARY)
    shutil.move(tmp_path / table.stem.removesuffix("_labels"), tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match=r"may be those in .*a or in .*b; put the table into"):
        load(table)


def test_a_subject_stays_on_one_side(training: Path) -> None:
    """Of splits and of folds; the split's file names the patients, and nothing is sought."""
    manifest = load(training)
    groups = load_groups(manifest)
    assert groups.source == "patients as the set names them"
    assert not groups.relations
    split = make_split(manifest, groups.of_image, groups.source, SplitConfig(), seed=0)
    assert len(set(zip(manifest.patients, split.parts, strict=True))) == 16
    assert split.leaking_groups == 0
    folds = make_folds(manifest, groups.of_image, SplitConfig(), folds=4, seed=0)
    assert len(set(zip(manifest.patients, folds.tolist(), strict=True))) == 16
    rows = list(csv.DictReader(split_text(manifest, split).splitlines()))
    assert [row["patient"] for row in rows] == manifest.patients


def test_a_groups_file_never_separates_a_patient(training: Path, tmp_path: Path) -> None:
    """It overrules what ALLD finds, not whose cell it is; two patients it joins are one group."""
    manifest = load(training)
    first, other = "fold_0/all/UID_3_1_1_all.bmp", "fold_1/all/UID_4_1_1_all.bmp"
    table = tmp_path / "groups.csv"
    table.write_text(f"path,group\n{first},pair\n{other},pair\n")
    groups = load_groups(manifest, table)
    named = dict(zip((r.path for r in manifest), groups.of_image, strict=True))
    assert named[first] == named[other] == named["fold_0/all/UID_3_1_2_all.bmp"]
    assert named["fold_1/hem/UID_H4_1_1_hem.bmp"] == "patient H4"
    assert len(set(groups.of_image)) == 15


def test_where_some_patients_are_unknown_groups_are_sought_too(tmp_path: Path) -> None:
    """A copy of a known patient's image goes where the patient goes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        save_tiff(tmp_path / f"{name}.tif", draw_cell(rng, blast=name == "a", side=96))
    shutil.copy(tmp_path / "a.tif", tmp_path / "copy.tif")
    table = tmp_path / "set.csv"
    table.write_text("path,label,patient\na.tif,1,p\nb.tif,0,p\nc.tif,0,\ncopy.tif,1,\n")
    groups = load_groups(load(table))
    assert groups.of_image == ("patient p", "patient p", "c.tif", "patient p")
    assert groups.source.startswith("patients as the set names them, and same cells")


def test_on_black_there_is_no_background(training: Path) -> None:
    """Not a number of chance, not a crash: that there is none, and of how many images."""
    manifest = load(training)
    metric = background_auc(manifest, load_groups(manifest).of_image)
    assert metric.value is None
    assert metric.reason == (
        "72 of 72 images have no background: the cell is cut out on one colour, or fills the "
        "picture"
    )


def test_one_class_alone_cut_out_reveals_itself(tmp_path: Path) -> None:
    """Blasts on black beside healthy cells in their smear: the background reveals the class."""
    rng = np.random.default_rng(0)
    for number in range(12):
        draw_on_black(tmp_path / "blast" / f"{number}.bmp", rng, blast=True, side=160)
        healthy = draw_cell(rng, blast=False, side=160)
        save_tiff(tmp_path / "healthy" / f"{number}.tif", healthy)
    manifest = load(tmp_path)
    metric = background_auc(manifest, [record.path for record in manifest])
    assert (metric.value or 0) > 0.95


def test_an_audit_of_cells_on_black(look_alike: Path) -> None:
    """It says the patients, that there is no background, and finds the repeated cells alone."""
    found = examine(DataConfig(root=look_alike))
    told = {finding.code: finding for finding in findings(found)}
    assert told["background"].severity == "note"
    assert "44 of 44 images have no background" in told["background"].sentence
    assert "with blasts only" in told["patients"].sentence
    with (look_alike / "truth.csv").open(newline="") as file:
        truth = {row["path"]: row["group"] for row in csv.DictReader(file)}
    planted = Counter(group for group in truth.values() if group)
    joined = {
        truth[found.manifest.records[images[0]].path]: len(images)
        for images in found.members.values()
    }
    assert joined == dict(planted)


def test_a_cell_of_two_patients_is_a_warning(look_alike: Path, tmp_path: Path) -> None:
    """The same pixels under two subjects: one of the names is wrong."""
    cell = look_alike / "C-NMC_training_data" / "fold_1" / "all" / "UID_1_1_1_all.bmp"
    for name in ("UID_1_1_1_all.bmp", "UID_2_9_1_all.bmp"):
        shutil.copy(cell, tmp_path / name)
    told = findings(examine(DataConfig(root=tmp_path)))
    [across] = [f for f in told if f.code == "patients" and f.severity == "warning"]
    assert "related in 1 pairs, but of different patients" in across.sentence


def test_the_drawn_layout_is_c_nmcs(look_alike: Path) -> None:
    """Folds and a preliminary test with its table; a subject is in one of them only."""
    whole = load(look_alike)
    folds = load(look_alike / "C-NMC_training_data")
    test = load(look_alike / "C-NMC_test_prelim_phase_data_labels.csv")
    assert len(whole) == len(folds) + len(test) == 44
    assert len(test) >= 5
    assert not set(folds.patients) & set(test.patients)
    with (look_alike / "truth.csv").open(newline="") as file:
        truth = {row["path"]: row["patient"] for row in csv.DictReader(file)}
    assert {record.path: record.patient for record in whole} == truth
