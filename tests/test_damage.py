"""Runs after damage: altered checkpoints and images, half-begun runs, full disk and memory."""

import copy
import errno
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, Answer
from torch import nn
from trainings import assert_same_weights, replace_in

from alld.config.schema import Config
from alld.errors import ConfigError, Interrupted, RunError
from alld.evaluation import holdout as evaluation_room
from alld.evaluation.holdout import evaluate
from alld.runs import create as new_run
from alld.runs.create import check_free
from alld.runs.folder import Run
from alld.runtime.files import new_folder, write_json
from alld.runtime.signals import Stopping
from alld.training import batches
from alld.training.callbacks import DivergedError, Progress
from alld.training.checkpoints import load_newest
from alld.training.learner import FusedAdam
from alld.training.train import Listener, resume, train

OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    RuntimeError("can't start new thread"),
]


@pytest.fixture
def saved(stopped: Path) -> Path:
    """Two checkpoints, of the first and the second epoch."""
    return stopped / "checkpoints"


@pytest.mark.parametrize(
    ("old", "new"), [('"epochs_done": 2', '"epochs_done": 3'), ("false", "true"), ("{", "[")]
)
def test_the_facts_of_a_checkpoint_are_hashed_too(saved: Path, old: str, new: str) -> None:
    """History and the optimiser's numbers determine the next weights too."""
    replace_in(saved / "epoch-002" / "checkpoint.json", old, new)
    found, warnings = load_newest(saved)
    assert found is not None
    assert found.epochs_done == 1
    assert "epoch-002: damaged" in warnings[0]
    assert "going on from epoch-001" in warnings[0]


def test_without_a_whole_checkpoint_the_training_begins_again(saved: Path) -> None:
    """A warning for each damaged one says so."""
    for folder in saved.iterdir():
        (folder / "optimiser.safetensors").unlink()
    found, warnings = load_newest(saved)
    assert found is None
    assert len(warnings) == 2
    assert all("beginning again" in warning for warning in warnings)


def test_a_copy_of_a_checkpoint_is_not_one_of_the_run(saved: Path) -> None:
    """A folder `epoch-002-old` beside the checkpoints is ignored."""
    shutil.copytree(saved / "epoch-002", saved / "epoch-002-old")
    found, warnings = load_newest(saved)
    assert found is not None
    assert (found.epochs_done, warnings) == (2, [])


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    """As after `model.arch` was changed by hand and allowed with --allow-inexact."""
    found, _ = load_newest(saved)
    assert found is not None
    with pytest.raises(RunError, match=r"bring back model\.arch"):
        found.restore_weights(nn.Linear(2, 2))


def test_an_old_checkpoint_that_cannot_be_removed_stops_nothing(
    stopped: Path, run_folder: Path, tmp_path: Path
) -> None:
    """It may be a link, or held open on a network drive: it costs room and no more."""
    (stopped / "checkpoints" / "epoch-001").rename(tmp_path / "elsewhere")
    (stopped / "checkpoints" / "epoch-001").symlink_to(tmp_path / "elsewhere")
    resume(stopped)
    assert_same_weights(run_folder, stopped)


def test_other_images_than_the_runs_own_are_refused(
    stopped: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """A resume names an image that changed, and counts those that are gone."""
    data = Path(shutil.copytree(drawn_set, tmp_path / "set"))
    shutil.copy(data / "Im002_1.tif", data / "Im001_1.tif")
    with pytest.raises(RunError, match=r"1 changed \(first: Im001_1\.tif\)"):
        resume(stopped, data=data)
    (data / "Im001_1.tif").unlink()
    with pytest.raises(RunError, match="39 now, 40 then"):
        resume(stopped, data=data)


def test_a_run_json_without_its_fingerprint_is_damaged(stopped: Path) -> None:
    """Edited by hand, it is refused in one line."""
    replace_in(stopped / "run.json", '"fingerprint"', '"fingerprints"')
    with pytest.raises(RunError, match="damaged"):
        resume(stopped)


def test_a_run_killed_before_it_was_one_leaves_its_folder_free(tmp_path: Path) -> None:
    """Its lock tells it from a folder in which somebody keeps settings of his own."""
    for name in ("config.yaml", "images.csv", ".0123456789ab.part"):
        (tmp_path / name).touch()
    with pytest.raises(RunError, match="not an empty folder"):
        check_free(tmp_path)
    (tmp_path / ".lock").touch()
    check_free(tmp_path)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(RunError, match="not an empty folder"):
        check_free(tmp_path)


def test_a_run_that_was_moved_away_ends_with_its_epoch(
    stopped: Path, run_folder: Path, tmp_path: Path
) -> None:
    """No second, half empty run is written for hours in the old place."""

    def move(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (3, 1):
            stopped.rename(tmp_path / "moved")

    with pytest.raises(RunError, match="was taken away"):
        resume(stopped, Listener(progress=move))
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    resume(tmp_path / "moved")
    assert_same_weights(run_folder, tmp_path / "moved")


def full(path: Path, *_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def pressed(*_: Any) -> None:
    raise KeyboardInterrupt


def pressed_late(path: Path, value: Any) -> None:
    write_json(path, value)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("writer", "end", "error"),
    [
        ("write_csv", full, OSError),
        ("write_csv", pressed, KeyboardInterrupt),
        ("write_json", pressed_late, KeyboardInterrupt),
    ],
)
def test_a_run_that_fails_while_it_is_created_leaves_the_folder_free(
    small_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    end: Callable[..., None],
    error: type[BaseException],
) -> None:
    """A full disk or Ctrl-C: neither half a run nor a folder that is refused."""
    monkeypatch.setattr(new_run, writer, end)
    with pytest.raises(error):
        train(small_config, tmp_path / "run")
    check_free(tmp_path / "run")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    """The system names none when a write fails, and the file beside the target means nothing."""
    with (
        pytest.raises(OSError, match=r"here\.csv") as caught,
        new_folder(tmp_path / "here.csv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_weights_that_the_last_step_broke_are_not_kept(
    stopped: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All training losses were finite: the validation loss shows it, before the checkpoint."""
    original, steps = FusedAdam.step, [0]

    def step(self: FusedAdam, *given: Any) -> None:
        original(self, *given)
        steps[0] += 1
        if steps[0] == 4:
            next(iter(self.all_params()))[0].data.fill_(float("inf"))

    with monkeypatch.context() as patch:
        patch.setattr(FusedAdam, "step", step)
        with pytest.raises(RunError, match="epoch 3, batch 4: the validation loss after it is nan"):
            resume(stopped)
    assert len(Run(stopped).info["failure"]["files"]) == 2
    assert not (stopped / "checkpoints" / "epoch-003").exists()
    resume(stopped)
    assert_same_weights(run_folder, stopped)


def test_a_divergence_error_survives_copying() -> None:
    """A cluster rebuilds a fold's error from its message; it keeps its facts."""
    error = copy.copy(DivergedError("the loss is nan", {"epoch": 1}))
    assert (str(error), error.facts) == ("the loss is nan", {"epoch": 1})


def exhausted(error: Exception) -> Callable[..., Any]:
    def work(*_: Any, **__: Any) -> Any:
        raise error

    return work


def test_a_set_that_does_not_fit_the_memory_can_be_streamed(
    small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first epoch the batch is not at fault; the message says which setting helps."""
    monkeypatch.setattr(batches, "_in_memory", exhausted(OUT_OF_MEMORY[1]))
    with pytest.raises(ConfigError, match=r"runtime\.image_memory=0"):
        train(small_config, tmp_path / "run")


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:12])
def test_any_command_out_of_memory_ends_in_one_line(
    alld: Callable[..., Answer], run_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the system, CUDA or Metal calls it."""
    monkeypatch.setattr(evaluation_room, "evaluate", exhausted(error))
    status, _, said = alld("evaluate", run_folder)
    assert status == 2
    assert said.startswith("error: out of memory")
    assert said.count("\n") == 1


def test_the_next_evaluation_clears_what_a_killed_one_left(
    run_folder: Path, tmp_path: Path
) -> None:
    """Otherwise each kill would leave half a report behind."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / ".0123456789ab.part").mkdir()
    evaluate(run, heat_maps=False)
    assert {path.name for path in run.iterdir()} == {path.name for path in run_folder.iterdir()}


def test_a_second_signal_keeps_its_status_on_the_way_out() -> None:
    """143 of SIGTERM, also in work other than a training."""

    def work() -> None:
        with Stopping():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted, match="at once") as caught:
        work()
    assert caught.value.exit_status == 143


def test_the_scripts_end_like_the_commands(tmp_path: Path) -> None:
    """A full disk is one line and status 2 there too, with what to do next."""
    code = (
        "import errno, sys; from reproducing import status_of\n"
        "def full(): raise OSError(errno.ENOSPC, 'No space left on device', 'a.csv')\n"
        "sys.exit(status_of(full))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY / "scripts",
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = "error: a.csv: No space left on device; then the same command goes on\n"
    assert (done.returncode, done.stderr) == (2, said)
