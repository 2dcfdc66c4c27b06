"""Sessions, scanners and sites: where they are read from, and splits that hold them out."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from conftest import SMALL, Answer
from PIL import ExifTags, Image

from alld.auditing.background import best_guess, domain_features
from alld.config.files import load_config
from alld.config.schema import SplitConfig
from alld.data.directions import pairings
from alld.data.domains import domain_table, exposure_of, with_sessions
from alld.data.manifest import Exposure, ImageRecord, Manifest
from alld.data.sources.find import load_manifest
from alld.data.sources.known_crops import known_crops
from alld.data.splits import make_split
from alld.errors import ConfigError, DataError
from alld.evaluation.crossval.train import crossval
from alld.evaluation.result import read_result
from alld.images.decode import decode
from alld.model.bundle import read_info
from alld.report.sentences import caveats
from alld.runs.machine import differences
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe, plan
from alld.synthetic.sessions import in_sessions

BEGAN = datetime(2005, 9, 6, 9, 18)
Rows = list[tuple[str, int]]  # domain and label


def manifest_of(rows: Rows, source: str = "column scanner") -> Manifest:
    """A set of these domains and labels, without files."""
    records = tuple(
        ImageRecord(f"{number}.tif", label, f"{number:064x}", domain=domain)
        for number, (domain, label) in enumerate(rows)
    )
    return Manifest(Path("set"), "table", records, synthetic=False, domains_source=source)


def all_idb2() -> Manifest:
    """The 260 crops by what is known of them, without their files."""
    records = tuple(
        ImageRecord(crop.name, int(crop.name[-5]), f"{number:064x}", exposure=crop.exposure)
        for number, crop in enumerate(known_crops())
    )
    return with_sessions(Manifest(Path("set"), "ALL-IDB2", records, synthetic=False), 8.0)


def photograph(camera: str, taken: str) -> bytes:
    """A JPEG with EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = camera
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    file = BytesIO()
    Image.new("RGB", (40, 40)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_camera_and_time_are_read_from_the_exif() -> None:
    """Without EXIF, or with a time that is none, there is nothing to read."""
    found = exposure_of(photograph("PowerShot G5", "2005:09:06 09:18:17"))
    assert found == Exposure("PowerShot G5", datetime(2005, 9, 6, 9, 18, 17))
    assert exposure_of(photograph("PowerShot G5", "yesterday")) is None
    assert exposure_of(photograph("PowerShot G5", "2005:09:06 09:18:17")[:60]) is None
    file = BytesIO()
    Image.new("RGB", (40, 40)).save(file, "PNG")
    assert exposure_of(file.getvalue()) is None


def test_a_session_ends_after_a_gap_or_with_the_camera() -> None:
    """Named after the camera and its first picture; images of no known time have none."""
    times = [0, 7, 16, 24]  # minutes: gaps of 7, 9 and 8
    exposures = [Exposure("A", BEGAN + timedelta(minutes=at)) for at in times]
    exposures.append(Exposure("B", BEGAN + timedelta(minutes=1)))
    records = tuple(
        ImageRecord(f"{number}.tif", 0, "0" * 64, exposure=exposure)
        for number, exposure in enumerate([*exposures, None])
    )
    found = with_sessions(Manifest(Path(), "folders", records, synthetic=False), 8.0)
    assert [record.domain for record in found] == [
        *["A 2005-09-06 09:18"] * 2, *["A 2005-09-06 09:34"] * 2, "B 2005-09-06 09:19", None,
    ]  # fmt: skip


def test_no_session_of_all_idb2_holds_both_classes() -> None:
    """Seven sessions of two cameras."""
    table = domain_table(all_idb2())
    assert table is not None
    assert table.confounded
    assert list(table.counts.values()) == [
        (0, 1), (0, 54), (0, 18), (28, 0), (21, 0), (0, 57), (81, 0),
    ]  # fmt: skip
    assert (table.noun, table.unknown) == ("session", 0)


def test_sessions_of_all_idb2_are_tested_in_four_directions() -> None:
    """Blasts of one camera against those of the other, healthy cells in two blocks of time."""
    manifest = all_idb2()
    groups = [record.path for record in manifest]
    found = []
    for seed in (0, 1):
        for fold in (1, 2):
            config = SplitConfig(kind="session", folds=2, fold=fold)
            split = make_split(manifest, groups, "", config, seed)
            counts = Counter(zip(split.parts, manifest.labels, strict=True))
            found.append((counts["test", 1], counts["test", 0]))
            domains: dict[str, set[str | None]] = {"test": set(), "valid": set(), "train": set()}
            for record, part in zip(manifest, split.parts, strict=True):
                domains[part].add(record.domain)
            assert not domains["test"] & (domains["valid"] | domains["train"])
            assert min(counts["valid", 0], counts["valid", 1]) > 5
    assert found == [(57, 81), (73, 49), (57, 49), (73, 81)]
    whole = [make_split(manifest, groups, "", SplitConfig(kind="session"), s) for s in range(4)]
    assert len({split.parts for split in whole}) == 4


def test_domains_with_both_classes_are_left_out_one_by_one() -> None:
    """A domain of one class only trains."""
    rows = [(name, label) for name in "abc" for label in (0, 1)] * 3 + [("d", 1)]
    [directions] = pairings(manifest_of(rows))
    assert directions == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("a", 0), ("b", 1), ("c", 1)], "all healthy images come from a"),
        ([("a", 0), ("a", 1), ("b", 0), ("b", 0)], "a alone holds both classes"),
        ([("a", 0), ("b", 1), ("", 1)], "1 of 3 images are of no known session"),
    ],
)
def test_domains_that_allow_no_test_are_refused(rows: Rows, reason: str) -> None:
    """With what is missing."""
    manifest = manifest_of([(name or None, label) for name, label in rows])  # type: ignore[misc]
    with pytest.raises(DataError, match=reason):
        make_split(manifest, [*"xyzw"[: len(rows)]], "", SplitConfig(kind="session"), 0)


def scanned(drawn_set: Path, folder: Path, column: str = "scanner") -> Path:
    """The drawn set as a table, every other image of each class by another scanner."""
    shutil.copytree(drawn_set, folder / "images")
    files = sorted((folder / "images").glob("*.tif"))
    with open(folder / "set.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", column, "site"])
        for number, image in enumerate(files):
            rows.writerow([f"images/{image.name}", image.stem[-1], "AB"[number // 2 % 2], "x"])
    return folder / "set.csv"


def test_a_column_names_the_domains(drawn_set: Path, tmp_path: Path) -> None:
    """The first of the known columns counts, and another one is ignored with a word."""
    manifest = load_manifest(load_config(options={"data.root": scanned(drawn_set, tmp_path)}).data)
    table = domain_table(manifest)
    assert table is not None
    assert (table.noun, sorted(table.counts)) == ("scanner", ["A", "B"])
    assert not table.confounded
    assert any("ignored column: site" in warning for warning in manifest.warnings)


def test_a_cross_validation_leaves_out_one_scanner_after_the_other(
    drawn_set: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """With no further option than --split session; the plan is printed before, the tests after."""
    words = [f"--set={key}={value}" for key, value in SMALL.items() if key != "train.epochs"]
    status, out, err = alld(
        "crossval", "--data", scanned(drawn_set, tmp_path), "--split", "session", "--epochs", "0",
        "--out", tmp_path / "cv", *words,
    )  # fmt: skip
    assert status == 0, err
    assert "tests 10 blast, 10 healthy of B; trains on 10 blast, 10 healthy" in err
    assert err.index("healthy of B") < err.index("run 1 of 2")
    assert "outside and inside, by direction" in out
    facts = json.loads((tmp_path / "cv" / "evaluation" / "metrics.json").read_text())
    assert [fold["tested"] for fold in facts["folds"]] == ["A", "B"]
    outside, fold = facts["outside"]["directions"][1], facts["folds"][1]
    assert outside["metrics"]["roc_auc"]["value"] == fold["roc_auc"]["value"]
    assert read_result(tmp_path / "cv" / "evaluation").as_dict()["outside"] == facts["outside"]
    validation = read_info(tmp_path / "cv" / "repeat-1" / "fold-2" / "model.alld").validation
    assert outside["inside"]["roc_auc"]["value"] == validation["roc_auc"]["value"]
    assert "| 1 | 2 |" in (tmp_path / "cv" / "evaluation" / "table.md").read_text()
    assert any("scanners of which no image trained" in said for said in caveats(facts))


def test_the_set_says_how_many_folds_there_are(drawn_set: Path, tmp_path: Path) -> None:
    """So --folds is refused."""
    config = load_config(options={**SMALL, "data.root": drawn_set, "split.kind": "session"})
    with pytest.raises(ConfigError, match="--folds: with --split session"):
        crossval(config, 3, out=tmp_path / "cv")
    with pytest.raises(DataError, match="of no known session"):
        crossval(config, out=tmp_path / "cv")


@pytest.mark.parametrize("confound", [0.0, 0.6, 1.0])
def test_planted_confounding_is_found_and_absent_one_is_not_claimed(confound: float) -> None:
    """What the session alone predicts, in ten plans of drawn sets of 120 images."""
    found, alone = [], []
    for seed in range(10):
        recipe = Recipe(n=120, seed=seed, confound=confound, sessions=4)
        shots = in_sessions(plan(recipe), recipe)
        records = tuple(
            ImageRecord(f"{number}.tif", shot.label, f"{number:064x}", exposure=shot.exposure)
            for number, shot in enumerate(shots)
        )
        manifest = with_sessions(Manifest(Path(), "folders", records, synthetic=True), 8.0)
        groups = [shot.group for shot in shots]
        metric, right = best_guess(manifest, groups, domain_features(manifest))
        if confound == 1:
            assert (right.k, right.n) == (len(manifest), len(manifest))
        table = domain_table(manifest)
        assert metric.ci_low is not None
        assert table is not None
        assert len(table.counts) == 4
        found.append(metric.ci_low > 0.5)
        alone.append(table.confounded)
    assert found == [confound > 0] * 10
    assert alone == [confound == 1] * 10


def test_drawn_images_have_the_camera_and_time_of_their_session(tmp_path: Path) -> None:
    """As read from their EXIF; without sessions they have none."""
    draw_set(tmp_path / "drawn", Recipe(n=20, confound=1.0, sessions=4))
    manifest = load_manifest(load_config(options={"data.root": tmp_path / "drawn"}).data)
    table = domain_table(manifest)
    assert table is not None
    assert table.confounded
    assert manifest.synthetic
    with open(tmp_path / "drawn" / "truth.csv", newline="") as file:
        truth = {row["path"]: row for row in csv.DictReader(file)}
    for record in manifest:
        assert record.exposure is not None
        row = truth[record.path]
        assert (record.exposure.camera, record.exposure.taken.isoformat()) == (
            row["camera"], row["taken"],
        )  # fmt: skip
    with pytest.raises(ConfigError, match="--sessions 3"):
        draw_set(tmp_path / "odd", Recipe(n=20, sessions=3))


def with_data(facts: dict[str, object], **changed: object) -> dict[str, object]:
    return {**facts, "data": {**facts["data"], **changed}}  # type: ignore[dict-item]


def test_a_confounded_set_is_called_so_wherever_its_numbers_are(run_folder: Path) -> None:
    """In what a reader must know before quoting one; a test of other sessions says that it is."""
    facts = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    assert not any("holds one class alone" in said for said in caveats(facts))
    table = domain_table(all_idb2())
    assert table is not None
    told = caveats(with_data(facts, domains=table.as_dict()))
    assert any("no evidence that the disease was learnt" in said for said in told)
    other = {"split": "session", "tested_domains": ["C2500L 2004-04-21 16:19"]}
    told = caveats(with_data(facts, domains=table.as_dict(), **other))
    assert any("trained the model (C2500L 2004-04-21 16:19). Each" in said for said in told)
    assert not any("no evidence" in said for said in told)
    assert any("7 sessions (by camera and time) holds one class" in said for said in told)


def test_every_crop_of_the_real_set_lies_in_its_field(real_set: Path) -> None:
    """To the bit where the table says so; a sample of them, as fields are large."""
    if not (real_set.parent / "all_idb1").is_dir():
        pytest.skip("the real ALL-IDB1 is not beside ALL-IDB2")
    for crop in known_crops()[::26]:
        field = real_set.parent / "all_idb1" / f"{crop.field}.jpg"
        pixels = decode(field.read_bytes(), field.name).pixels
        own = decode((real_set / crop.name).read_bytes(), crop.name).pixels
        height, width = own.shape[:2]
        assert (pixels[crop.y : crop.y + height, crop.x : crop.x + width] == own).all()
        assert exposure_of(field.read_bytes()) == crop.exposure


def test_several_sets_are_domains(
    drawn_set: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """Where --data is given twice, and for `alld audit A B`."""
    for lab, part in (("lab1", slice(0, 20, 2)), ("lab2", slice(1, 20, 2))):
        for label in "01":
            home = tmp_path / lab / ("healthy", "blast")[int(label)]
            home.mkdir(parents=True)
            for file in sorted(drawn_set.glob(f"*_{label}.tif"))[part]:
                shutil.copy(file, home / f"cell{file.stem[:5]}.tif")
    config = load_config(options={"data.root": tmp_path / "lab1", "data.more": [tmp_path / "lab2"]})
    manifest = load_manifest(config.data)
    table = domain_table(manifest)
    assert table is not None
    assert (table.noun, dict(table.counts)) == ("set", {"lab1": (10, 10), "lab2": (10, 10)})
    assert manifest.records[0].path.startswith("lab1/blast/cell")
    status, out, err = alld("audit", tmp_path / "lab1", tmp_path / "lab2", "--out", tmp_path / "a")
    assert status == 0, err
    assert "lab2" in out

    status, _, err = alld(
        "train", "--data", tmp_path / "lab1", "--data", tmp_path / "lab2", "--split", "session",
        "--out", tmp_path / "run", *(f"--set={key}={value}" for key, value in SMALL.items()),
    )  # fmt: skip
    assert status == 0, err
    assert alld("evaluate", tmp_path / "run", "--no-heat-maps")[0] == 0
    facts = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert facts["data"]["tested_domains"] in (["lab1"], ["lab2"])


def test_an_image_of_two_sets_is_refused(drawn_set: Path) -> None:
    """It would count twice, and be tested by what it trained."""
    config = load_config(options={"data.root": drawn_set, "data.more": [drawn_set]})
    with pytest.raises(DataError, match="is listed more than once"):
        load_manifest(config.data)


def test_patients_of_two_sets_are_two(drawn_set: Path, tmp_path: Path) -> None:
    """Each laboratory has a patient 1; they would be one group, and on one side of every split."""
    images = iter(sorted(drawn_set.glob("*.tif")))
    for lab in ("lab1", "lab2"):
        for kind in ("blast", "healthy"):
            (home := tmp_path / lab / kind / "patient 1").mkdir(parents=True)
            shutil.copy(next(images), home / "cell.tif")
    config = load_config(options={"data.root": tmp_path / "lab1", "data.more": [tmp_path / "lab2"]})
    manifest = load_manifest(config.data)
    assert set(manifest.patients) == {"lab1: patient 1", "lab2: patient 1"}
    assert all(manifest.file(number).is_file() for number in range(len(manifest)))


def test_a_run_goes_on_that_began_before_there_were_sessions() -> None:
    """Its checkpoint lacks the settings; whatever they decide is in the split and its hash."""
    now = load_config().model_dump(mode="json")
    then = {
        **now,
        "data": {k: v for k, v in now["data"].items() if k not in ("more", "session_gap")},
    }
    assert differences({"config": then}, {"config": now}) == []
