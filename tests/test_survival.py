"""No lost work: stopped, killed, out of memory or disk, a run ends in bitwise the same weights."""

import csv
import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL
from trainings import Stop, assert_same_weights, with_settings

from alld.config.schema import Config
from alld.errors import Interrupted, RunError
from alld.evaluation.crossval.overview import run_overview
from alld.model.bundle import library_versions
from alld.runs.folder import Run
from alld.runtime.locks import LOCK, live
from alld.training import checkpoints
from alld.training import describe as describing
from alld.training import train as training
from alld.training.callbacks import Progress
from alld.training.train import Listener, resume, train


@pytest.fixture
def stopped(small_config: Config, tmp_path: Path) -> Path:
    """A run that was stopped in its third epoch."""
    with pytest.raises(Interrupted):
        train(small_config, tmp_path / "run", Listener(progress=Stop(3, 1)))
    return tmp_path / "run"


@pytest.fixture(scope="module")
def best_run(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the epoch with the lowest validation loss."""
    config = with_settings(drawn_set, train__select="best")
    return train(config, tmp_path_factory.mktemp("best") / "run").folder


@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (2, 1), (2, 5), (3, 2)])
def test_a_stopped_run_resumes_to_bitwise_the_same_weights(
    small_config: Config, run_folder: Path, tmp_path: Path, epoch: int, batch: int
) -> None:
    """Ctrl-C in the frozen phase, at the phases' border, in validation or later: one end."""
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="--resume") as caught:
        train(small_config, folder, Listener(progress=Stop(epoch, batch)))
    assert caught.value.exit_status == 130
    assert json.loads((folder / "run.json").read_text())["state"] == "interrupted"
    assert not (folder / "model.alld").exists()
    resume(folder)
    assert_same_weights(run_folder, folder)
    rows = Run(folder).history()
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]


def test_sigterm_ends_with_143(small_config: Config, tmp_path: Path) -> None:
    """SIGTERM stops like Ctrl-C, with its own status."""
    with pytest.raises(Interrupted) as caught:
        train(small_config, tmp_path / "run", Listener(progress=Stop(2, 1, signal.SIGTERM)))
    assert caught.value.exit_status == 143


def test_a_killed_run_resumes_to_the_same_weights(run_folder: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no chance to say goodbye; the last checkpoint is enough."""
    folder = tmp_path / "killed"
    settings = [
        argument for key, value in SMALL.items() for argument in ("--set", f"{key}={value}")
    ]
    data = training.open_run(run_folder).config.data.root
    command = [sys.executable, "-m", "alld", "train", "--data", data, "--out", folder, *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "epoch-001").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    resume(folder)
    assert_same_weights(run_folder, folder)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    small_config: Config, run_folder: Path, tmp_path: Path
) -> None:
    """Where the newest fails its hash the one before it serves, and the caller is told."""
    folder, notes = tmp_path / "run", []
    with pytest.raises(Interrupted):
        train(small_config, folder, Listener(progress=Stop(3, 1)))
    newest = folder / "checkpoints" / "epoch-002" / "weights.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    resume(folder, Listener(note=notes.append))
    assert "epoch-002" in notes[0]
    assert_same_weights(run_folder, folder)


def test_a_finished_run_is_not_resumed(run_folder: Path) -> None:
    """There is nothing left to do, and the message says what is next."""
    with pytest.raises(RunError, match="alld evaluate"):
        resume(run_folder)


def test_a_taken_folder_is_refused_before_any_work(small_config: Config, run_folder: Path) -> None:
    """--out never overwrites a run."""
    with pytest.raises(RunError, match="already holds a run"):
        train(small_config, run_folder)


def test_other_images_than_the_runs_own_are_refused(
    small_config: Config, drawn_set: Path, tmp_path: Path
) -> None:
    """A resume on a set that changed would train on something else."""
    data = tmp_path / "set"
    shutil.copytree(drawn_set, data)
    config = small_config.model_copy(
        update={"data": small_config.data.model_copy(update={"root": data})}
    )
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", Listener(progress=Stop(2, 1)))
    (data / "Im001_1.tif").unlink()
    with pytest.raises(RunError, match="39 now, 40 then"):
        resume(tmp_path / "run")


def test_a_run_that_failed_before_training_leaves_no_folder(
    drawn_set: Path, tmp_path: Path
) -> None:
    """A truncated image is named, and the wanted folder stays free."""
    data = tmp_path / "set"
    shutil.copytree(drawn_set, data)
    victim = data / "Im005_1.tif"
    victim.write_bytes(victim.read_bytes()[:3000])
    with pytest.raises(Exception, match=r"Im005_1\.tif"):
        train(with_settings(data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_names_its_images(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the message the first, in run.json all; there is no bundle of NaN weights."""
    original = torch.nn.CrossEntropyLoss.forward
    monkeypatch.setattr(
        torch.nn.CrossEntropyLoss, "forward", lambda *given: original(*given) * float("nan")
    )
    with pytest.raises(RunError, match=r"and 5 more\).*run\.json") as caught:
        train(with_settings(drawn_set), tmp_path / "run")
    failure = Run(tmp_path / "run").info["failure"]
    assert (failure["epoch"], failure["batch"], failure["loss"]) == (1, 1, "nan")
    assert len(set(failure["files"])) == 8
    assert failure["files"][0] in str(caught.value)
    with open(tmp_path / "run" / "split.csv", newline="") as file:
        part = {row["path"]: row["part"] for row in csv.DictReader(file)}
    assert {part[name] for name in failure["files"]} == {"train"}
    assert Run(tmp_path / "run").state == "failed"
    assert not (tmp_path / "run" / "model.alld").exists()


def test_a_live_run_is_left_alone(small_config: Config, tmp_path: Path) -> None:
    """Neither a second resume nor a second training enters a folder at work."""
    folder, refused = tmp_path / "run", []

    def intrude(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (2, 1):
            for intruder in (lambda: resume(folder), lambda: train(small_config, folder)):
                with pytest.raises(RunError) as caught:
                    intruder()
                refused.append(str(caught.value))

    train(small_config, folder, Listener(progress=intrude))
    assert "another process is at work in it" in refused[0]
    assert "already holds a run" in refused[1]


def change_setting(run: Path, old: str, new: str) -> None:
    config = run / "config.yaml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


def test_a_resume_under_other_conditions_is_refused_unless_allowed(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every difference is named; with --allow-inexact the run goes on, and run.json keeps it."""
    versions = {**library_versions(), "torch": "1.0"}
    monkeypatch.setattr("alld.training.machine.library_versions", lambda: versions)
    change_setting(stopped, "threads: 2", "threads: 1")
    change_setting(stopped, "workers: null", "workers: 7")
    change_setting(stopped, "max_lr: 0.001", "max_lr: 0.002")
    with pytest.raises(RunError, match="--allow-inexact") as caught:
        resume(stopped)
    notes: list[str] = []
    resume(stopped, Listener(note=notes.append), allow_inexact=True)
    kept = Run(stopped).info["inexact"]
    begun = (
        "train.max_lr: 0.001 then, 0.002 now",
        "threads: 2 then, 1 now",
        "workers: ",
        "versions.torch: ",
    )
    assert [line[: len(start)] for line, start in zip(kept, begun, strict=True)] == list(begun)
    assert all(line in str(caught.value) for line in kept)
    assert all(any(line in note for note in notes) for line in kept)


def test_settings_without_effect_on_the_weights_may_change(stopped: Path, run_folder: Path) -> None:
    """More bootstrap draws are no reason to refuse."""
    change_setting(stopped, "bootstrap_draws: 200", "bootstrap_draws: 100")
    resume(stopped)
    assert Run(stopped).info["inexact"] == []
    assert_same_weights(run_folder, stopped)


def test_moved_images_are_taken_from_where_they_are(
    drawn_set: Path, run_folder: Path, tmp_path: Path
) -> None:
    """A resume says that they are gone, and takes the same images from elsewhere."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(drawn_set, before)
    folder = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(with_settings(before), folder, Listener(progress=Stop(2, 1)))
    before.rename(after)
    with pytest.raises(Exception, match="--data DIR"):
        resume(folder)
    resume(folder, data=after)
    assert_same_weights(run_folder, folder)


def test_a_signal_while_the_model_is_saved_lets_it_finish(
    small_config: Config,
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bundle is whole, the run finished, and whoever called is told to stop."""
    original = describing.describe

    def interrupted(*given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(*given)

    monkeypatch.setattr("alld.training.train.describe", interrupted)
    with pytest.raises(Interrupted, match="had just been finished") as caught:
        train(small_config, tmp_path / "run")
    assert caught.value.exit_status == 143
    assert Run(tmp_path / "run").state == "finished"
    assert_same_weights(run_folder, tmp_path / "run")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_stops_at_once(
    small_config: Config, tmp_path: Path, number: int, status: int
) -> None:
    """Not even the batch is finished; what was saved before is kept."""

    def twice(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (2, 1):
            signal.raise_signal(number)
            signal.raise_signal(number)
            raise AssertionError("went on after the second signal")

    with pytest.raises(Interrupted, match="at once") as caught:
        train(small_config, tmp_path / "run", Listener(progress=twice))
    assert caught.value.exit_status == status
    info = Run(tmp_path / "run").info
    assert (info["state"], info["exit"]) == ("interrupted", status)
    assert (tmp_path / "run" / "checkpoints" / "epoch-001").is_dir()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_out_of_memory_is_one_line_with_the_batch_to_try(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Half of the batch that did not fit."""

    def exhausted(*_: Any) -> None:
        raise error

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", exhausted)
    with pytest.raises(RunError, match="train anew with --batch-size 4") as caught:
        train(small_config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert Run(tmp_path / "run").state == "failed"


def test_a_full_disk_keeps_the_checkpoint_before(
    small_config: Config, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint finds no room; once there is some, the run goes on from the first."""
    folder, write = tmp_path / "run", checkpoints.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == "optimiser.safetensors" and (folder / "checkpoints" / "epoch-001").exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_bytes", full)
        with pytest.raises(RunError, match=r"epoch-002: No space left.*--resume"):
            train(small_config, folder)
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["epoch-001"]
    assert (Run(folder).state, Run(folder).info["exit"]) == ("failed", 2)
    resume(folder)
    assert_same_weights(run_folder, folder)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_kill_between_best_and_checkpoint_loses_neither(
    best_run: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """The best epoch's weights are the same as without the kill, wherever it fell."""
    folder, write = tmp_path / "run", checkpoints._write

    def killed(place: Path, kind: str, facts: Mapping[str, Any], *rest: Any, kept: int) -> None:
        if kind == checkpoints.EPOCH and facts["epochs_done"] == epoch:
            raise KeyboardInterrupt
        write(place, kind, facts, *rest, kept=kept)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write", killed)
        with pytest.raises(Interrupted):
            train(with_settings(drawn_set, train__select="best"), folder)
    resume(folder)
    assert_same_weights(best_run, folder)


def test_a_damaged_best_epoch_is_refused(best_run: Path, tmp_path: Path) -> None:
    """Its hash is held against it: no bundle of flipped bits."""
    folder = shutil.copytree(best_run / "checkpoints", tmp_path / "checkpoints")
    [file] = folder.glob("best-*/weights.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="the best epoch's weights are gone"):
        checkpoints.load_best_weights(folder)


def test_what_a_killed_writer_left_is_cleared_away(stopped: Path, run_folder: Path) -> None:
    """Half a checkpoint beside its place is no checkpoint, and does not stay."""
    left = stopped / "checkpoints" / ".0123456789ab.part"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    (stopped / ".ba9876543210.part").write_bytes(b"{")
    resume(stopped)
    assert not list(stopped.rglob("*.part"))
    assert_same_weights(run_folder, stopped)


def test_a_killed_run_is_told_from_one_at_work(run_folder: Path, tmp_path: Path) -> None:
    """Neither could change run.json: only the lock knows whether somebody still works there."""
    run = Run(Path(shutil.copytree(run_folder, tmp_path / "run")))
    run.update(state="running")
    assert [row["state"] for row in run_overview(tmp_path)] == ["killed"]
    with live(run.folder):
        assert [row["state"] for row in run_overview(tmp_path)] == ["running"]
    (run.folder / LOCK).touch()  # a killed process leaves it
    assert [row["state"] for row in run_overview(tmp_path)] == ["killed"]
