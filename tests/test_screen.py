"""`alld screen`: fields to cells, verdicts and shares, each file it writes, and what it refuses."""

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from conftest import Answer
from numpy.typing import NDArray
from pages import Page, fact, shows
from PIL import Image
from untrained import write_untrained

from alld import NOTICE
from alld.errors import DataError
from alld.images.decode import decode
from alld.images.rgb import pixels_hash
from alld.screen.gallery import MOST, choose
from alld.screen.records import Cell, Field, as_line, parse_line
from alld.screen.sources import read_fields
from alld.stats.shares import corrected_share
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe

Rows = list[dict[str, str]]
SHAPE = (620, 900)  # px
SIDE = 257


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small fields of two samples. Read only."""
    folder = tmp_path_factory.mktemp("fields") / "set"
    draw_fields(folder, Recipe(n=6, seed=2), shape=SHAPE)
    return folder


@pytest.fixture(scope="module")
def screened(fields: Path, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those fields, screened by random weights. Read only."""
    from alld.cli import run_command

    out = tmp_path_factory.mktemp("screens") / "first"
    words = ["screen", str(fields), "--model", str(untrained), "--out", str(out)]
    assert run_command(words) == 0
    return out


def table(folder: Path, name: str) -> Rows:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(file: str) -> NDArray[np.uint8]:
    return decode(Path(file).read_bytes(), file).pixels


def test_the_cells_of_the_drawn_fields_are_found(fields: Path, screened: Path) -> None:
    """Nine in ten of the whole white cells have a white cell within half their width."""
    found = [row for row in table(screened, "cells.csv") if row["kind"] == "white cell"]
    whole = [row for row in table(fields, "truth.csv") if row["at_border"] == "0"]
    hits = 0
    for row in whole:
        near = (r for r in found if r["field"].endswith(row["field"]))
        reach = (float(row["width"]) + float(row["height"])) / 4
        away = [
            np.hypot(float(r["x"]) - float(row["x"]), float(r["y"]) - float(row["y"])) for r in near
        ]
        hits += bool(away) and min(away) < reach
    assert hits >= 0.9 * len(whole)


def test_a_crop_is_a_square_of_the_field_as_it_is(screened: Path) -> None:
    """The hash of the pixels that were predicted is that of the field's own pixels there."""
    rows = [row for row in table(screened, "cells.csv") if row["verdict"]]
    assert rows
    for row in rows[::5]:
        top, left = (round(float(row[name])) - SIDE // 2 for name in ("y", "x"))
        own = pixels(row["field"])[max(0, top) : top + SIDE, max(0, left) : left + SIDE]
        assert row["pixels_sha256"] == pixels_hash(np.ascontiguousarray(own))


def test_only_white_cells_inside_the_field_have_a_verdict(screened: Path) -> None:
    """Whatever else was found has a reason in place of one."""
    rows = table(screened, "cells.csv")
    for row in rows:
        inside = row["kind"] == "white cell" and row["at_border"] == "0"
        assert bool(row["verdict"]) == bool(row["probability"]) == inside
        if not inside:
            expected = "cut by the border" if row["kind"] == "white cell" else row["kind"]
            assert row["reason"] == expected


def test_the_counts_of_fields_and_samples_are_those_of_their_cells(screened: Path) -> None:
    """Each is counted again from `cells.csv`."""
    cells = table(screened, "cells.csv")
    for name, key in (("fields.csv", "field"), ("samples.csv", "sample")):
        for row in table(screened, name):
            own = [cell for cell in cells if cell[key] == row[key]]
            white = [cell for cell in own if cell["kind"] == "white cell"]
            verdicts = Counter(cell["verdict"] for cell in white)
            assert int(row["white_cells"]) == len(white)
            assert int(row["blast"]) == verdicts["blast"]
            assert int(row["healthy"]) == verdicts["healthy"]
            assert int(row["judged"]) == verdicts["blast"] + verdicts["healthy"]
            assert int(row["at_border"]) == sum(cell["at_border"] == "1" for cell in white)
            assert int(row["platelets"]) == sum(cell["kind"] == "platelet" for cell in own)
    for row in table(screened, "samples.csv"):
        assert float(row["share_value"]) == int(row["blast"]) / int(row["judged"])


def test_a_folder_is_a_sample(screened: Path) -> None:
    """The first four drawn fields are of the first one."""
    fields = {row["sample"]: row["fields"] for row in table(screened, "samples.csv")}
    assert fields == {"sample-01": "4", "sample-02": "2"}


def test_geojson_has_the_form_that_qupath_reads(screened: Path) -> None:
    """Detections with a UUID, a class with a colour, and closed counterclockwise rings inside."""
    files = sorted((screened / "geojson").glob("*.geojson"))
    cells = table(screened, "cells.csv")
    known = [json.loads(file.read_text()) for file in files]
    assert sum(len(one["features"]) for one in known) == len(cells)
    features = [feature for one in known for feature in one["features"]]
    assert {one["type"] for one in known} == {"FeatureCollection"}
    assert len({UUID(feature["id"]) for feature in features}) == len(features)
    for feature, cell in zip(features, cells, strict=True):
        properties = feature["properties"]
        assert (feature["type"], properties["objectType"]) == ("Feature", "detection")
        assert properties["classification"]["name"] == (cell["verdict"] or cell["reason"])
        assert all(0 <= v <= 255 for v in properties["classification"]["color"])
        if cell["probability"]:
            assert properties["measurements"] == {"P(blast)": float(cell["probability"])}
        assert feature["geometry"]["type"] == "Polygon"
        [ring] = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        x, y = np.array(ring).T
        assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0
        assert x.min() >= -1
        assert y.min() >= -1
        assert x.max() <= SHAPE[1] + 1
        assert y.max() <= SHAPE[0] + 1


def test_coco_lists_the_same_cells(screened: Path) -> None:
    """Boxes are the left upper corner and the size; ids lead to images and categories."""
    coco = json.loads((screened / "coco.json").read_text())
    assert "SYNTHETIC" in coco["info"]["description"]
    images = {one["id"]: one["file_name"] for one in coco["images"]}
    names = {one["id"]: one["name"] for one in coco["categories"]}
    cells = table(screened, "cells.csv")
    assert len(coco["annotations"]) == len(cells)
    for one, cell in zip(coco["annotations"], cells, strict=True):
        assert images[one["image_id"]] == cell["field"]
        assert names[one["category_id"]] == (cell["verdict"] or cell["reason"])
        left, top, width, height = one["bbox"]
        assert left + width / 2 == pytest.approx(float(cell["x"]), abs=0.2)
        assert top + height / 2 == pytest.approx(float(cell["y"]), abs=0.2)
        assert one["area"] > 0
        assert len(one["segmentation"][0]) >= 6


def test_parquet_holds_the_rows_of_the_csv(screened: Path) -> None:
    """With numbers as numbers, and the notice."""
    parquet = pytest.importorskip("pyarrow.parquet")
    found = parquet.read_table(screened / "cells.parquet")
    cells = table(screened, "cells.csv")
    assert found.column_names == list(cells[0])
    assert found.schema.metadata[b"notice"].decode() == NOTICE
    for row, cell in zip(found.to_pylist(), cells, strict=True):
        assert row["x"] == float(cell["x"])
        assert (row["verdict"] or "") == cell["verdict"]


def test_every_number_of_the_report_is_one_of_the_screening(screened: Path) -> None:
    """Of each sample it is in `samples.csv`; those of the pictures are in `cells.csv`."""
    facts = json.loads((screened / "screen.json").read_text())
    page = Page((screened / "report.html").read_text())
    samples, cells = table(screened, "samples.csv"), table(screened, "cells.csv")
    probabilities = {row["probability"] for row in cells}
    assert len(page.marked) > 50
    for marked in page.marked:
        value = fact(facts, marked.field)
        low = marked.field.endswith("ci_low")
        assert shows(marked.text, value, low=low) or marked.text.startswith(("<", ">")), marked
        keys = marked.field.split(".")
        if keys[0] == "samples" and keys[2] in ("classified", "left_out"):
            assert keys[-1] != "probability" or json.dumps(value) in probabilities
        elif keys[0] == "samples":
            assert samples[int(keys[1])]["_".join(keys[2:])] == str(value)


def test_the_report_shows_each_classified_cell_in_the_order_of_p_blast(screened: Path) -> None:
    """A picture for each cell of the gallery; the notice stands on every sample's page."""
    facts = json.loads((screened / "screen.json").read_text())
    for sample in facts["samples"]:
        shown = [cell["probability"] for cell in sample["classified"]]
        assert shown == sorted(shown, reverse=True)
        assert len(shown) == min(MOST, sample["judged"] + sample["uncertain"])
        assert all(cell["verdict"] for cell in sample["left_out"])
    page = Page((screened / "report.html").read_text())
    pictures = sum(len(s["classified"]) + len(s["left_out"]) for s in facts["samples"])
    assert len(page.values("src", "img")) == pictures
    assert page.text.count(NOTICE) == page.text.count("SYNTHETIC: the fields") == 2


def test_everything_says_that_it_is_drawn_and_for_research(screened: Path) -> None:
    """The facts, and each overlay, which also has the field's own pixels above its foot."""
    facts = json.loads((screened / "screen.json").read_text())
    assert (facts["synthetic"], facts["notice"]) == (True, NOTICE)
    assert {row["synthetic"] for row in table(screened, "fields.csv")} == {"1"}
    for row in table(screened, "fields.csv"):
        overlay = np.asarray(Image.open(screened / row["overlay"]))
        field = pixels(row["field"])
        assert overlay.shape[1] == field.shape[1]
        assert np.median(np.abs(overlay[: SHAPE[0]].astype(int) - field)) < 6
        assert overlay[SHAPE[0] :].mean() > 200


def test_a_sample_has_a_page_of_a4(screened: Path, tmp_path: Path) -> None:
    """Chromium prints as many pages as there are samples."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, [os.environ.get("ALLD_CHROMIUM"), *map(shutil.which, names)]), None)
    if found is None:
        pytest.skip("no Chromium on this machine (apt install chromium, or ALLD_CHROMIUM)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        page = browser.new_page()
        page.goto((screened / "report.html").as_uri())
        printed = page.pdf(prefer_css_page_size=True)
        browser.close()
    assert printed.count(b"/Type /Page\n") == 2


def test_two_processes_and_an_interruption_give_the_same_files(
    fields: Path, untrained: Path, screened: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """Stopped after the first shard, and continued by two processes."""
    from alld.commands.archive import Pace
    from alld.inference.archives import engines

    words = ["screen", fields, "--model", untrained, "--out", tmp_path / "second"]

    def stop(self: Pace, now: int, before: int, total: int) -> None:
        if now > 4:
            raise KeyboardInterrupt

    engines._loaded.cache_clear()  # loading sets the threads, on which last digits depend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "__call__", stop)
        assert alld(*words)[0] == 130
    assert not (tmp_path / "second").exists()
    status, _, said = alld(*words, "--workers", "2")
    assert (status, "4 of 6 fields are done already" in said) == (0, True)
    for name in ("cells.csv", "fields.csv", "samples.csv", "coco.json"):
        assert (tmp_path / "second" / name).read_bytes() == (screened / name).read_bytes()
    assert not (tmp_path / "second.parts").exists()


def test_what_is_no_field_is_a_row_with_its_reason(
    fields: Path, drawn_set: Path, untrained: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """A crop, a text, an empty file, half a JPEG; a field without a cell is read."""
    good = next(fields.rglob("*.jpg"))
    place = tmp_path / "case"
    place.mkdir()
    shutil.copy(good, place / "good.jpg")
    shutil.copy(drawn_set / "Im001_1.tif", place / "crop.tif")
    (place / "text.jpg").write_text("no picture")
    (place / "empty.png").touch()
    (place / "half.jpg").write_bytes(good.read_bytes()[:40_000])
    Image.new("RGB", (900, 600), (220, 215, 210)).save(place / "blank.png")
    status, _, said = alld("screen", place, "--model", untrained, "--out", tmp_path / "out")
    assert status == 1
    rows = {Path(row["field"]).name: row for row in table(tmp_path / "out", "fields.csv")}
    reasons = {"crop.tif": "picture of one cell", "text.jpg": "text, not a TIFF", "half.jpg": ""}
    reasons["empty.png"] = "an empty file"
    for name, reason in reasons.items():
        assert reason in rows[name]["error"]
        assert rows[name]["error"]
        assert rows[name]["white_cells"] == rows[name]["overlay"] == ""
        assert rows[name]["error"] in said
    assert (rows["blank.png"]["error"], rows["blank.png"]["white_cells"]) == ("", "0")
    assert int(rows["good.jpg"]["white_cells"]) > 0
    [sample] = table(tmp_path / "out", "samples.csv")
    assert (sample["sample"], sample["fields"], sample["failed"]) == ("case", "6", "4")


def test_a_sample_without_a_cell_has_no_share(
    untrained: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """And says why, on the page too."""
    Image.new("RGB", (900, 600), (220, 215, 210)).save(tmp_path / "blank.png")
    words = [tmp_path / "blank.png", "--model", untrained, "--out", tmp_path / "out"]
    status, shown, _ = alld("screen", *words)
    assert status == 0
    reason = "no cell was called blast or healthy"
    assert f"undefined ({reason})" in shown
    [sample] = table(tmp_path / "out", "samples.csv")
    assert (sample["share_value"], sample["share_reason"]) == ("", reason)
    assert reason in Page((tmp_path / "out" / "report.html").read_text()).text


def test_crops_are_as_large_as_those_of_the_training(
    fields: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """A model that was trained on fields says so; --crop overrules it."""
    model = write_untrained(tmp_path / "model.alld", crop=90)
    field = next(fields.rglob("*.jpg"))
    for words, side in (([], 90), (["--crop", "120"], 120)):
        out = tmp_path / f"out{side}"
        status, shown, _ = alld("screen", field, "--model", model, "--out", out, "--json", *words)
        assert status == 0
        assert json.loads(shown)["crop"] == {"side": side, "trained": 90}


def test_a_place_that_is_taken_or_closed_is_refused_before_the_work(
    fields: Path, untrained: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """A screening replaces nothing."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    for name in ("full", "full/mine.txt"):
        out = tmp_path / name
        status, _, said = alld("screen", fields, "--model", untrained, "--out", out)
        assert (status, "not an empty folder" in said) == (2, True)
    status, _, said = alld("screen", tmp_path / "none", "--model", untrained)
    assert (status, "no field or folder of that name" in said) == (2, True)
    assert not (tmp_path / "none").exists()


def test_error_rates_of_an_evaluation_correct_the_share(
    fields: Path, run_folder: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """By the formula, from the counts of `samples.csv` and the rates in `metrics.json`."""
    words = ["screen", fields, "--model", run_folder, "--no-abstain", "--json"]
    status, shown, _ = alld(*words, "--out", tmp_path / "out", "--error-rates", run_folder)
    assert status == 0
    facts = json.loads(shown)
    metrics = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    kept = metrics["abstention"]
    for name in ("sensitivity", "specificity"):
        rates = (
            kept[f"kept_{name}"] if facts["error_rates"]["answered"] else metrics["metrics"][name]
        )
        assert facts["error_rates"][name]["k"] == rates["k"]
        assert facts["error_rates"][name]["n"] == rates["n"]
    rows = table(tmp_path / "out", "fields.csv")
    for sample in facts["samples"]:
        own = [row for row in rows if row["sample"] == sample["sample"]]
        blasts, judged = ([int(row[name]) for row in own] for name in ("blast", "judged"))
        pairs = [
            (facts["error_rates"][name]["k"], facts["error_rates"][name]["n"])
            for name in ("sensitivity", "specificity")
        ]
        assert sample["corrected"] == corrected_share(blasts, judged, *pairs).as_dict()


def test_error_rates_of_another_model_or_of_none_are_refused(
    fields: Path, run_folder: Path, untrained: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """They would correct by errors that this model does not make."""
    words = ["screen", fields, "--model", untrained, "--out", tmp_path / "out"]
    status, _, said = alld(*words, "--error-rates", run_folder)
    assert (status, "evaluate the model that screens" in said) == (2, True)
    for place in (tmp_path, tmp_path / "none"):
        status, _, said = alld(*words, "--error-rates", place)
        assert (status, "name an evaluation" in said) == (2, True)
    assert not (tmp_path / "out").exists()


def test_a_table_names_samples(fields: Path, tmp_path: Path) -> None:
    """Paths are relative to the table; fields of one folder may be of two samples."""
    names = sorted(str(file.relative_to(fields)) for file in fields.rglob("*.jpg"))[:3]
    lines = [f"../set/{name},patient {n % 2}" for n, name in enumerate(names)]
    tables = fields.parent / "tables"
    tables.mkdir(exist_ok=True)
    file = tables / "fields.csv"
    file.write_text("path,sample\n" + "\n".join(lines) + "\n")
    found = read_fields([str(file)])
    assert found.samples == ("patient 0", "patient 1", "patient 0")
    assert all(path.is_file() for path in found.files)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,sample\na.jpg,\n", "line 2: no sample"),
        ("path,sample\n,p\n", "line 2: no path"),
        ("name,sample\na.jpg,p\n", "needs the column path"),
        ("path,sample\n", "has no rows"),
        ("path,sample\na.jpg,p\na.jpg,q\n", "of two samples, p and q"),
    ],
)
def test_a_table_that_leaves_a_sample_open_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    """Nothing is guessed."""
    (tmp_path / "fields.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_fields([str(tmp_path / "fields.csv")])


def test_folders_of_one_name_are_different_samples(tmp_path: Path) -> None:
    """The folders above tell them apart; a single folder is called by its own name."""
    for name in ("a/slide", "b/slide"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name / "one.png")
    found = read_fields([str(tmp_path / "a"), str(tmp_path / "b")])
    assert found.samples == ("a/slide", "b/slide")
    assert read_fields([str(tmp_path / "a" / "slide")]).samples == ("slide",)


def test_a_gallery_that_is_too_small_shows_the_whole_range() -> None:
    """Evenly spaced ranks, with the highest and the lowest P(blast)."""
    cells = tuple(Cell(n, 0, 9, 9, (), "white cell", False, "healthy", n / 100) for n in range(100))
    [shown] = choose([Field("f", None, cells=cells)], ["s"]).classified.values()
    assert len(shown) == MOST
    assert (shown[0], shown[-1]) == ((0, 99), (0, 0))
    assert {a[1] - b[1] for a, b in pairwise(shown)} == {2, 3}


def test_a_line_of_a_part_is_read_as_it_was_written() -> None:
    """With every fact of a cell."""
    cell = Cell(
        1.5, 2, 3, 4, ((0.0, 1.0), (2.0, 3.5)), "white cell", False, "blast", 0.75, "r", "h"
    )
    field = Field("f.jpg", "s", 10, 20, 9.5, True, ("note",), (cell,), None)
    assert parse_line(as_line(field, {"overlay": "x"})) == (field, {"overlay": "x"})
