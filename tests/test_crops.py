"""Crops around points of fields, and the table about them."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image

from alld.cells.crops import cut
from alld.config.files import load_config
from alld.data.crops import corner, read_centres, read_points, write_crops
from alld.data.sources.find import load_manifest
from alld.errors import DataError
from alld.images.decode import is_synthetic
from alld.synthetic.fields import TRUTH, draw_fields
from alld.synthetic.plan import Recipe


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small drawn fields of two samples and sessions, with their `.xyc` files. Read only."""
    folder = tmp_path_factory.mktemp("fields") / "set"
    draw_fields(folder, Recipe(n=6, seed=4, sessions=4, confound=1), shape=(300, 400))
    return folder


def test_a_crop_is_centred_and_ends_at_the_border() -> None:
    """As in ALL-IDB2, whose crops at the border are smaller."""
    field = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    crop, (left, top) = cut(field, 10, 8, 5), corner(field, 10, 8, 5)
    assert (left, top, crop.shape) == (8, 6, (5, 5, 3))
    assert (crop == field[6:11, 8:13]).all()
    crop, (left, top) = cut(field, 1, 19, 5), corner(field, 1, 19, 5)
    assert (left, top, crop.shape) == (0, 17, (3, 4, 3))
    with pytest.raises(DataError, match="the point 30, 2 lies outside the field of 30 x 20 px"):
        corner(field, 30, 2, 5)


def test_the_table_of_crops_can_be_trained_on(fields: Path, tmp_path: Path) -> None:
    """It has labels, patients, fields and the sessions of the EXIF, and says SYNTHETIC."""
    points = read_points(fields / TRUTH)
    assert write_crops(points, tmp_path / "crops", side=96) == len(points)
    manifest = load_manifest(load_config(options={"data.root": tmp_path / "crops/table.csv"}).data)
    assert manifest.synthetic
    assert not manifest.warnings
    with open(fields / TRUTH, newline="") as file:
        truth = list(csv.DictReader(file))
    assert sorted(r["label"] for r in truth) == sorted(
        ("healthy", "blast")[label] for label in manifest.labels
    )
    assert {record.patient for record in manifest} == {row["sample"] for row in truth}
    assert {record.field for record in manifest} == {row["field"] for row in truth}
    assert manifest.domains_source == "column session"
    first = manifest.records[0]
    pixels = np.asarray(Image.open(manifest.file(0)))
    with open(tmp_path / "crops" / "table.csv", newline="") as file:
        row = next(csv.DictReader(file))
    field = np.asarray(Image.open(fields / str(first.field)))
    x, y = int(row["x"]), int(row["y"])
    assert (pixels == field[y : y + pixels.shape[0], x : x + pixels.shape[1]]).all()


def test_the_script_takes_the_centres_beside_fields(fields: Path, tmp_path: Path) -> None:
    """Those of ALL-IDB1; a second call does not write over the first."""
    script = REPOSITORY / "scripts" / "cut_crops.py"
    words = [sys.executable, str(script), str(fields), "--out", str(tmp_path / "crops")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    blasts = read_centres(fields)
    assert done.stdout.startswith(f"{len(blasts)} crops")
    files = sorted((tmp_path / "crops").rglob("*.png"))
    assert len(files) == len(blasts)
    assert is_synthetic(files[0].read_bytes())
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "is not an empty folder" in again.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("field,x\na.png,1\n", "needs rows with the columns field,x,y; found field,x"),
        ("field,x,y\na.png,1,far\n", "line 2: expected x and y in pixels, found '1 far'"),
    ],
)
def test_a_table_that_names_no_points_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    """With the line."""
    (tmp_path / "points.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_points(tmp_path / "points.csv")
