"""Archives: long lists in shards, done once whatever is killed, the same table whoever works."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import Answer
from drawn import draw_all_idb2
from untrained import write_untrained

from alld.errors import ConfigError, DataError, Interrupted, RunError
from alld.inference.archives.archive import judge_here, plan_of, predict_archive
from alld.inference.archives.parts import Parts, parts_of
from alld.inference.archives.shard import Asked, Job
from alld.inference.archives.tally import Tally
from alld.inference.archives.workers import judge_on_workers
from alld.inference.inputs import SHARD, Cut, Inputs, read_inputs
from alld.inference.predictor import CPU_BATCH, GPU_BATCH, Predictor
from alld.inference.rows import write_rows

SMALL = 16  # images of a shard here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("model") / "model.alld")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Ninety small images, one of them missing: six shards, the last of ten."""
    folder = draw_all_idb2(tmp_path_factory.mktemp("cells"), per_class=10)
    drawn = sorted(folder.glob("*.tif"))
    files = [drawn[row % 20] for row in range(90)]
    files[20] = folder / "missing.tif"
    return Inputs(tuple(files))


@pytest.fixture(scope="module")
def asked(model: Path) -> Asked:
    predictor = Predictor.load(model, "cpu")
    return Asked(
        model=str(model),
        identity=predictor.identity,
        device="cpu",
        tta=False,
        threads=2,
        table="csv",
        folder=os.getcwd(),
    )


@pytest.fixture(scope="module")
def whole(inputs: Inputs, asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of an archive that was left alone."""
    out = tmp_path_factory.mktemp("whole") / "rows.csv"
    predict_archive(inputs, out, asked, judge_here, nobody, SMALL)
    return out.read_bytes()


def nobody(_now: int, _before: int, _total: int) -> None:
    """Hears how far an archive is and does nothing about it."""


def stop_at(rows: int) -> Callable[[int, int, int], None]:
    def told(now: int, _before: int, _total: int) -> None:
        if now >= rows:
            raise Interrupted("stopped", 143)

    return told


def parts_beside(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.parts").glob("part-*"))


@pytest.mark.parametrize("table", ["csv", "jsonl", "parquet"])
def test_an_archive_is_the_table_that_one_go_writes(
    table: str, inputs: Inputs, asked: Asked, tmp_path: Path
) -> None:
    """Byte for byte, and nothing is left beside it."""
    predictor = Predictor.load(asked["model"], "cpu", threads=1)
    size = SHARD if table == "parquet" else SMALL  # its row groups are shards
    write_rows(predictor.iterate(inputs), table, tmp_path / "once")
    own = Asked(**{**asked, "table": table})  # type: ignore[typeddict-item]
    tally = predict_archive(inputs, tmp_path / "rows", own, judge_here, nobody, size)
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "once").read_bytes()
    assert sum(tally.verdicts.values()) == 90
    assert tally.verdicts["failed"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["once", "rows"]


def test_shards_of_parquet_hold_the_same_rows(inputs: Inputs, asked: Asked, tmp_path: Path) -> None:
    """Text and numbers as in the JSON lines, a row group for each shard, and the notice."""
    from pyarrow.parquet import ParquetFile

    for table in ("parquet", "jsonl"):
        own = Asked(**{**asked, "table": table})  # type: ignore[typeddict-item]
        predict_archive(inputs, tmp_path / table, own, judge_here, nobody, SMALL)
    lines = (tmp_path / "jsonl").read_text().splitlines()
    with ParquetFile(tmp_path / "parquet") as file:
        assert file.num_row_groups == 6
        assert b"Not a medical device" in file.schema_arrow.metadata[b"notice"]
        assert file.read().to_pylist() == [json.loads(line) for line in lines]


def test_a_stopped_archive_does_only_what_is_missing(
    inputs: Inputs, asked: Asked, whole: bytes, tmp_path: Path
) -> None:
    """Parts that are there are not judged again, also by more threads; the table is the same."""
    out = tmp_path / "rows.csv"
    with pytest.raises(Interrupted):
        predict_archive(inputs, out, asked, judge_here, stop_at(40), SMALL)
    assert len(parts_beside(out)) == 2
    assert not out.exists()
    judged: list[int] = []

    def noting(job: Job, shards: object, told: Callable[[int], None]) -> None:
        wanted = list(shards)  # type: ignore[call-overload]
        judged.extend(shard.number for shard in wanted)
        judge_here(job, wanted, told)

    predict_archive(inputs, out, {**asked, "threads": 1}, noting, nobody, SMALL)
    assert judged == [2, 3, 4, 5]
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda asked, inputs: ({**asked, "tta": True}, inputs), "tta was False and is True"),
        (lambda asked, inputs: ({**asked, "identity": "1" * 64}, inputs), "model was "),
        (
            lambda asked, inputs: (asked, replace(inputs, files=inputs.files[::-1])),
            "the list of images was ",
        ),
    ],
)
def test_parts_of_another_job_are_refused_with_what_differs(
    change: Callable[[Asked, Inputs], tuple[Asked, Inputs]],
    said: str,
    inputs: Inputs,
    asked: Asked,
    tmp_path: Path,
) -> None:
    """One line names the difference and what to do; nothing is mixed or deleted."""
    out = tmp_path / "rows.csv"
    with pytest.raises(Interrupted):
        predict_archive(inputs, out, asked, judge_here, stop_at(20), SMALL)
    other, others = change(asked, inputs)
    with pytest.raises(RunError, match=f"({said}).*delete the folder") as caught:
        predict_archive(others, out, other, judge_here, nobody, SMALL)
    assert str(caught.value).isprintable()
    assert len(parts_beside(out)) == 1


def test_versions_that_change_rows_are_in_the_plan(
    inputs: Inputs, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of an older Pillow are not put beside those of a newer one."""
    out = tmp_path / "rows.csv"
    with pytest.raises(Interrupted):
        predict_archive(inputs, out, asked, judge_here, stop_at(20), SMALL)
    monkeypatch.setattr("alld.inference.archives.archive.metadata.version", lambda _name: "0")
    with pytest.raises(RunError, match=r"alld was .* and is 0"):
        predict_archive(inputs, out, asked, judge_here, nobody, SMALL)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_part_never_reaches_the_table(
    damage: str, inputs: Inputs, asked: Asked, whole: bytes, tmp_path: Path
) -> None:
    """A part that is too short is made again at once; a flipped bit is found by its hash."""
    out = tmp_path / "rows.csv"
    with pytest.raises(Interrupted):
        predict_archive(inputs, out, asked, judge_here, stop_at(40), SMALL)
    victim = parts_beside(out)[1]
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data[:-9] if damage == "cut" else data)
    if damage == "flipped":
        with pytest.raises(RunError, match="give the same command again"):
            predict_archive(inputs, out, asked, judge_here, nobody, SMALL)
        assert not out.exists()
    predict_archive(inputs, out, asked, judge_here, nobody, SMALL)
    assert out.read_bytes() == whole


def test_a_part_of_another_plan_is_none(tmp_path: Path) -> None:
    """Nor is one of another shard, or an empty file."""
    ours, theirs = Parts(tmp_path, "1" * 64), Parts(tmp_path, "2" * 64)
    ours.write(0, b"row\n", Tally.of_nothing())
    assert ours.done(0)
    assert ours.read(0)[0] == b"row\n"
    assert not theirs.done(0)
    (tmp_path / "part-0000000").rename(tmp_path / "part-0000001")
    (tmp_path / "part-0000002").touch()
    assert not any(ours.done(number) for number in range(4))


def test_two_commands_do_not_share_a_table(tmp_path: Path) -> None:
    """The second one is told that the first is at work."""
    table, plan = tmp_path / "rows.csv", {"model": "a"}
    with (
        parts_of(table, plan),
        pytest.raises(RunError, match="another process is at work"),
        parts_of(table, plan),
    ):
        pass


def test_another_model_in_its_place_is_noticed(
    inputs: Inputs, asked: Asked, model: Path, tmp_path: Path
) -> None:
    """A worker that loads the model later judges with the one that was asked for, or not at all."""
    copy = shutil.copytree(model, tmp_path / "copy.alld")
    wrong = {**asked, "model": str(copy), "identity": "0" * 64}
    with pytest.raises(RunError, match="another model"):
        predict_archive(inputs, tmp_path / "rows.csv", wrong, judge_here, nobody, SMALL)


def test_a_folder_of_parts_keeps_what_is_not_its_own(
    inputs: Inputs, asked: Asked, tmp_path: Path
) -> None:
    """A file that somebody put there stays, and the folder with it."""
    mine = tmp_path / "rows.csv.parts" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    predict_archive(inputs, tmp_path / "rows.csv", asked, judge_here, nobody, SMALL)
    assert list(mine.parent.iterdir()) == [mine]


def test_two_processes_are_one_and_a_killed_one_is_replaced(
    inputs: Inputs, asked: Asked, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two is killed while it works: the same table, in the same command."""
    started: list[subprocess.Popen[str]] = []
    real = subprocess.Popen

    def noted(*words: object, **named: object) -> object:
        started.append(real(*words, **named))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr("alld.inference.archives.workers.subprocess.Popen", noted)

    def told(now: int, _before: int, _total: int) -> None:
        if now and len(started) == 2:
            started[0].kill()

    engine = partial(judge_on_workers, 2)
    predict_archive(inputs, tmp_path / "rows.csv", asked, engine, told, SMALL)
    assert (tmp_path / "rows.csv").read_bytes() == whole
    assert len(started) == 3
    assert all(process.poll() is not None for process in started)


def test_what_a_process_cannot_do_is_one_line(inputs: Inputs, asked: Asked, tmp_path: Path) -> None:
    """Its error is the command's, and no process is left waiting."""
    wrong = {**asked, "model": str(tmp_path / "gone")}
    with pytest.raises(RunError, match="no model bundle there") as caught:
        predict_archive(inputs, tmp_path / "rows.csv", wrong, partial(judge_on_workers, 1), nobody)
    assert str(caught.value).isprintable()


def test_a_shard_that_kills_every_process_is_named(
    inputs: Inputs, asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three of them: which images it was, and what to try."""
    monkeypatch.setattr("alld.inference.archives.workers.sys.executable", shutil.which("true"))
    with pytest.raises(RunError, match=r"shard 0, from .*Im001_1.tif to .*processes died of it"):
        predict_archive(
            inputs, tmp_path / "rows.csv", asked, partial(judge_on_workers, 1), nobody, SMALL
        )


def test_a_process_ends_with_its_owner(asked: Asked) -> None:
    """When its standard input ends it does too, whatever it is doing."""
    command = [sys.executable, "-m", "alld.inference.archives.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as worker:
        assert worker.stdin
        print(json.dumps(asked), file=worker.stdin, flush=True)
        worker.stdin.close()
        assert worker.wait(timeout=60) == 0


def test_a_shard_is_whole_batches() -> None:
    """Else rows of an archive would be computed in other company than without shards."""
    assert SHARD % CPU_BATCH == SHARD % GPU_BATCH == 0


def test_a_list_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Before a shard is handed out: its names are those that were counted."""
    table = tmp_path / "list.csv"
    table.write_text("path\na.tif\nb.tif\nc.tif\n")
    cut = Cut.of(read_inputs([str(table)]), 2)
    assert (cut.images, len(cut.digests), cut.rows(1)) == (3, 2, 1)
    assert [shard.number for shard in cut.shards([1])] == [1]
    table.write_text("path\na.tif\nb.tif\nd.tif\n")
    assert next(cut.shards([0])).paths == [str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]
    with pytest.raises(DataError, match="changed"):
        list(cut.shards([0, 1]))
    table.write_text("path\na.tif\n")
    with pytest.raises(DataError, match="changed"):
        list(cut.shards([1]))


def test_the_plan_says_nothing_of_who_works(inputs: Inputs, asked: Asked) -> None:
    """Another number of threads or another place of the model goes on with the same parts."""
    cut = Cut.of(inputs, SMALL)
    other = Asked(**{**asked, "threads": 7, "model": "elsewhere"})  # type: ignore[typeddict-item]
    assert plan_of(cut, asked) == plan_of(cut, other)


def test_a_folder_as_output_is_refused_before_any_work(
    inputs: Inputs, asked: Asked, tmp_path: Path
) -> None:
    """Not after hours."""
    with pytest.raises(ConfigError, match="is a folder"):
        predict_archive(inputs, tmp_path, asked, judge_here, nobody)


def test_the_command_stops_at_sigterm_and_goes_on(
    alld: Callable[..., Answer],
    inputs: Inputs,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """143 and a line that says so; then the rest alone is judged, and a failed file gives 1."""
    paths = [[str(path)] for path in [*inputs] * 12][: SHARD + 30]
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path"], *paths])
    command = ["predict", tmp_path / "list.csv", "--model", model, "--out", tmp_path / "rows.csv"]
    heard: list[tuple[int, int, int]] = []

    def pace(_self: object, now: int, before: int, total: int) -> None:
        heard.append((now, before, total))
        if now == SHARD + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("alld.commands.pace.Pace.__call__", pace)
    status, _, err = alld(*command)
    assert status == 143
    assert f"stopped by SIGTERM after {SHARD + 1} of {SHARD + 30} images" in err
    heard.clear()
    status, _, err = alld(*command)
    assert status == 1
    assert heard[0] == (0, SHARD, SHARD + 30)
    assert heard[-1] == (30, SHARD, SHARD + 30)
    assert f"{SHARD + 30} images: " in err
    with open(tmp_path / "rows.csv", newline="") as file:
        assert [[row["path"]] for row in csv.DictReader(file)] == paths


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["--threads", "0"], "--threads 0: must be at least 1"),
        (["--workers", "2"], "use --out FILE"),
        (["--workers", "2", "--out", "rows.csv", "--explain", "maps"], "no --explain"),
        (["--format", "parquet"], "--out rows.parquet"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    options: list[str], said: str, alld: Callable[..., Answer]
) -> None:
    """Before any model is read."""
    status, out, err = alld("predict", "one.tif", *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert said in err
