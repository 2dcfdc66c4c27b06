"""Drawn fields: samples, places and classes of their white cells, sessions, and the mark."""

import csv
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Answer

from alld.cells.nuclei import smear_density
from alld.data.domains import exposure_of
from alld.errors import ConfigError
from alld.images.decode import decode, is_synthetic
from alld.synthetic.fields import draw_fields
from alld.synthetic.plan import Recipe

SHAPE = (600, 800)  # px


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine small fields of three samples in four sessions that tell the class. Read only."""
    folder = tmp_path_factory.mktemp("fields") / "set"
    draw_fields(folder, Recipe(n=9, seed=4, sessions=4, confound=1), shape=SHAPE)
    return folder


def truth(folder: Path) -> list[dict[str, str]]:
    with (folder / "truth.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_four_fields_are_a_sample_and_samples_alternate_between_ill_and_healthy(
    fields: Path,
) -> None:
    """The class is in the name of the file, as in ALL-IDB1, and the sample in its folder."""
    names = [str(file.relative_to(fields)) for file in sorted(fields.rglob("*.jpg"))]
    labels = "1111" + "0000" + "1"
    assert names == [
        f"sample-{n // 4 + 1:02d}/Im{n + 1:03d}_{label}.jpg" for n, label in enumerate(labels)
    ]


def test_blasts_are_in_fields_of_the_ill_alone_and_listed_as_in_all_idb1(fields: Path) -> None:
    """Each `.xyc` holds the rounded centres of the blasts that the table has."""
    blasts = defaultdict(list)
    for row in truth(fields):
        if row["label"] == "blast":
            blasts[row["field"]].append(f"{float(row['x']):.0f}\t{float(row['y']):.0f}\n")
    assert blasts
    for file in fields.rglob("*.xyc"):
        name = str(file.relative_to(fields).with_suffix(".jpg"))
        assert file.read_text() == "".join(blasts[name])
        assert not ("_0" in name and blasts[name])


def test_the_boxes_lie_on_stained_nuclei(fields: Path) -> None:
    """Every box of a whole cell holds a nucleus, and ends at the border where it is cut."""
    stains = {}
    for file in fields.rglob("*.jpg"):
        density = smear_density(decode(file.read_bytes(), str(file)).pixels)
        stains[str(file.relative_to(fields))] = density[:, :, 1] - density[:, :, 2]
    rows = truth(fields)
    for row in rows:
        x, y, width, height = (float(row[key]) for key in ("x", "y", "width", "height"))
        sides = [round(v) for v in (y - height / 2, y + height / 2, x - width / 2, x + width / 2)]
        top, bottom, left, right = sides
        assert 0 <= top < bottom <= SHAPE[0]
        assert 0 <= left < right <= SHAPE[1]
        touches = top == 0 or left == 0 or bottom == SHAPE[0] or right == SHAPE[1]
        assert row["at_border"] == str(int(touches))
        inside = stains[row["field"]][top:bottom, left:right]
        assert touches or (inside > 0.25).mean() > 0.08, row
    assert {row["at_border"] for row in rows} == {"0", "1"}


def test_some_cells_touch(fields: Path) -> None:
    """There are boxes of one field that overlap, as in a clump."""
    rows = truth(fields)
    near = [
        (a, b)
        for a in rows
        for b in rows
        if a["field"] == b["field"]
        and a is not b
        and all(
            abs(float(a[c]) - float(b[c])) < (float(a[s]) + float(b[s])) / 2
            for c, s in (("x", "width"), ("y", "height"))
        )
    ]
    assert near


def test_fields_of_a_sample_share_a_session_and_follow_each_other(fields: Path) -> None:
    """EXIF names a camera and rising times; `confound` 1 parts the sessions of ill and healthy."""
    sittings = defaultdict(list)
    for file in sorted(fields.rglob("*.jpg")):
        exposure = exposure_of(file.read_bytes())
        assert exposure is not None
        sittings[file.parent.name].append(exposure)
    for exposures in sittings.values():
        assert len({(e.camera, e.taken.date()) for e in exposures}) == 1
        assert np.all(np.diff([e.taken.timestamp() for e in exposures]) > 0)
    days = {name: exposures[0].taken.day for name, exposures in sittings.items()}
    assert days["sample-01"] in (1, 2)
    assert days["sample-02"] in (3, 4)


def test_every_field_is_marked_as_drawn(fields: Path) -> None:
    """Nobody can take one for a photograph."""
    assert all(is_synthetic(file.read_bytes()) for file in fields.rglob("*.jpg"))


def test_the_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    """Another seed draws other fields."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_fields(tmp_path / name, Recipe(n=1, seed=seed), shape=(300, 400))
    first, again, other = (
        (tmp_path / name / "sample-01" / "Im001_1.jpg").read_bytes() for name in "abc"
    )
    assert first == again
    assert first != other


def test_the_command_draws_fields_and_refuses_what_does_not_go_together(
    tmp_path: Path, alld: Callable[..., Answer]
) -> None:
    """--fields stands without --n and --layout, and needs at least one field."""
    status, shown, _ = alld("synth", tmp_path / "set", "--fields", "1")
    assert status == 0
    assert "SYNTHETIC: 1 field in" in shown
    assert (tmp_path / "set" / "sample-01" / "Im001_1.jpg").is_file()
    shutil.rmtree(tmp_path / "set")
    for words in (["--n", "20"], ["--layout", "folders"]):
        status, _, said = alld("synth", tmp_path / "set", "--fields", "1", *words)
        assert (status, "without --n and --layout" in said) == (2, True)
    with pytest.raises(ConfigError, match="at least 1"):
        draw_fields(tmp_path / "set", Recipe(n=0))
    assert not (tmp_path / "set").exists()
