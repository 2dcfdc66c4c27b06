"""No lost work: stopped, killed, out of memory or disk, a run ends in bitwise the same weights."""

import csv
import errno
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
from trainings import (
    Stop,
    assert_same_weights,
    flip_last_bit,
    replace_in,
    weights,
    with_settings,
)

from alld.config.schema import Config
from alld.errors import Interrupted, RunError
from alld.evaluation.crossval.overview import run_overview
from alld.model.bundle import library_versions
from alld.runs.folder import Run
from alld.runtime import files
from alld.runtime.locks import LOCK, live
from alld.training import checkpoints
from alld.training import describe as describing
from alld.training.callbacks import Progress
from alld.training.train import Listener, resume, train

BEST = {"train__recipe": "fine_tune", "train__select": "best"}


@pytest.fixture(scope="module")
def best_run(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the epoch with the lowest validation loss. Read only."""
    config = with_settings(drawn_set, **BEST)
    return train(config, tmp_path_factory.mktemp("best") / "run").folder


@pytest.mark.parametrize(
    ("epoch", "batch", "number", "status"),
    [(1, 2, signal.SIGINT, 130), (2, 5, signal.SIGTERM, 143)],
    ids=["Ctrl-C in the frozen phase", "SIGTERM in validation"],
)
def test_a_stopped_run_resumes_to_bitwise_the_same_weights(
    small_config: Config,
    run_folder: Path,
    tmp_path: Path,
    epoch: int,
    batch: int,
    number: int,
    status: int,
) -> None:
    """Without a checkpoint it begins again; each signal has its status."""
    folder = tmp_path / "stopped"
    with pytest.raises(Interrupted, match="--resume") as caught:
        train(small_config, folder, Listener(progress=Stop(epoch, batch, number)))
    assert caught.value.exit_status == status
    assert Run(folder).state == "interrupted"
    assert not (folder / "model.alld").exists()
    resume(folder)
    assert_same_weights(run_folder, folder)
    assert [int(row["epoch"]) for row in Run(folder).history()] == [1, 2, 3]


def test_a_killed_run_resumes_to_the_same_weights(
    drawn_set: Path, run_folder: Path, tmp_path: Path
) -> None:
    """SIGKILL leaves no time to save; the last checkpoint is enough."""
    folder = tmp_path / "killed"
    settings = [f"--set={key}={value}" for key, value in SMALL.items()]
    command = [sys.executable, "-m", "alld", "train", f"--data={drawn_set}", f"--out={folder}"]
    process = subprocess.Popen(
        [*command, *settings], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "epoch-001").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    resume(folder)
    assert_same_weights(run_folder, folder)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(stopped: Path, run_folder: Path) -> None:
    """The newest one fails its hash, and the caller is told."""
    notes: list[str] = []
    flip_last_bit(stopped / "checkpoints" / "epoch-002" / "weights.safetensors")
    resume(stopped, Listener(note=notes.append))
    assert "epoch-002" in notes[0]
    assert_same_weights(run_folder, stopped)


def test_a_finished_run_is_neither_resumed_nor_overwritten(
    small_config: Config, run_folder: Path
) -> None:
    """The message says what is next."""
    with pytest.raises(RunError, match="alld evaluate"):
        resume(run_folder)
    with pytest.raises(RunError, match="already holds a run"):
        train(small_config, run_folder)


def test_moved_images_are_taken_from_where_they_are(
    stopped: Path, drawn_set: Path, run_folder: Path
) -> None:
    """A resume says that they are gone, and takes the same images from elsewhere."""
    replace_in(stopped / "config.yaml", f"root: {drawn_set}", f"root: {drawn_set}-before")
    with pytest.raises(Exception, match="--data DIR"):
        resume(stopped)
    resume(stopped, data=drawn_set)
    assert_same_weights(run_folder, stopped)


def test_a_run_that_failed_before_training_leaves_no_folder(
    drawn_set: Path, tmp_path: Path
) -> None:
    """A truncated image is named, and the wanted folder stays free."""
    victim = Path(shutil.copytree(drawn_set, tmp_path / "set")) / "Im005_1.tif"
    victim.write_bytes(victim.read_bytes()[:3000])
    with pytest.raises(Exception, match=r"Im005_1\.tif"):
        train(with_settings(victim.parent), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_a_number_names_its_images(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the first, run.json all; there is no bundle of NaN weights."""
    monkeypatch.setattr(
        torch.nn.CrossEntropyLoss, "forward", lambda _, logits, __: logits.sum() * float("nan")
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


def test_a_run_at_work_is_left_alone(small_config: Config, stopped: Path) -> None:
    """Neither a second resume nor a second training enters its folder."""
    refused: list[Progress] = []

    def intrude(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (3, 1):
            with pytest.raises(RunError, match="another process is at work in it"):
                resume(stopped)
            with pytest.raises(RunError, match="already holds a run"):
                train(small_config, stopped)
            refused.append(progress)

    resume(stopped, Listener(progress=intrude))
    assert refused


def test_a_resume_under_other_conditions_is_refused_unless_allowed(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every difference is named; with --allow-inexact the run goes on, and run.json keeps it."""
    versions = {**library_versions(), "torch": "1.0"}
    monkeypatch.setattr("alld.runs.machine.library_versions", lambda: versions)
    replace_in(stopped / "config.yaml", "threads: 2", "threads: 1")
    replace_in(stopped / "config.yaml", "workers: null", "workers: 7")
    replace_in(stopped / "config.yaml", "max_lr: 0.001", "max_lr: 0.002")
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
    """More bootstrap draws are no reason to refuse; half-written files are cleared away."""
    replace_in(stopped / "config.yaml", "bootstrap_draws: 200", "bootstrap_draws: 100")
    left = stopped / "checkpoints" / ".0123456789ab.part"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    (stopped / ".ba9876543210.part").write_bytes(b"{")
    resume(stopped)
    assert Run(stopped).info["inexact"] == []
    assert not list(stopped.rglob("*.part"))
    assert_same_weights(run_folder, stopped)


def test_a_signal_while_the_model_is_saved_lets_it_finish(
    stopped: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle is whole, the run finished, and the caller is told to stop."""
    original = describing.describe

    def interrupted(*given: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return original(*given)

    monkeypatch.setattr("alld.training.train.describe", interrupted)
    with pytest.raises(Interrupted, match="had just been finished") as caught:
        resume(stopped)
    assert caught.value.exit_status == 143
    assert Run(stopped).state == "finished"
    assert_same_weights(run_folder, stopped)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_stops_at_once(stopped: Path, number: int, status: int) -> None:
    """Not even the batch is finished; what was saved before is kept."""

    def twice(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (3, 1):
            signal.raise_signal(number)
            signal.raise_signal(number)
            raise AssertionError("went on after the second signal")

    with pytest.raises(Interrupted, match="at once") as caught:
        resume(stopped, Listener(progress=twice))
    assert caught.value.exit_status == status
    assert (Run(stopped).state, Run(stopped).info["exit"]) == ("interrupted", status)
    assert (stopped / "checkpoints" / "epoch-002").is_dir()


def test_out_of_memory_is_one_line_with_the_batch_to_try(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the batch that did not fit; test_damage has what else memory errors look like."""

    def exhausted(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", exhausted)
    with pytest.raises(RunError, match="train anew with --batch-size 4") as caught:
        train(small_config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert Run(tmp_path / "run").state == "failed"


def test_a_full_disk_keeps_the_checkpoints_before(
    stopped: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third checkpoint finds no room; once there is some, the run goes on from the second."""
    write = files.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == "optimiser.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_bytes", full)
        with pytest.raises(RunError, match=r"epoch-003: No space left.*--resume"):
            resume(stopped)
    names = sorted(path.name for path in (stopped / "checkpoints").iterdir())
    assert names == ["epoch-001", "epoch-002"]
    assert (Run(stopped).state, Run(stopped).info["exit"]) == ("failed", 2)
    resume(stopped)
    assert_same_weights(run_folder, stopped)


def test_the_best_epoch_can_be_selected(best_run: Path) -> None:
    """select: best saves the weights of the epoch with the lowest validation loss."""
    run = Run(best_run)
    losses = [float(row["valid_loss"]) for row in run.history()]
    best, ours = checkpoints.load_best_weights(run.checkpoints), weights(run.folder)
    assert all(torch.equal(best[name], ours[name]) for name in best)
    [folder] = run.checkpoints.glob("best-*")
    assert folder.name == f"best-{losses.index(min(losses)) + 1:03d}"


def test_a_kill_between_best_and_checkpoint_loses_neither(
    best_run: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best epoch's weights are the same as without the kill; torture.py kills anywhere."""
    folder, write = tmp_path / "run", checkpoints._write

    def killed(place: Path, kind: str, facts: Mapping[str, Any], *rest: Any, kept: int) -> None:
        if kind == checkpoints.EPOCH and facts["epochs_done"] == 1:
            raise KeyboardInterrupt
        write(place, kind, facts, *rest, kept=kept)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_write", killed)
        with pytest.raises(Interrupted):
            train(with_settings(drawn_set, **BEST), folder)
    resume(folder)
    assert_same_weights(best_run, folder)


def test_a_damaged_best_epoch_is_refused(best_run: Path, tmp_path: Path) -> None:
    """Its weights are checked against their hash."""
    folder = Path(shutil.copytree(best_run / "checkpoints", tmp_path / "checkpoints"))
    [file] = folder.glob("best-*/weights.safetensors")
    flip_last_bit(file)
    with pytest.raises(RunError, match="the best epoch's weights are gone"):
        checkpoints.load_best_weights(folder)


def test_a_killed_run_is_told_from_one_at_work(run_folder: Path, tmp_path: Path) -> None:
    """Neither could change run.json: only the lock shows whether a process still works there."""
    run = Run(Path(shutil.copytree(run_folder, tmp_path / "run")))
    run.update(state="running")
    assert [row["state"] for row in run_overview(tmp_path)] == ["killed"]
    with live(run.folder):
        assert [row["state"] for row in run_overview(tmp_path)] == ["running"]
    (run.folder / LOCK).touch()  # a killed process leaves it
    assert [row["state"] for row in run_overview(tmp_path)] == ["killed"]
