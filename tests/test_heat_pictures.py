"""`predict --explain`: a picture for each image, under a safe name, with captions."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ARCH, Answer
from PIL import Image, ImageDraw
from untrained import write_untrained

from alld import NOTICE
from alld.images.lettering import font, wrapped
from alld.inference import heat_pictures
from alld.inference.heat_pictures import PANEL, safe_name
from alld.inference.prediction import EXPLAINED, shown
from alld.inference.predictor import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("explain") / "model", 96)


@pytest.fixture
def cells(drawn_set: Path, tmp_path: Path) -> Path:
    """Two cells of one name in two folders."""
    for folder, name in (("one", "Im001_1.tif"), ("two", "Im021_0.tif")):
        (tmp_path / "cells" / folder).mkdir(parents=True)
        shutil.copy(drawn_set / name, tmp_path / "cells" / folder / "cell.tif")
    return tmp_path / "cells"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def noted(self: ImageDraw.ImageDraw, xy: Any, text: str, *more: Any, **options: Any) -> None:
        texts.append(text)
        draw(self, xy, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    return texts


def test_images_of_one_name_have_a_picture_each(
    alld: Callable[..., Answer], model: Path, cells: Path, tmp_path: Path
) -> None:
    """The image is on the left, its map on the right; the rows name them; no other file is left."""
    maps = tmp_path / "maps"
    status, out, err = alld("predict", cells, "--model", model, "--explain", maps, "--json")
    assert status == 0
    rows = json.loads(out)["predictions"]
    named = [Path(row["heat_map"]) for row in rows]
    assert {*named, maps / "overview.png"} == set(maps.iterdir())
    assert len(list(maps.iterdir())) == 3
    assert f"heat maps: {maps}" in err
    with Image.open(named[0]) as picture, Image.open(rows[0]["path"]) as image:
        pixels = np.asarray(picture).astype(int)
        shown = image.convert("RGB").resize((PANEL, PANEL), Image.Resampling.BILINEAR)
    high = slice(heat_pictures.HEAD, heat_pictures.HEAD + PANEL)
    left, right = pixels[high, 16 : 16 + PANEL], pixels[high, 32 + PANEL : 32 + 2 * PANEL]
    assert np.array_equal(left, np.asarray(shown))
    assert np.ptp(right, axis=2).max() > 50
    assert not np.array_equal(left, right)


def test_a_picture_names_the_prediction_and_the_model(
    alld: Callable[..., Answer], model: Path, drawn_set: Path, tmp_path: Path, written: list[str]
) -> None:
    """Verdict, probability, threshold, model, orientations, SYNTHETIC and the notice."""
    words = ("--model", model, "--explain", tmp_path / "maps", "--tta", "--json")
    _, out, _ = alld("predict", drawn_set / "Im001_1.tif", *words)
    [row] = json.loads(out)["predictions"]
    text = "\n".join(written)
    for part in (
        f"SYNTHETIC   {row['verdict']}   P(blast) {shown(row['probability'])}, threshold 0.5",
        f"{ARCH}, model {row['model'][:12]}",
        "mean of eight orientations",
        "set/Im001_1.tif",
        "for blast",
        "for healthy",
        NOTICE,
    ):
        assert part in text
    assert str(drawn_set) not in text


def test_a_long_reason_is_broken_not_cut() -> None:
    """Every word is there, and no line is wider than the picture."""
    reason = "P(blast) between 0.024 and 0.98: in this range about 1 in 5 verdicts is wrong"
    lines = wrapped(reason, 200, 14)
    assert " ".join(lines) == reason
    assert len(lines) > 2
    assert all(font(14).getlength(line) <= 200 for line in lines)


def test_a_photograph_is_not_called_synthetic(
    alld: Callable[..., Answer], drawn_set: Path, tmp_path: Path, written: list[str]
) -> None:
    """By a model of photographs: only the drawn image of the two is, and the overview of both."""
    model = write_untrained(tmp_path / "model", 96, synthetic=False)
    with Image.open(drawn_set / "Im001_1.tif") as image:
        Image.fromarray(np.asarray(image)).save(tmp_path / "photograph.png")
    files = (tmp_path / "photograph.png", drawn_set / "Im001_1.tif")
    alld("predict", *files, "--model", model, "--explain", tmp_path / "maps")
    titles = [text for text in written if "threshold" in text]
    assert sorted(title.startswith("SYNTHETIC") for title in titles) == [False, True]
    assert sum("SYNTHETIC" in text for text in written) == 2


HOSTILE = "=<b>\n..\x1b[31m\u202e$\\frac{,'\" " + "ü" * 90


def test_no_name_leaves_the_folder_or_steers_a_terminal(
    alld: Callable[..., Answer], model: Path, drawn_set: Path, tmp_path: Path, written: list[str]
) -> None:
    """Of markup, line breaks, formulas and long names only letters and digits are left."""
    (tmp_path / "cells").mkdir()
    name = f"{HOSTILE}.tif"
    try:
        shutil.copy(drawn_set / "Im001_1.tif", tmp_path / "cells" / name)
    except OSError:
        pytest.skip("this file system has no such names")
    maps, rows = tmp_path / "maps", tmp_path / "rows.csv"
    words = ("--model", model, "--explain", maps, "--out", rows)
    assert alld("predict", tmp_path / "cells", *words)[0] == 0
    [picture] = maps.iterdir()
    assert picture.name.isprintable()
    assert len(picture.name.encode()) < 255
    assert all(text.isprintable() for text in written)
    with rows.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert list(row) == list(EXPLAINED)
    assert row["heat_map"] == str(picture)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Im001_1", "Im001_1"),
        ("../../etc/passwd", "etc_passwd"),
        ("a\nb\x00c", "a_b_c"),
        ("Zelle ä", "Zelle_ä"),
        (".hidden", "hidden"),
        ("\udcff\u202e", "image"),
        ("=1+1", "1_1"),
        ("x" * 300, "x" * 48),
    ],
)
def test_names_become_safe(name: str, safe: str) -> None:
    """A path, a terminal and a spreadsheet take the result for nothing but a name."""
    assert safe_name(name) == safe


def test_copies_of_one_file_have_a_picture_each(
    alld: Callable[..., Answer], model: Path, cells: Path, tmp_path: Path
) -> None:
    """Again they have the same names; an unreadable file has none, and its row says why."""
    shutil.copy(cells / "one" / "cell.tif", cells / "two" / "cell.tif")
    (cells / "two" / "text.tif").write_text("no picture")
    found = []
    for _ in range(2):
        words = ("--model", model, "--explain", tmp_path / "maps", "--json")
        status, out, _ = alld("predict", cells, *words)
        rows = json.loads(out)["predictions"]
        assert status == 1
        assert [row["error"] is None for row in rows] == [True, True, False]
        found.append([row["heat_map"] for row in rows])
    assert len(set(found[0])) == 3
    assert found[0][2] is None
    assert found[0] == found[1]


def test_a_file_that_changed_is_not_drawn(model: Path, drawn_set: Path, tmp_path: Path) -> None:
    """A map of another picture than the predicted one would be wrong: a note says so."""
    file = tmp_path / "cell.tif"
    shutil.copy(drawn_set / "Im001_1.tif", file)
    predictor = Predictor.load(model, "cpu")
    [prediction] = predictor.predict([file])
    shutil.copy(drawn_set / "Im002_1.tif", file)
    [passed] = heat_pictures.draw_all([prediction], tmp_path / "maps", predictor)
    assert passed.heat_map is None
    assert "no heat map" in passed.notes[-1]
    assert "changed since it was classified" in passed.notes[-1]
    assert not (tmp_path / "maps").exists()


def test_many_images_have_several_overviews(
    model: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many a sheet, so many sheets at most; one image alone has none."""
    monkeypatch.setattr(heat_pictures, "COLUMNS", 2)
    monkeypatch.setattr(heat_pictures, "ROWS", 1)
    monkeypatch.setattr(heat_pictures, "MAX_OVERVIEWS", 2)
    predictor = Predictor.load(model, "cpu")
    predictions = predictor.predict(sorted(drawn_set.glob("*.tif"))[:5])
    for count, sheets in ((1, 0), (2, 1), (3, 2), (5, 2)):
        maps = tmp_path / str(count)
        assert len(list(heat_pictures.draw_all(predictions[:count], maps, predictor))) == count
        assert len(list(maps.glob("overview*.png"))) == sheets
        assert len(list(maps.iterdir())) == count + sheets


@pytest.mark.parametrize("place", ["cells", "cells/maps", "cells/one", "file"])
def test_heat_maps_do_not_lie_among_the_images(
    alld: Callable[..., Answer], model: Path, cells: Path, tmp_path: Path, place: str
) -> None:
    """The next prediction would take them for cells; and a file is no folder."""
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    named = str(cells / "one" / "*.tif") if place == "cells/one" else str(cells)
    status, _, err = alld("predict", named, "--model", model, "--explain", tmp_path / place)
    assert status == 2
    assert "is a file" in err if place == "file" else "for cells" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_without_maps_is_one_line(
    alld: Callable[..., Answer], run_folder: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """At 32 px there is one place: status 2, what to do, and no folder."""
    words = ("--model", run_folder, "--explain", tmp_path / "maps")
    status, _, err = alld("predict", drawn_set / "Im001_1.tif", *words)
    assert status == 2
    assert "1 x 1 cells" in err
    assert "larger data.image_size" in err
    assert not (tmp_path / "maps").exists()


def test_a_plain_prediction_imports_neither_captum_nor_matplotlib(
    model: Path, drawn_set: Path
) -> None:
    """Who does not ask for explanations does not wait for their libraries."""
    words = ["predict", str(drawn_set / "Im001_1.tif"), "--model", str(model)]
    code = (
        f"import sys; from alld.cli import run_command; run_command({words!r});"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "P(blast)" in done.stdout
    loaded = {name.split(".")[0] for name in done.stderr.splitlines()}
    assert "torch" in loaded
    assert not loaded & {"captum", "matplotlib", "fastai", "sklearn"}
