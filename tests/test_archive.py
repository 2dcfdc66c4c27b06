"""Archives: long lists in shards that stay done, and one table whoever predicts them."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest
from conftest import Answer
from drawn import draw_all_idb2
from untrained import write_untrained

from alld.commands.archive import Pace
from alld.errors import AlldError, ConfigError, DataError, Interrupted, RunError
from alld.inference.archives import archive, engines
from alld.inference.archives.archive import Engine, Progress, plan_of
from alld.inference.archives.engines import Job, predict_here, predict_in_processes
from alld.inference.archives.parts import Parts, parts_of
from alld.inference.inputs import SHARD, Cut, Inputs, Shard, read_inputs
from alld.inference.prediction import Tally
from alld.inference.predictor import CPU_BATCH, GPU_BATCH, Predictor
from alld.inference.rows import write_rows

SMALL = 16  # images of a shard here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("model") / "model.alld", arch="timm:test_resnet")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """Ninety small images, one of them missing: six shards, the last of ten."""
    folder = draw_all_idb2(tmp_path_factory.mktemp("cells"), per_class=10)
    drawn = sorted(folder.glob("*.tif"))
    files = [drawn[row % 20] for row in range(90)]
    files[20] = folder / "missing.tif"
    return Inputs(tuple(files))


@pytest.fixture(scope="module")
def job(model: Path) -> Job:
    return Job.of(Predictor.load(model, "cpu", threads=2), model, "csv")


@pytest.fixture(scope="module")
def whole(inputs: Inputs, job: Job, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The table of an archive that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "rows.csv"
    predict_archive(inputs, out, job)
    return out.read_bytes()


def predict_archive(
    inputs: Inputs,
    out: Path,
    job: Job,
    engine: Engine = predict_here,
    progress: Progress = lambda *_: None,
    size: int = SMALL,
) -> Tally:
    return archive.predict_archive(inputs, out, job, engine, progress, size)


def interrupt(inputs: Inputs, out: Path, job: Job, rows: int = 20) -> list[Path]:
    """Stop an archive after so many rows and return its parts."""

    def stop(now: int, _before: int, _total: int) -> None:
        if now >= rows:
            raise Interrupted("stopped", 143)

    with pytest.raises(Interrupted):
        predict_archive(inputs, out, job, progress=stop)
    assert not out.exists()
    return sorted(out.with_name(f"{out.name}.parts").glob("part-*"))


def test_an_archive_is_the_table_that_one_go_writes(
    inputs: Inputs, job: Job, tmp_path: Path
) -> None:
    """It has the same bytes in every format; Parquet has the rows of JSON lines and the notice."""
    from pyarrow.parquet import ParquetFile

    predictions = Predictor.load(job.model, "cpu", threads=1).predict(inputs)
    for table in ("csv", "jsonl", "parquet"):
        (tmp_path / table).mkdir()
        once, out = tmp_path / f"once.{table}", tmp_path / table / "rows"
        write_rows(predictions, table, once)
        size = SHARD if table == "parquet" else SMALL  # its row groups are shards
        tally = predict_archive(inputs, out, replace(job, table=table), size=size)
        assert out.read_bytes() == once.read_bytes()
        assert (tally.verdicts.total(), tally.verdicts["failed"]) == (90, 1)
        assert list(out.parent.iterdir()) == [out]
    predict_archive(inputs, tmp_path / "small", replace(job, table="parquet"))
    lines = (tmp_path / "once.jsonl").read_text().splitlines()
    with ParquetFile(tmp_path / "small") as file:
        assert file.num_row_groups == 6
        assert b"Not a medical device" in file.schema_arrow.metadata[b"notice"]
        assert file.read().to_pylist() == [json.loads(line) for line in lines]


def test_a_stopped_archive_does_only_what_is_missing(
    inputs: Inputs, job: Job, whole: bytes, tmp_path: Path
) -> None:
    """Parts that are there stay, also with other threads; files of others in their folder too."""
    out = tmp_path / "rows.csv"
    parts = interrupt(inputs, out, job, 40)
    assert len(parts) == 2
    mine = parts[0].with_name("mine.txt")
    mine.touch()
    predicted: list[int] = []

    def noting(
        job: Job, parts: Parts, shards: Iterable[Shard], progress: Callable[[int], None]
    ) -> None:
        wanted = list(shards)
        predicted.extend(shard.number for shard in wanted)
        predict_here(job, parts, wanted, progress)

    predict_archive(inputs, out, replace(job, threads=1), noting)
    assert predicted == [2, 3, 4, 5]
    assert out.read_bytes() == whole
    assert list(mine.parent.iterdir()) == [mine]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"tta": True}, "tta was False and is True"),
        ({"identity": "1" * 64}, "model was "),
        ({}, "the list of images was "),
    ],
)
def test_parts_of_another_job_are_refused_with_what_differs(
    change: dict[str, object], difference: str, inputs: Inputs, job: Job, tmp_path: Path
) -> None:
    """One line names the difference and what to do; nothing is mixed or deleted."""
    out = tmp_path / "rows.csv"
    [part] = interrupt(inputs, out, job)
    others = inputs if change else Inputs(inputs.files[::-1])
    with pytest.raises(RunError, match=f"({difference}).*delete the folder") as caught:
        predict_archive(others, out, replace(job, **change))  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    assert part.exists()


def test_the_plan_holds_what_changes_rows_and_nothing_else(
    inputs: Inputs, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions are in it, the number of threads and the place of the model are not."""
    cut = Cut.of(inputs, SMALL)
    plan = plan_of(cut, job)
    assert plan_of(cut, replace(job, threads=7, model="elsewhere")) == plan
    monkeypatch.setattr("alld.inference.archives.archive.metadata.version", lambda _name: "0")
    assert plan_of(cut, job) == {**plan, "versions": dict.fromkeys(plan["versions"], "0")}


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_part_never_reaches_the_table(
    damage: str, inputs: Inputs, job: Job, whole: bytes, tmp_path: Path
) -> None:
    """A part that is too short is made again at once; a flipped bit is found by its hash."""
    out = tmp_path / "rows.csv"
    victim = interrupt(inputs, out, job, 40)[1]
    data = bytearray(victim.read_bytes())
    data[-5] ^= 1
    victim.write_bytes(data[:-9] if damage == "cut" else data)
    if damage == "flipped":
        with pytest.raises(RunError, match="give the same command again"):
            predict_archive(inputs, out, job)
        assert not out.exists()
    predict_archive(inputs, out, job)
    assert out.read_bytes() == whole


def test_parts_belong_to_one_plan_and_one_command(tmp_path: Path) -> None:
    """Parts of another plan or shard and empty files do not count; a second command is refused."""
    ours, theirs = Parts(tmp_path, "1" * 64), Parts(tmp_path, "2" * 64)
    ours.write(0, b"row\n", Tally.empty())
    assert ours.done(0)
    assert ours.read(0)[0] == b"row\n"
    assert not theirs.done(0)
    (tmp_path / "part-0000000").rename(tmp_path / "part-0000001")
    (tmp_path / "part-0000002").touch()
    assert not any(ours.done(number) for number in range(4))
    table = tmp_path / "rows.csv"
    busy = pytest.raises(RunError, match="another process is at work")
    with parts_of(table, {}), busy, parts_of(table, {}):
        pass


def test_another_model_or_a_folder_as_output_is_noticed(
    inputs: Inputs, job: Job, tmp_path: Path
) -> None:
    """A process that loads the model later uses the one that was named, or none."""
    with pytest.raises(RunError, match="another model"):
        predict_archive(inputs, tmp_path / "rows.csv", replace(job, identity="0" * 64))
    with pytest.raises(ConfigError, match="is a folder"):
        predict_archive(inputs, tmp_path, job)


def test_two_processes_are_one_and_a_killed_one_is_replaced(
    inputs: Inputs, job: Job, whole: bytes, tmp_path: Path
) -> None:
    """One of two is killed while it works: the same table, in the same command."""
    seen: set[int | None] = set()
    killed: list[int | None] = []

    def kill_one(now: int, _before: int, _total: int) -> None:
        alive = active_children()
        seen.update(process.pid for process in alive)
        if now and len(alive) == 2 and not killed:
            alive[0].kill()
            killed.append(alive[0].pid)

    engine = partial(predict_in_processes, 2)
    predict_archive(inputs, tmp_path / "rows.csv", job, engine, kill_one)
    assert (tmp_path / "rows.csv").read_bytes() == whole
    assert len(seen) == 3
    assert not active_children()


def test_what_a_process_cannot_do_is_one_line(inputs: Inputs, job: Job, tmp_path: Path) -> None:
    """Its error is the command's, and no process is left waiting."""
    wrong = replace(job, model=str(tmp_path / "gone"))
    with pytest.raises(AlldError, match="no model there") as caught:
        predict_archive(inputs, tmp_path / "rows.csv", wrong, partial(predict_in_processes, 1))
    assert str(caught.value).isprintable()
    assert not active_children()


def die(_job: Job, _parts: Parts, _shard: Shard) -> None:
    """End the process, as a lack of memory does."""
    os._exit(137)


def test_a_shard_that_kills_every_process_is_named(
    inputs: Inputs, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three of them the message says which images it was, and what to try."""
    monkeypatch.setattr(engines, "_predict_counted", die)
    with pytest.raises(RunError, match=r"shard 0, from .*Im001_1.tif to .*processes died of it"):
        predict_archive(inputs, tmp_path / "rows.csv", job, partial(predict_in_processes, 1))


def test_processes_end_with_their_owner(inputs: Inputs, job: Job, tmp_path: Path) -> None:
    """A killed command leaves no process behind, whatever it was doing."""
    files = [str(file) for file in inputs.files]
    script = f"""
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from alld.inference.archives.archive import predict_archive
from alld.inference.archives.engines import Job, predict_in_processes
from alld.inference.inputs import Inputs
inputs = Inputs(tuple(map(Path, {files!r})) * 100)
show = lambda *_: print(len(active_children()), flush=True)
predict_archive(inputs, Path("rows.csv"), {job!r}, partial(predict_in_processes, 2), show, {SMALL})
"""
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as owner:
        assert owner.stdout
        assert any(line == "2\n" for line in owner.stdout)
        owner.kill()
        owner.communicate(timeout=60)  # it returns when no process holds the pipe any more


def test_a_list_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    """Before a shard is handed out, its names are compared with those that were counted."""
    assert SHARD % CPU_BATCH == SHARD % GPU_BATCH == 0  # rows depend on their batch
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


def test_the_command_stops_at_sigterm_and_goes_on(
    alld: Callable[..., Answer],
    inputs: Inputs,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """143 and a line that says so; then only the rest is predicted, and a failed file gives 1."""
    paths = [[str(path)] for path in [*inputs] * 12][: SHARD + 30]
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path"], *paths])
    words = ["predict", tmp_path / "list.csv", "--model", model, "--out", tmp_path / "rows.csv"]
    shown: list[tuple[int, int, int]] = []

    def pace(_self: object, now: int, before: int, total: int) -> None:
        shown.append((now, before, total))
        if now == SHARD + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Pace, "__call__", pace)
    status, _, err = alld(*words)
    assert status == 143
    assert f"stopped by SIGTERM after {SHARD + 1} of {SHARD + 30} images" in err
    shown.clear()
    status, _, err = alld(*words)
    assert status == 1
    assert (shown[0], shown[-1]) == ((0, SHARD, SHARD + 30), (30, SHARD, SHARD + 30))
    assert f"{SHARD + 30} images: " in err
    with open(tmp_path / "rows.csv", newline="") as file:
        assert [[row["path"]] for row in csv.DictReader(file)] == paths


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--workers", "0"], "--workers 0: must be at least 1"),
        (["--threads", "0"], "--threads 0: must be at least 1"),
        (["--workers", "2"], "use --out FILE"),
        (["--workers", "2", "--out", "rows.csv", "--explain", "maps"], "no --explain"),
        (["--format", "parquet"], "--out rows.parquet"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    options: list[str], reason: str, alld: Callable[..., Answer]
) -> None:
    """They are refused before any model is read."""
    status, out, err = alld("predict", "one.tif", *options)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert reason in err


@pytest.mark.parametrize(
    ("steps", "before", "lines"),
    [
        (
            [(0, 0), (10, 0), (20, 10), (25, 60), (40, 210), (50, 310)],
            1000,
            [
                "1000 of 1510 images are done already",
                "1210 of 1510 images, 10.0 images/s, 30 s left",  # a line every half minute
            ],
        ),
        ([(seconds, seconds) for seconds in range(29)], 0, []),
    ],
    ids=["long", "short"],
)
def test_a_log_tells_the_rate_since_the_first_image(
    steps: list[tuple[float, int]],
    before: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither earlier rows nor the start of processes count; below half a minute there is none."""
    clock = iter([seconds for seconds, _ in steps])
    monkeypatch.setattr("alld.commands.archive.time.monotonic", lambda: next(clock))
    with Pace() as pace:
        for _, now in steps:
            pace(now, before, before + 510)
    assert capsys.readouterr().err.splitlines() == lines
