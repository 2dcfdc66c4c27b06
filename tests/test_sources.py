"""Which set is it: ALL-IDB2 wherever it lies, a folder per class, a table."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import draw_all_idb2, draw_cell, save_tiff

from alld.config.schema import DataConfig
from alld.data.manifest import BLAST, HEALTHY, Manifest
from alld.data.sources.find import load_manifest
from alld.data.sources.known_crops import known_crops
from alld.data.sources.listing import list_images
from alld.errors import DataError, ImageError


def load(root: Path, *positive: str, healthy: Sequence[str] = ()) -> Manifest:
    return load_manifest(DataConfig(root=root, positive=list(positive), healthy=list(healthy)))


def load_other(root: Path, *inherited: str) -> Manifest:
    """As an external set, for which the run's own --positive was not meant."""
    data = DataConfig(root=root, positive=list(inherited))
    return load_manifest(data, both_classes=False, inherited=True)


def draw(path: Path, *, blast: bool = True, mark: str = "") -> None:
    save_tiff(path, draw_cell(np.random.default_rng(0), blast=blast, side=8), mark)


def test_all_idb2_is_found_wherever_it_lies(drawn_set: Path, tmp_path: Path) -> None:
    """The folder below DIR that holds the crops is the set, and its names are the paths."""
    shutil.copytree(drawn_set, tmp_path / "deep" / "inside" / "set")
    manifest = load(tmp_path)
    assert manifest.kind == "ALL-IDB2"
    assert manifest.root == tmp_path / "deep" / "inside" / "set"
    assert manifest.records[0].path == "Im001_1.tif"
    assert manifest.labels == [BLAST] * 20 + [HEALTHY] * 20


def test_the_fingerprint_does_not_depend_on_the_place(drawn_set: Path, tmp_path: Path) -> None:
    """The same set elsewhere has the same fingerprint; one changed byte gives another."""
    copy = tmp_path / "copy"
    shutil.copytree(drawn_set, copy)
    before = load(drawn_set).fingerprint
    assert load(copy).fingerprint == before
    victim = copy / "Im003_1.tif"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x07")
    assert load(copy).fingerprint != before


def test_other_images_are_counted_in_one_warning(tmp_path: Path) -> None:
    """Images beside ALL-IDB2 stay unused, and the user is told once."""
    draw_all_idb2(tmp_path / "all", per_class=2)
    draw(tmp_path / "other" / "field.tif")
    draw(tmp_path / "other" / "Im001_1.jpg.tif")
    warnings = load(tmp_path).warnings
    assert warnings == (
        "2 other images below the data folder are not part of ALL-IDB2 and stay unused",
    )


def test_two_copies_of_the_set_are_refused(tmp_path: Path) -> None:
    """Two folders with ALL-IDB2's names would put each image in twice."""
    draw_all_idb2(tmp_path / "a", per_class=2)
    draw_all_idb2(tmp_path / "b", per_class=2)
    with pytest.raises(DataError, match="lies in 2 folders"):
        load(tmp_path)


def test_a_drawn_image_makes_the_whole_set_synthetic(tmp_path: Path) -> None:
    """One marked image among others is enough; names may count beyond 999."""
    draw(tmp_path / "Im0999_1.tif")
    draw(tmp_path / "Im1000_0.tif", blast=False)
    assert not load(tmp_path).synthetic
    draw(tmp_path / "Im1001_0.tif", blast=False, mark="ALLD SYNTHETIC")
    manifest = load(tmp_path)
    assert manifest.synthetic
    assert manifest.labels == [BLAST, HEALTHY, HEALTHY]


def test_a_copy_that_is_not_the_original_is_named(tmp_path: Path) -> None:
    """Unmarked images with ALL-IDB2's names are compared with the originals' hashes."""
    draw(tmp_path / "Im001_1.tif")
    draw(tmp_path / "Im131_0.tif", blast=False)
    manifest = load(tmp_path)
    assert not manifest.original
    assert (
        "258 missing (first: Im002_1.tif), 2 changed (first: Im001_1.tif)" in manifest.warnings[0]
    )


def test_the_hashes_of_all_260_originals_are_shipped() -> None:
    """Half of the names are blasts, each hash is 64 hexadecimal digits."""
    crops = known_crops()
    assert len({crop.name for crop in crops}) == 260
    assert sum(crop.name.endswith("_1.tif") for crop in crops) == 130
    assert all(len(crop.sha256) == 64 and int(crop.sha256, 16) for crop in crops)


def test_the_real_set_is_recognised_as_original(real_set: Path) -> None:
    """The real ALL-IDB2: 130 and 130, bit for bit, not synthetic, no warning about itself."""
    manifest = load(real_set)
    assert (len(manifest), sum(manifest.labels)) == (260, 130)
    assert manifest.original
    assert not manifest.synthetic
    assert manifest.warnings == ()


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ("Im002_2.tif", r"Im002_2\.tif: the label _2 is neither"),
        ("Im002_1.tif", "all 2 images are blast, none is healthy"),
    ],
)
def test_a_set_without_two_classes_is_refused(tmp_path: Path, second: str, named: str) -> None:
    """Im002_2.tif says neither class, and nothing can be learnt from blasts alone."""
    draw(tmp_path / "Im001_1.tif")
    draw(tmp_path / second)
    with pytest.raises(DataError, match=named):
        load(tmp_path)


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    """The nearest folder that names a class is the label, at any depth."""
    draw(tmp_path / "train" / "all" / "a.tif")
    draw(tmp_path / "train" / "hem" / "plate 1" / "b.tif", blast=False)
    manifest = load(tmp_path)
    assert manifest.kind == "folders"
    assert {r.path: r.label for r in manifest} == {
        "train/all/a.tif": BLAST,
        "train/hem/plate 1/b.tif": HEALTHY,
    }


def test_a_folder_that_names_no_class_is_refused(tmp_path: Path) -> None:
    """A third folder is neither blast nor healthy; the message shows the way out."""
    draw(tmp_path / "blast" / "a.tif")
    draw(tmp_path / "doubtful" / "b.tif")
    with pytest.raises(DataError, match=r"names no class.*--positive NAME"):
        load(tmp_path)


def test_positive_names_the_blasts_among_own_folders(tmp_path: Path) -> None:
    """With --positive every other folder is healthy."""
    draw(tmp_path / "lymphocyte" / "a.tif", blast=False)
    draw(tmp_path / "monocyte" / "b.tif", blast=False)
    draw(tmp_path / "L1" / "c.tif")
    manifest = load(tmp_path, "L1")
    assert manifest.labels == [BLAST, HEALTHY, HEALTHY]
    assert manifest.warnings == ("--positive L1: counted as healthy: lymphocyte, monocyte",)


def test_several_names_may_be_positive_or_healthy(tmp_path: Path) -> None:
    """Early and Pre are blasts; where names of both classes are given, another one is refused."""
    for number, name in enumerate(("Benign", "Early", "Pre")):
        draw(tmp_path / name / f"{number}.tif")
    assert load(tmp_path, "Early", "Pre").labels == [HEALTHY, BLAST, BLAST]
    assert load(tmp_path, healthy=["Benign"]).labels == [HEALTHY, BLAST, BLAST]
    assert load(tmp_path, "Early", healthy=["Benign", "Pre"]).labels == [HEALTHY, BLAST, HEALTHY]
    with pytest.raises(DataError, match=r"Pre.*names no class .* beside --positive Early"):
        load(tmp_path, "Early", healthy=["Benign"])


def test_names_of_classes_are_compared_without_case(tmp_path: Path) -> None:
    """The warning about --positive ALL leaves out the label `all`, which is blast."""
    draw(tmp_path / "a.tif")
    draw(tmp_path / "b.tif", blast=False)
    (tmp_path / "t.csv").write_text("path,label\na.tif,all\nb.tif,hem\n")
    manifest = load(tmp_path / "t.csv", "ALL")
    assert manifest.labels == [BLAST, HEALTHY]
    assert manifest.warnings == ("--positive ALL: counted as healthy: hem",)


def test_known_names_of_another_set_win_over_inherited_ones(tmp_path: Path) -> None:
    """A run trained with --positive Early reads blast/ and healthy/ of another laboratory."""
    draw(tmp_path / "known" / "blast" / "a.tif")
    draw(tmp_path / "known" / "healthy" / "b.tif", blast=False)
    assert load_other(tmp_path / "known", "Early").labels == [BLAST, HEALTHY]
    draw(tmp_path / "same" / "Early" / "a.tif")
    draw(tmp_path / "same" / "Benign" / "b.tif", blast=False)
    same = load_other(tmp_path / "same", "Early")
    assert same.labels == [HEALTHY, BLAST]
    inherited = "--positive Early (inherited from the run's settings): counted as healthy: Benign"
    assert same.warnings == (inherited,)


def test_a_set_of_one_class_with_its_own_name_can_be_read(tmp_path: Path) -> None:
    """An inherited name decides nothing there; --healthy says what the folder means."""
    draw(tmp_path / "monocytes" / "a.tif", blast=False)
    with pytest.raises(DataError, match=r"names no class.*--healthy NAME"):
        load_other(tmp_path, "Early")
    data = DataConfig(root=tmp_path, healthy=["monocytes"])
    assert load_manifest(data, both_classes=False).labels == [HEALTHY]


def test_one_name_cannot_mean_both_classes() -> None:
    """It would be blast and healthy."""
    with pytest.raises(ValueError, match="early cannot mean blast and healthy"):
        DataConfig(positive=["Early"], healthy=["early"])


def test_all_idb2_sorted_into_class_folders_is_read(tmp_path: Path) -> None:
    """Names and folders agree: it is ALL-IDB2, whose paths have the folders."""
    source = draw_all_idb2(tmp_path / "source", per_class=2)
    for file in source.iterdir():
        home = tmp_path / "set" / ("ALL" if file.stem.endswith("_1") else "healthy")
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, home)
    manifest = load(tmp_path / "set")
    assert manifest.kind == "ALL-IDB2"
    assert {record.path: record.label for record in manifest} == {
        "ALL/Im001_1.tif": BLAST,
        "ALL/Im002_1.tif": BLAST,
        "healthy/Im003_0.tif": HEALTHY,
        "healthy/Im004_0.tif": HEALTHY,
    }


def test_folders_win_over_names_that_look_like_all_idb2s(tmp_path: Path) -> None:
    """One such name among own images hides no others, and a wrong one only causes a warning."""
    draw(tmp_path / "blast" / "a.tif")
    draw(tmp_path / "blast" / "Im001_1.tif")
    draw(tmp_path / "healthy" / "Im002_1.tif", blast=False)
    manifest = load(tmp_path)
    assert manifest.kind == "folders"
    assert manifest.labels == [BLAST, BLAST, HEALTHY]
    said = "1 images lie in folders of the other class than their names say (first: healthy/Im002"
    assert manifest.warnings[0].startswith(said)


def test_own_images_beside_names_of_c_nmc_are_read(tmp_path: Path) -> None:
    """Their folders name classes; the subject in a name of C-NMC is still its patient."""
    draw(tmp_path / "all" / "UID_5_1_1_all.tif")
    draw(tmp_path / "all" / "mine.tif")
    draw(tmp_path / "hem" / "other.tif", blast=False)
    assert [(r.path, r.patient) for r in load(tmp_path)] == [
        ("all/UID_5_1_1_all.tif", "5"),
        ("all/mine.tif", None),
        ("hem/other.tif", None),
    ]


def test_a_class_folder_that_cannot_be_read_is_no_unknown_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is named, not the class."""
    draw(tmp_path / "blast" / "a.tif")
    draw(tmp_path / "healthy" / "b.tif", blast=False)
    list_folder = os.scandir

    def locked(path: str | Path = ".") -> Any:
        if str(path).endswith("healthy"):
            raise PermissionError(13, "Permission denied", str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(ImageError, match=r"healthy: cannot be read \(Permission denied\)"):
        load(tmp_path)


def test_a_positive_that_names_nothing_is_refused(tmp_path: Path) -> None:
    """A misspelt --positive would make every image healthy; ALL-IDB2 needs none."""
    draw(tmp_path / "own" / "L1" / "a.tif")
    with pytest.raises(DataError, match="--positive L2: no folder or label"):
        load(tmp_path / "own", "L2")
    draw_all_idb2(tmp_path / "idb", per_class=1)
    with pytest.raises(DataError, match="whose file names say"):
        load(tmp_path / "idb", "L1")


def test_a_table_with_patients(tmp_path: Path) -> None:
    """path,label,patient: paths are relative to the table, each cell has its patient."""
    draw(tmp_path / "x" / "a.tif")
    draw(tmp_path / "x" / "b.tif", blast=False)
    table = tmp_path / "set.csv"
    table.write_text("path,label,Patient,age\nx/a.tif,blast,p1\nx/b.tif,0, p2 \n")
    manifest = load(table)
    assert manifest.warnings[0].endswith("ignored column: age")
    assert [(r.path, r.label, r.patient, r.group) for r in manifest] == [
        ("x/a.tif", BLAST, "p1", None),
        ("x/b.tif", HEALTHY, "p2", None),
    ]


def test_a_folder_may_name_the_patient(tmp_path: Path) -> None:
    """A folder such as patient-07 does, above or below the class; `patients` names nobody."""
    draw(tmp_path / "patients" / "patient-07" / "blast" / "a.tif")
    draw(tmp_path / "patients" / "healthy" / "Subject 3" / "b.tif", blast=False)
    draw(tmp_path / "patients" / "healthy" / "c.tif", blast=False)
    patients = {record.path: record.patient for record in load(tmp_path)}
    assert patients == {
        "patients/healthy/Subject 3/b.tif": "Subject 3",
        "patients/healthy/c.tif": None,
        "patients/patient-07/blast/a.tif": "patient-07",
    }


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("path,label\nx/a.tif,maybe\n", "line 2: label 'maybe' is neither"),
        ("path,label\nx/a.tif,\n", "line 2: label '' is neither"),
        ("file,label\nx/a.tif,1\n", "needs the columns path,label; found file,label"),
        ("path,label\nx/a.tif,1\nx/a.tif,1\nx/b.tif,0\n", "listed more than once"),
        ("path,label\nx/gone.tif,1\n", "gone.tif"),
        ("path,label\n\nx/a.tif,1\n\nx/b.tif,maybe\n", "line 5: label 'maybe' is neither"),
        ("path;label\nx/a.tif;1\n", "separated by semicolons"),
        ("path,label\n", "no images"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path: Path, content: str, named: str) -> None:
    """Labels, columns and rows that cannot be meant are named."""
    draw(tmp_path / "x" / "a.tif")
    draw(tmp_path / "x" / "b.tif", blast=False)
    (tmp_path / "set.csv").write_text(content)
    with pytest.raises((DataError, ImageError)) as caught:
        load(tmp_path / "set.csv")
    assert named in str(caught.value)


@pytest.mark.parametrize("make", [False, True])
def test_no_data_says_how_to_get_some(tmp_path: Path, make: bool) -> None:
    """A missing folder and an empty one explain where ALL-IDB2 comes from, in four more lines."""
    root = tmp_path / "data"
    if make:
        root.mkdir()
    with pytest.raises(DataError) as caught:
        load(root)
    assert str(root) in str(caught.value)
    [advice] = caught.value.__notes__
    assert "ask its authors" in advice
    assert len(advice.splitlines()) == 4


def test_a_file_that_changes_after_its_hash_was_taken_is_noticed(tmp_path: Path) -> None:
    """What is decoded is what the fingerprint describes."""
    draw_all_idb2(tmp_path, per_class=1)
    manifest = load(tmp_path)
    draw(tmp_path / "Im001_1.tif")
    with pytest.raises(DataError, match=r"Im001_1\.tif: changed"):
        manifest.decode(0)


def test_a_link_back_neither_loops_nor_doubles_the_set(tmp_path: Path) -> None:
    """It is counted as left out; hidden files are passed over."""
    draw(tmp_path / "set" / "a.tif")
    draw(tmp_path / "set" / ".hidden.tif")
    (tmp_path / "set" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set", target_is_directory=True)
    listing = list_images(tmp_path / "set")
    assert listing.files == [tmp_path / "set" / "a.tif"]
    assert listing.warning == "2 files not read: 2 linked folders"


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """A class may lie in a folder elsewhere, and that folder may link to another."""
    draw(tmp_path / "store" / "a.tif")
    draw(tmp_path / "batch" / "b.tif")
    (tmp_path / "store" / "more").symlink_to(tmp_path / "batch", target_is_directory=True)
    draw(tmp_path / "set" / "healthy" / "c.tif", blast=False)
    (tmp_path / "set" / "blast").symlink_to(tmp_path / "store", target_is_directory=True)
    paths = [record.path for record in load(tmp_path / "set")]
    assert paths == ["blast/a.tif", "blast/more/b.tif", "healthy/c.tif"]


def test_files_that_are_not_read_are_counted(tmp_path: Path) -> None:
    """By suffix, in a warning of the set; tables and texts may lie there without a word."""
    draw(tmp_path / "blast" / "a.jfif")
    draw(tmp_path / "healthy" / "b.jpe", blast=False)
    for name in ("c.heic", "d.heic", "e.svs", "notes.txt"):
        (tmp_path / "blast" / name).touch()
    manifest = load(tmp_path)
    assert len(manifest) == 2
    assert manifest.warnings[-1].endswith("3 files not read: 2 .heic, 1 .svs")
