"""Training from whole fields: each form of marks, the crops, their groups, and what is refused."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, Answer
from numpy.typing import NDArray
from PIL import Image

from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import BLAST, HEALTHY, Manifest
from alld.data.sources.find import load_manifest
from alld.errors import DataError
from alld.images.decode import decode
from alld.model.bundle import read_info
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe

SHAPE = (620, 900)
SIDE = 120
CELLS = ((100.0, 200.0, "blast"), (400.0, 300.0, "healthy"), (30.0, 40.0, "platelet"))


@pytest.fixture(scope="module")
def drawn_fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small drawn fields of two samples in four sessions. Read only."""
    folder = tmp_path_factory.mktemp("fields") / "set"
    draw_fields(folder, Recipe(n=8, seed=2, sessions=4), shape=SHAPE)
    return folder


@pytest.fixture
def one_field(tmp_path: Path) -> Path:
    """A folder with one field of noise, 600 x 500 px, in which every crop is another."""
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    noise = rng.integers(0, 256, (500, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "set" / "field.png")
    return tmp_path / "set"


def load(root: Path, **settings: Any) -> Manifest:
    return load_manifest(DataConfig(root=root, crop=SIDE, **settings), both_classes=False)


def crops(manifest: Manifest) -> list[tuple[int, NDArray[np.uint8]]]:
    return [(one.label, manifest.decode(n).pixels) for n, one in enumerate(manifest)]


def check_cells(manifest: Manifest, folder: Path) -> None:
    """The blast and the healthy cell of CELLS, cut out of the field as it is."""
    field = np.asarray(Image.open(folder / "field.png"))
    found = crops(manifest)
    assert [label for label, _ in found] == [BLAST, HEALTHY]
    for (_, pixels), (x, y, _) in zip(found, CELLS, strict=False):
        top, left = round(y) - SIDE // 2, round(x) - SIDE // 2
        assert np.array_equal(pixels, field[top : top + SIDE, left : left + SIDE])
    assert manifest.kind == "fields"
    assert any("left out cells of other names: 1 platelet" in text for text in manifest.warnings)


def yolo(folder: Path) -> Path:
    lines = [
        f"{number} {x / 600:.6f} {y / 500:.6f} 0.1 0.1" for number, (x, y, _) in enumerate(CELLS)
    ]
    (folder / "field.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("\n".join(name for *_, name in CELLS))
    return folder


def voc(folder: Path) -> Path:
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x - 20}</xmin><ymin>{y - 10}</ymin>"
        f"<xmax>{x + 20}</xmax><ymax>{y + 10}</ymax></bndbox></object>"
        for x, y, name in CELLS
    )
    (folder / "field.xml").write_text(f"<annotation>{boxes}</annotation>")
    return folder


def coco(folder: Path) -> Path:
    names = [name for *_, name in CELLS]
    content = {
        "images": [{"id": 7, "file_name": "field.png"}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": n, "bbox": [x - 20, y - 10, 40, 20]}
            for n, (x, y, _) in enumerate(CELLS)
        ],
    }
    (folder / "cells.json").write_text(json.dumps(content))
    return folder


def coco_file(folder: Path) -> Path:
    return coco(folder) / "cells.json"


def geojson(folder: Path) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x - 20, y], [x, y - 10], [x + 20, y], [x, y + 10], [x - 20, y]]],
            },
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for x, y, name in CELLS
    ]
    content = {"type": "FeatureCollection", "features": features}
    (folder / "field.geojson").write_text(json.dumps(content))
    return folder


def table(folder: Path) -> Path:
    lines = [f"field.png,{x},{y},{name}" for x, y, name in CELLS]
    (folder / "cells.csv").write_text("\n".join(["field,x,y,label", *lines]) + "\n")
    return folder / "cells.csv"


@pytest.mark.parametrize("write", [yolo, voc, coco, coco_file, geojson, table])
def test_each_form_of_marks_gives_the_same_cells(
    write: Callable[[Path], Path], one_field: Path
) -> None:
    """Crops are the field's own pixels around each centre; other names are counted and left out."""
    check_cells(load(write(one_field)), one_field)


def test_names_of_classes_can_be_given(one_field: Path) -> None:
    """A name that is given counts; all others are still left out."""
    manifest = load(table(one_field), healthy=["platelet"])
    assert [one.label for one in manifest] == [BLAST, HEALTHY, HEALTHY]


def test_fields_of_all_idb1_give_marked_blasts_and_found_healthy_cells(drawn_fields: Path) -> None:
    """Each marked blast is cut out, and in fields of healthy people what is found."""
    manifest = load(drawn_fields)
    with (drawn_fields / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    blasts = sum(row["label"] == "blast" for row in rows)
    assert manifest.labels.count(BLAST) == blasts
    whole = [row for row in rows if "_0" in row["field"] and row["at_border"] == "0"]
    assert manifest.labels.count(HEALTHY) >= 0.8 * len(whole)
    assert manifest.synthetic
    assert manifest.kind == "fields"


def test_cells_of_one_field_and_of_one_sample_stay_together(drawn_fields: Path) -> None:
    """The folder `sample-01` is a patient, and the field a group; the EXIF tells the session."""
    manifest = load(drawn_fields)
    assert set(manifest.patients) == {"sample-01", "sample-02"}
    groups = load_groups(manifest)
    assert len(set(groups.of_image)) == 2
    assert len({record.group for record in manifest}) <= 8
    assert all(record.domain for record in manifest)
    sessions = {record.patient: record.domain for record in manifest}
    assert all(sessions[record.patient] == record.domain for record in manifest)


def test_copies_of_a_field_are_one_group(one_field: Path) -> None:
    """As ALL-IDB1 holds one field under two names."""
    copy = one_field / "copy.png"
    copy.write_bytes((one_field / "field.png").read_bytes())
    rows = ["field,x,y,label", "field.png,100,200,blast", "copy.png,400,300,healthy"]
    (one_field / "cells.csv").write_text("\n".join(rows))
    manifest = load(one_field / "cells.csv")
    assert len(set(load_groups(manifest).of_image)) == 1


def test_crops_are_cut_once(one_field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time they come from the cache; with other marks or sides they are cut anew."""
    from alld.data.sources import fields

    first = load(table(one_field))
    monkeypatch.setattr(fields, "decode", None)
    again = load(one_field / "cells.csv")
    assert (again.root, again.fingerprint) == (first.root, first.fingerprint)
    with pytest.raises(TypeError):
        load_manifest(DataConfig(root=one_field / "cells.csv", crop=SIDE + 2))
    monkeypatch.undo()
    (one_field / "cells.csv").write_text("field,x,y,label\nfield.png,101,200,blast\n")
    assert load(one_field / "cells.csv").root != first.root


def test_the_border_of_a_field_cuts_a_crop(one_field: Path) -> None:
    """As the crops of ALL-IDB2 are: nothing is mirrored or added."""
    (one_field / "cells.csv").write_text("field,x,y,label\nfield.png,10,490,blast\n")
    [(_, pixels)] = crops(load(one_field / "cells.csv"))
    assert pixels.shape == (10 + SIDE // 2, 10 + SIDE // 2, 3)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("cells.csv", "field,x,y,label\nfield.png,700,20,blast\n", "outside the field"),
        ("cells.csv", "field,x,y,label\nfield.png,abc,20,blast\n", "is no place"),
        ("cells.csv", "field,x,y,label\nfield.png,nan,20,blast\n", "is no place"),
        ("cells.csv", "field,x,y,label\n,1,20,blast\n", "line 2: no field"),
        ("cells.csv", "field,x,y,label\nnone.png,1,20,blast\n", "no file has that name"),
        ("cells.csv", "field,x,y,label\nfield.png,50,20,dog\n", "found 1 dog"),
        ("field.txt", "0 0.5\n", "line 1: not `class x y width height`"),
        ("field.xml", "<annotation><object>", "not an annotation of PASCAL VOC"),
        ("field.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "declares a document type"),
        ("field.geojson", '{"features": [{"geometry": 3}]}', "not GeoJSON as QuPath writes it"),
        ("field.geojson", "{", "cannot be read as JSON"),
        ("cells.json", "[1, 2]", "not the boxes of COCO"),
        ("cells.json", '{"images": [{"id": 1}]}', "not the boxes of COCO"),
    ],
)
def test_marks_that_cannot_be_trusted_are_refused(
    one_field: Path, name: str, text: str, reason: str
) -> None:
    """The message names the file, and the line where there is one."""
    (one_field / name).write_text(text)
    place = one_field / name if name.startswith("cells") else one_field
    with pytest.raises((DataError, Exception), match=reason) as raised:
        load(place)
    assert type(raised.value).__name__ in ("DataError", "ImageError")


def test_predictions_are_no_labels(one_field: Path) -> None:
    """The COCO file that `alld screen` writes is refused until it is corrected."""
    file = coco_file(one_field)
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "info": {"predicted": True}}))
    with pytest.raises(DataError, match="what a model predicted"):
        load(file)


def test_a_training_takes_fields(
    drawn_fields: Path, tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """`alld train --data FIELDS`, and the audit of the same cells."""
    small = [f"--set={key}={value}" for key, value in SMALL.items()]
    split = ["--set", "split.kind=random", "--set", f"data.crop={SIDE}"]
    words = ["train", "--data", drawn_fields, "--out", tmp_path / "run", *small, *split]
    status, _, said = alld(*words)
    assert status == 0, said
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["data"]["name"] == "fields"
    assert facts["data"]["synthetic"]
    counts = Counter(load(drawn_fields).labels)
    assert facts["data"]["images"] == counts.total()
    assert read_info(tmp_path / "run" / "model.alld").data.crop == SIDE


def test_the_real_fields_have_their_510_blasts(real_set: Path) -> None:
    """ALL-IDB1 beside ALL-IDB2: 510 marks in 49 fields, and healthy cells in the others."""
    root = real_set.parent / "all_idb1"
    if not root.is_dir():
        pytest.skip("the real ALL-IDB1 is not here")
    from alld.data.sources.fields import find_marks

    marked = find_marks(root, sorted(root.glob("*.jpg")))
    assert len(marked) == 108
    assert sum(len(field.marks) for field in marked) == 510
    assert sum(bool(field.marks) for field in marked) == 49


def test_decoding_gives_the_pixels_that_were_cut(one_field: Path) -> None:
    """The cache holds TIFFs that ALLD's own decoder reads without a note."""
    manifest = load(table(one_field))
    decoded = decode(manifest.read(0), "crop.tif")
    assert (decoded.format, decoded.conversions, decoded.warnings) == ("TIFF", (), ())
