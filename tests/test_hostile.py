"""Hostile files: the right picture or a row with a reason, whatever lies in a folder.

What each file is and what must become of it stands in `tests/hostile/`; `scripts/torture.py` tries
the large ones too, all of them.
"""

import csv
import io
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, Answer
from drawn import draw_all_idb2
from hostile.case import Case, fault
from hostile.catalogue import MOST_MB, MOST_SECONDS, large, small
from hostile.places import NAMES, PICTURE, make_names, make_things
from hostile.run import alld as alld_alone
from hostile.run import can_be_locked_out
from untrained import write_untrained

from alld.auditing.examine import examine
from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.data.splits import Split, split_text
from alld.errors import DataError
from alld.evaluation import holdout as evaluating
from alld.evaluation import out_of_fold
from alld.evaluation.compare.predictions import path_below
from alld.runs.folder import read_split
from alld.runtime.files import cell, one_line, plain_path, spelt, well_formed

sys.path.insert(0, str(REPOSITORY / "scripts"))
from trials.files import measured

SMALL = small()
FORMULA = tuple("=+-@\t\r\uff1d")
KINDS = sorted({case.kind for case in SMALL})
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such names and files")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle. Read only."""
    return write_untrained(tmp_path_factory.mktemp("untrained") / "model.alld")


def test_the_catalogue_is_large_and_names_nothing_twice() -> None:
    """Over 1,000 distinct small files, and each of them has an expectation."""
    assert len(SMALL) > 1000
    assert len({case.name for case in SMALL}) == len(SMALL)
    assert len({case.data for case in SMALL}) > 1000
    assert all(case.pixels is not None or case.refused is not None for case in SMALL)


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_its_picture_or_refused(kind: str) -> None:
    """No file of this kind is shown wrongly, refused for no reason, or ends in an exception."""
    faults = {case.name: fault(case) for case in SMALL if case.kind == kind}
    assert faults
    assert not {name: found for name, found in faults.items() if found}


def test_a_wrong_picture_would_be_seen() -> None:
    """The expectations can fail: a picture that differs in one sample, or is read and must not."""
    case = next(case for case in SMALL if case.name == "png-rgb-8.png")
    assert case.pixels is not None
    other = case.pixels.copy()
    other[0, 0, 0] ^= 1
    assert "wrong picture" in fault(Case(case.name, case.data, other, None))
    assert "read as a picture" in fault(Case(case.name, case.data, None, ""))
    assert "refused" in fault(Case(case.name, case.data[:-20], case.pixels, None))
    assert "another reason" in fault(Case(case.name, b"", None, "TIFF tag"))


@ON_POSIX
def test_a_folder_that_cannot_be_read_is_no_empty_one(model: Path, tmp_path: Path) -> None:
    """Its images are not silently left out of those of the folder above it."""
    if not can_be_locked_out():
        pytest.skip("this user may read every folder, locked ones too")
    (tmp_path / "open.png").write_bytes(PICTURE)
    (tmp_path / "closed").mkdir(mode=0)
    answer = alld_alone("predict", "--model", model, "--json", tmp_path)
    errors = [row["error"] for row in json.loads(answer.out)["predictions"]]
    assert answer.status == 1
    assert [error is None for error in errors] == [False, True]
    assert "closed: cannot be read" in errors[0]


def test_bombs_cost_little(model: Path, tmp_path: Path) -> None:
    """A seeded sample of the large files takes under 5 s and 500 MB each, in one process."""
    cases = random.Random(0).sample(large(), 8)
    files = [tmp_path / case.name for case in cases]
    for file, case in zip(files, cases, strict=True):
        file.write_bytes(case.data)
    first = tmp_path / "first.png"
    first.write_bytes(PICTURE)
    costs = dict(zip(files, measured(model, first, files), strict=True))
    assert not {f.name: s for f, (s, _) in costs.items() if s > MOST_SECONDS}
    assert not {f.name: mb for f, (_, mb) in costs.items() if mb > MOST_MB}


@ON_POSIX
def test_every_name_and_thing_has_its_row(model: Path, tmp_path: Path) -> None:
    """Pipes, devices, loops, locked files and odd names: a verdict or a reason, status 1."""
    if not can_be_locked_out():
        pytest.skip("this user may read every file, locked ones too")
    (tmp_path / "names").mkdir()
    (tmp_path / "things").mkdir()
    odd = [*make_names(tmp_path / "names"), *make_things(tmp_path / "things")]
    answer = alld_alone("predict", "--model", model, "--json", *(one.path for one in odd))
    assert answer.status == 1
    rows = {row["path"]: row["error"] for row in json.loads(answer.out)["predictions"]}
    assert len(rows) == len(odd) > 55
    for one in odd:
        error = rows[well_formed(str(one.path))]
        assert (error is None) == (one.refused is None), (one, error)
        assert one.refused is None or one.refused in error


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture under many names, and a file that is none. Read only."""
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    folder = tmp_path_factory.mktemp("odd")
    for _ in make_names(folder):
        pass
    (folder / "=bad\x1b[2J\n.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def answer(
    alld: Callable[..., Answer], model: Path, odd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What `alld predict .` says inside that folder: standard output, and with -v the other too."""
    monkeypatch.chdir(odd_folder)

    def ask(*options: str) -> str:
        status, out, err = alld("predict", "--model", model, *options, ".")
        assert status == 1  # one of them is no picture
        assert f"{len(list(odd_folder.iterdir()))} images: " in err
        return out + err * ("-v" in options)

    return ask


def test_no_csv_cell_is_a_formula_or_steers_a_terminal(
    answer: Callable[..., str], odd_folder: Path
) -> None:
    """From inside the folder: a line a file, no formula, and what hides is spelt out."""
    text = answer("--format", "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(text.splitlines()) == len(rows) == len(list(odd_folder.iterdir())) + 1
    cells = [cell for row in rows for cell in row]
    assert not [part for cell in cells for part in cell.split(";") if part.startswith(FORMULA)]
    assert all(spelt(cell) == cell for cell in cells)
    assert "./=1+1.png" in cells


def test_the_terminal_shows_names_and_obeys_none(answer: Callable[..., str]) -> None:
    """Both outputs hold printable lines alone, and no pictures in place of `:bomb:`."""
    shown = answer("-v")
    assert all(line.isprintable() for line in shown.split("\n"))
    assert ":bomb:.png" in shown
    assert "[red]markup[.png" in shown


def test_json_is_valid_for_every_name(answer: Callable[..., str]) -> None:
    """Without half surrogates, which not every reader of JSON takes; --json as --format jsonl."""
    rows = json.loads(answer("--json"))["predictions"]
    lines = answer("--format", "jsonl").splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row["path"] for row in rows]
    json.dumps(rows, ensure_ascii=False).encode("utf-8", errors="strict")
    assert {"line\nbreak.png", "./-1.png"} <= {row["path"] for row in rows}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_cell_is_safe_and_a_plain_path_is_the_same_file(name: bytes) -> None:
    """`./` before a name changes no file; a cell begins no formula and holds no control letter."""
    text = os.fsdecode(name)
    assert Path(plain_path(text)) == Path(text)
    assert not [part for part in cell(text).split(";") if part.startswith(FORMULA)]
    assert one_line(cell(text)).isprintable()
    assert spelt(cell(text)) == cell(text)
    well_formed(text).encode()


def test_numbers_and_plain_texts_are_cells_as_they_are() -> None:
    """A guard against formulas that changed numbers or ordinary names would break every reader."""
    for value in (-1.5, 0, None, "Im001_1.tif", "a b", "blast", "細胞.tif", "nb\u00a0sp"):
        assert cell(value) == value


@ON_POSIX
@pytest.mark.parametrize(
    "name", ["line\nbreak.tif", "bidi\u202e.tif", "a;=1.tif", os.fsdecode(b"\xff.tif")]
)
def test_a_set_with_a_name_that_no_table_holds_is_refused(tmp_path: Path, name: str) -> None:
    """A split is a table of names: one that breaks or turns its line stops the training, in one."""
    for folder in ("blast", "healthy"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.tif").write_bytes(folder.encode())
    (tmp_path / "blast" / name).write_bytes(b"x")
    with pytest.raises(DataError, match="rename the file") as caught:
        load_manifest(DataConfig(root=tmp_path))
    assert str(caught.value).isprintable()


@ON_POSIX
def test_a_formula_for_a_name_goes_through_the_tables_and_back(tmp_path: Path) -> None:
    """`=1/a.tif` is `./=1/a.tif` in every table, and a groups table may name it either way."""
    for name in ("=1/blast/a.tif", "blast/b.tif", "healthy/c.tif", "@2/healthy/d.tif"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    manifest = load_manifest(DataConfig(root=tmp_path))
    paths = [record.path for record in manifest]
    assert paths == ["./=1/blast/a.tif", "./@2/healthy/d.tif", "blast/b.tif", "healthy/c.tif"]
    assert manifest.read(0) == b"=1/blast/a.tif"
    (tmp_path / "g.csv").write_text("path,group\n=1/blast/a.tif,=x\n./@2/healthy/d.tif,=x\n")
    groups = load_groups(manifest, tmp_path / "g.csv")
    assert groups.of_image[:2] == ("'=x", "'=x")
    split = Split("random", 0, ("test",) * 4, groups.of_image, "file")
    rows = list(csv.DictReader(io.StringIO(split_text(manifest, split))))
    assert [row["path"] for row in rows] == paths
    whole = str(manifest.file(0))
    assert paths[0] in out_of_fold._tails(whole)
    assert path_below(manifest.root, whole) == paths[0]


def changing(file: Path) -> Callable[..., None]:
    """What changes a file behind the back of whoever is told of a progress."""

    def change(*_told: object) -> None:
        data = bytearray(PICTURE)
        file.write_bytes(bytes(data))

    return change


def drawn_manifest(folder: Path) -> Manifest:
    return load_manifest(DataConfig(root=draw_all_idb2(folder / "set", per_class=4)))


def test_a_file_that_changed_after_its_hash_is_not_read(tmp_path: Path) -> None:
    """The manifest compares the very bytes that it hands out, for training and for audits."""
    manifest = drawn_manifest(tmp_path)
    assert manifest.read(3)
    changing(manifest.file(3))()
    for use in (manifest.read, manifest.decode):
        with pytest.raises(DataError, match="changed while ALLD was using it"):
            use(3)


def test_an_audit_notices_a_file_that_changes_under_it(tmp_path: Path) -> None:
    """Between hashing and looking an image is replaced: the audit does not check the new one."""
    folder = draw_all_idb2(tmp_path / "set", per_class=4)
    change = changing(folder / "Im003_1.tif")
    with pytest.raises(DataError, match=r"Im003_1.tif: changed while"):
        examine(DataConfig(root=folder), begin=change)


def test_an_evaluation_notices_a_file_that_changes_under_it(
    run_folder: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the fingerprint and the verdict a test image is replaced: no number comes of it."""
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    data = Path(shutil.copytree(drawn_set, tmp_path / "set"))
    with (run / "split.csv").open(newline="") as file:
        victim = next(row["path"] for row in csv.DictReader(file) if row["part"] == "test")
    monkeypatch.setattr(
        evaluating, "read_split", lambda *of: (changing(data / victim)(), read_split(*of))[1]
    )
    with pytest.raises(DataError, match=f"{victim}: changed while"):
        evaluating.evaluate(run, "cpu", data=data)
