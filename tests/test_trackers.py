"""Trackers: nothing of them unless asked for, and nothing but numbers given to them."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SMALL, Answer
from trainings import Stop, assert_same_weights, with_settings

from alld.errors import Interrupted
from alld.training.train import Listener, resume, train

# What tensorboard's libraries warn of in their own code.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def scalars(run: Path) -> dict[str, dict[int, float]]:
    """Name to step to value, of all files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    named = events.Tags()
    assert not any(named[kind] for kind in ("images", "audio", "histograms", "tensors"))
    assert not named["graph"]
    return {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in named["scalars"]
    }


@pytest.fixture(scope="module")
def tracked(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session's small run once more with TensorBoard, stopped in epoch 2 and resumed."""
    folder = tmp_path_factory.mktemp("tracked") / "run"
    config = with_settings(drawn_set, runtime__log="tensorboard")
    with pytest.raises(Interrupted):
        train(config, folder, Listener(progress=Stop(2, 2)))
    return resume(folder).folder


def test_losses_rates_and_accuracy_of_every_epoch_are_logged(tracked: Path) -> None:
    """Three epochs of four batches, counted on over two phases and a resume."""
    found = scalars(tracked)
    assert list(found["train_loss"]) == list(found["lr_0"]) == list(range(1, 13))
    assert list(found["valid_loss"]) == list(found["accuracy"]) == [4, 8, 12]


def test_what_is_logged_is_what_the_history_says(tracked: Path) -> None:
    """The validation loss and accuracy of each epoch."""
    with open(tracked / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = scalars(tracked)
    for column, name in (("valid_loss", "valid_loss"), ("valid_accuracy", "accuracy")):
        logged = [value for _, value in sorted(found[name].items())]
        assert logged == pytest.approx([float(row[column]) for row in rows], abs=1e-5)


def test_a_tracked_training_ends_in_the_same_weights(tracked: Path, run_folder: Path) -> None:
    """To the bit: trackers read along."""
    assert_same_weights(tracked, run_folder)


def test_no_tracker_is_imported_unless_asked_for() -> None:
    """A training's own imports bring neither."""
    code = "import alld.training.train, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorboard", "wandb"} & set(done.stdout.split())


@pytest.mark.parametrize("command", ["train", "crossval"])
def test_a_tracker_that_is_missing_is_named_before_anything_is_done(
    alld: Callable[..., Answer],
    drawn_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Status 2, one line with the command that installs it, and no run."""
    monkeypatch.setattr("alld.training.recording.find_spec", lambda _: None)
    small = [f"--set={key}={value}" for key, value in SMALL.items()]
    words = [command, "--data", drawn_set, "--out", tmp_path / "run", "--log", "wandb", *small]
    status, _, err = alld(*words)
    assert status == 2
    assert err.splitlines()[-1] == "error: runtime.log: wandb is not installed: pip install wandb"
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_pretraining_is_not_tracked(
    alld: Callable[..., Answer], drawn_set: Path, tmp_path: Path
) -> None:
    """It leaves no run; one line says so."""
    words = ("pretrain", "--data", drawn_set, "--out", tmp_path / "x.safetensors")
    status, _, err = alld(*words, "--set", "runtime.log=tensorboard")
    assert status == 2
    assert "no run that could be tracked" in err
