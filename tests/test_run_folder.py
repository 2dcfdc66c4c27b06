"""A run folder that somebody sent: each file is what a run writes, or one reason why not."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from alld.errors import ConfigError, RunError
from alld.evaluation.external import read_own_test
from alld.evaluation.out_of_fold import read_fold
from alld.runs.folder import Run, open_run, read_manifest, read_split
from alld.runtime.files import sha256_hex


@pytest.fixture
def sent(run_folder: Path, tmp_path: Path) -> Path:
    """The tables and facts of a run."""
    for name in ("run.json", "config.yaml", "history.csv", "split.csv", "images.csv"):
        shutil.copy(run_folder / name, tmp_path / name)
    return tmp_path


def change(folder: Path, **facts: object) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", "long"),
        ("seconds", float("nan")),
        ("split", {}),
        ("split", {"kind": "random", "seed": 10**20, "sha256": None}),
        ("data", None),
        ("threads", [2]),
        ("inexact", "x"),
        ("groups", {}),
        ("extra", float("inf")),
    ],
)
def test_facts_of_another_type_are_a_damaged_run(sent: Path, name: str, value: object) -> None:
    """Whatever reads them later would end in a traceback, or write what is no JSON."""
    assert open_run(sent).state == "finished"
    change(sent, **{name: value})
    assert Run(sent).state == "damaged"
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        open_run(sent)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"epoch,train_loss\n",
        b"epoch;phase\n1;frozen\n",
        b"epoch,phase,train_loss,valid_loss,valid_accuracy,seconds\n1,frozen,low,1,1,1\n",
        b"\xff\xfee\0p\0",
        b"9" * 200_000,
    ],
)
def test_a_history_that_no_training_wrote_is_named(sent: Path, content: bytes) -> None:
    """It is drawn at the very end of an evaluation."""
    assert len(Run(sent).history()) == 3
    (sent / "history.csv").write_bytes(content)
    with pytest.raises(RunError, match=r"history\.csv: (damaged|has no rows)"):
        Run(sent).history()


def test_a_split_with_its_right_hash_is_still_held_against_the_images(sent: Path) -> None:
    """Rows that are gone, exchanged or not there would give images the parts of others."""
    run, table = Run(sent), sent / "split.csv"
    manifest = read_manifest(run)
    assert len(read_split(run, manifest).parts) == len(manifest)
    names, *rows = table.read_text().splitlines()
    for other in ([names, *rows[1:]], [names, *reversed(rows)], ["path,part", "x,test"], ["x"]):
        data = ("\n".join(other) + "\n").encode()
        table.write_bytes(data)
        change(sent, split={**run.info["split"], "sha256": sha256_hex(data)})
        with pytest.raises(RunError, match=r"split\.csv: (not the split|cannot be read)"):
            read_split(run, manifest)


def test_settings_of_millions_of_values_are_refused(sent: Path) -> None:
    """A kilobyte of aliases of aliases stands for more values than fit any memory."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, before in zip("bcdefghijkl", "abcdefghijk", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    (sent / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(RunError, match="over 10000 values") as caught:
        open_run(sent)
    assert isinstance(caught.value.__cause__, ConfigError)


@pytest.mark.parametrize("keep", [0, 1, -1], ids=["none", "one", "all but one"])
def test_predictions_of_other_images_than_were_held_out_are_refused(
    run_folder: Path, tmp_path: Path, keep: int
) -> None:
    """A fold that lost rows would be pooled with the others as if it had tested less."""
    (tmp_path / "evaluation").mkdir()
    shutil.copy(run_folder / "split.csv", tmp_path)
    names, *rows = (run_folder / "evaluation" / "predictions.csv").read_text().splitlines()
    table = tmp_path / "evaluation" / "predictions.csv"
    table.write_text("\n".join([names, *rows]))
    assert len(read_fold(tmp_path, 1, 1)) == len(rows)
    table.write_text("\n".join([names, *rows[:keep]]))
    with pytest.raises(RunError, match="not the images that its split holds out"):
        read_fold(tmp_path, 1, 1)


@pytest.mark.parametrize("damage", ["deep", "type"])
def test_an_own_test_that_cannot_be_read_is_compared_with_nothing(
    run_folder: Path, tmp_path: Path, damage: str
) -> None:
    """An external validation says so, and goes on without it."""
    facts = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    facts["abstention"]["out_of_domain"] = {"value": "\x1b[2J"}
    (tmp_path / "evaluation").mkdir()
    text = "[" * 100_000 if damage == "deep" else json.dumps(facts)
    (tmp_path / "evaluation" / "metrics.json").write_text(text)
    found, reason = read_own_test(SimpleNamespace(run=Run(tmp_path)))  # type: ignore[arg-type]
    assert found is None
    assert reason is not None
    assert "cannot be read" in reason
