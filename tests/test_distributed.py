"""Several processes train one model: equal weights, one writer, no lost work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, Answer
from torch import nn
from trainings import assert_same_weights, weights, with_settings
from two_processes import OPTIONS, plain_network, plain_settings

from alld.errors import ConfigError, RunError
from alld.evaluation.measure import provenance
from alld.runs.folder import Run
from alld.runtime.launch import Launch, launched
from alld.runtime.threads import usable_cores
from alld.training import distributed
from alld.training import train as training
from alld.training.train import resume, train

ENVIRONMENT = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}
Be = Callable[[int, int], None]


def start(*words: object) -> "subprocess.Popen[str]":
    """Start two processes with torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.Popen(
        [*launcher, *map(str, words)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


@pytest.fixture(scope="module")
def two(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes left their runs and records; see two_processes.py."""
    out = tmp_path_factory.mktemp("two")
    script = REPOSITORY / "tests" / "two_processes.py"
    process = start("--log-dir", out / "logs", "--redirects", 3, script, drawn_set, out)
    try:
        printed, _ = process.communicate(timeout=600)
    finally:
        process.terminate()  # torchrun ends those that it started
    errors = "\n".join(log(out, "stderr", rank) for rank in (0, 1))
    assert process.returncode == 0, printed + errors
    return out


def seen(two: Path, part: str) -> list[Any]:
    """What both processes recorded of one part."""
    return [json.loads((two / f"{rank}.json").read_text())[part] for rank in (0, 1)]


def log(two: Path, stream: str, rank: int) -> str:
    [file] = two.glob(f"logs/*/attempt_0/{rank}/{stream}.log")
    return file.read_text()


def test_one_of_the_two_prints_and_writes(two: Path) -> None:
    """Every line is printed once, one process alone writes files, and both end with 0."""
    assert log(two, "stdout", 0).count("run: ") == 1
    assert "next: alld evaluate" in log(two, "stderr", 0)
    assert log(two, "stdout", 1) == log(two, "stderr", 1) == ""
    leader, other = seen(two, "whole")
    assert leader["status"] == other["status"] == 0
    written = [[path for path in p["written"] if str(two) in path] for p in (leader, other)]
    assert written[0]
    assert written[1] == []
    assert Run(two / "whole").state == "finished"


def test_each_image_is_seen_once_an_epoch_by_one_of_the_two(two: Path) -> None:
    """26 training images in two epochs, 6 validation images after each."""
    leader, other = (record["batches"] for record in seen(two, "whole"))
    assert len(other) == 4  # the leader also looks at all validation images in the end
    for number, images_of_part in enumerate([26, 6, 26, 6]):
        images = list(chain.from_iterable(leader[number] + other[number]))
        assert len(images) == len(set(images)) == images_of_part


def test_the_weights_are_the_same_on_both(two: Path) -> None:
    """They are compared after every epoch, and they change."""
    first, second = (record["weights"] for record in seen(two, "whole"))
    assert first == second
    assert len(set(first)) == 2


def test_unequal_weights_end_the_training_of_both(two: Path) -> None:
    """No checkpoint is written."""
    for apart in seen(two, "apart"):
        assert "process 1 has other weights than process 0" in apart["error"]
        assert (apart["status"], apart["everywhere"]) == (2, True)
    assert Run(two / "apart").state == "failed"
    assert not (two / "apart" / "checkpoints").exists()


def test_the_leader_names_the_error_of_another_process(two: Path) -> None:
    """Both end before anything was written."""
    leader, other = seen(two, "failed")
    assert leader["error"] == "process 1: cell.tif: gone"
    assert other["everywhere"] is True
    assert not (two / "failed").exists()


def test_run_and_report_say_how_batches_were_shared(two: Path) -> None:
    """World size, global batch, share, highest rate and what batch norm does."""
    run = Run(two / "whole")
    shared = run.info["parallel"]
    assert run.info["world_size"] == shared["processes"] == 2
    assert (shared["global_batch"], shared["batch_per_process"], shared["max_lr"]) == (10, 5, 1e-3)
    assert shared["batch_norm"] == distributed.LEADERS_STATISTICS
    recorded = provenance(run, device="cpu", threads=1, seconds=0)["training"]
    assert all(recorded[name] == shared[name] for name in shared.keys() - {"processes"})
    assert "2 processes: batches of 10 images, 5 in each" in log(two, "stderr", 0)


def test_sigterm_to_one_stops_both_at_the_same_batch(two: Path) -> None:
    """Both end with 143, and a resume ends in the weights of an undisturbed training."""
    for stopped in seen(two, "stopped"):
        assert (stopped["status"], stopped["last"]) == (143, [2, 2])
        assert "go on with 2 processes again: torchrun" in stopped["error"]
    assert (Run(two / "left").state, Run(two / "left").info["exit"]) == ("interrupted", 143)
    assert seen(two, "resumed") == [{}, {}]
    assert_same_weights(two / "whole", two / "stopped")


def test_a_resume_by_another_number_of_processes_is_refused(two: Path, tmp_path: Path) -> None:
    """It is named like any other difference."""
    shutil.copytree(two / "left", tmp_path / "left")
    with pytest.raises(RunError, match=r"world_size: 2 then, 1 now.*--allow-inexact"):
        resume(tmp_path / "left")


def test_unequal_parts_of_a_batch_have_the_mean_gradient_of_the_batch(
    two: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without batch norm, dropout and transforms one process gets the same weights and losses."""
    monkeypatch.setattr(training, "create_model", plain_network)
    train(plain_settings(drawn_set), tmp_path / "plain")
    alone, shared = weights(tmp_path / "plain"), weights(two / "plain")
    torch.manual_seed(0)
    before = plain_network().state_dict()
    for name in alone:
        torch.testing.assert_close(shared[name], alone[name], atol=1e-6, rtol=0)
        assert (alone[name] - before[name]).abs().max() > 1e-3
    rows = zip(Run(tmp_path / "plain").history(), Run(two / "plain").history(), strict=True)
    for one, other in rows:
        for fact in ("train_loss", "valid_loss", "valid_accuracy"):
            assert float(one[fact]) == pytest.approx(float(other[fact]), abs=1e-6)


def children(process: "subprocess.Popen[str]") -> dict[int, int]:
    """Return the process ids that torchrun started, by rank."""
    found = {}
    for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        for fact in Path(f"/proc/{line}/environ").read_bytes().split(b"\0"):
            if fact.startswith(b"RANK="):
                found[int(fact[5:])] = int(line)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes are found in /proc")
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_loses_nothing(two: Path, tmp_path: Path, victim: int) -> None:
    """The other ends too, torchrun ends non-zero, and a resume ends in the same weights."""
    folder = tmp_path / "killed"
    data = Run(two / "whole").config.data.root
    process = start("-m", "alld", "train", "--data", data, "--out", folder, *OPTIONS)
    while not (folder / "checkpoints" / "epoch-001").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(children(process)[victim], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("another process of this training is gone; go on" in printed) == (victim == 1)
    process = start("-m", "alld", "train", "--resume", folder)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert_same_weights(two / "whole", folder)


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Be:
    """A function that makes this process pass for one of several; nothing may be sent."""

    def one_of(rank: int, size: int) -> None:
        for name, value in (("is_initialized", True), ("get_world_size", size), ("get_rank", rank)):
            monkeypatch.setattr(torch.distributed, name, lambda value=value: value)

    return one_of


@pytest.mark.parametrize(
    ("changed", "device", "message"),
    [
        ({"train__batch_size": 5}, "cpu", "5 images are too few for 3 processes.*2 processes at"),
        ({}, "cuda:1", "3 processes cannot share cuda:1"),
        ({}, "mps", "3 processes cannot share mps"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    be: Be, changed: dict[str, int], device: str, message: str
) -> None:
    """With what to do instead."""
    be(0, 3)
    with pytest.raises(ConfigError, match=message):
        distributed.shares(with_settings(Path(), **changed).train, torch.device(device))


def loaders_on(device: str) -> SimpleNamespace:
    return SimpleNamespace(device=torch.device(device), train=SimpleNamespace(smallest=2))


def test_every_process_has_two_images_of_a_batch(be: Be) -> None:
    """Batch norm needs them: a smaller last batch is left out; alone nothing changes."""
    alone, shared = loaders_on("cpu"), loaders_on("cpu")
    network = nn.Sequential(nn.BatchNorm2d(8))
    assert distributed.distribute(network, alone) == (network, [])
    be(0, 3)
    distributed.distribute(network, shared)
    assert (alone.train.smallest, shared.train.smallest) == (2, 6)


def test_on_cuda_batch_norm_is_that_of_the_whole_batch(be: Be) -> None:
    """SyncBatchNorm in place of each, and the weights keep their names."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    names = list(network.state_dict())
    be(0, 2)
    model, [callback] = distributed.distribute(network, loaders_on("cuda"))
    assert isinstance(model[1], nn.SyncBatchNorm)
    assert isinstance(callback, distributed.Distributed)
    assert list(model.state_dict()) == names


def test_the_environment_says_which_process_this_is() -> None:
    """Without torchrun, and with one process, it is alone."""
    assert launched({}) == launched({"WORLD_SIZE": "1"}) == Launch(0, 1, 0, 1)
    assert launched(ENVIRONMENT) == Launch(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"RANK": ""}, "without RANK"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "without MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "not whole numbers"),
        ({"RANK": "2"}, "RANK is 2"),
    ],
)
def test_an_incomplete_environment_is_refused(changed: dict[str, str], message: str) -> None:
    """It is not taken for one process, and not waited for."""
    with pytest.raises(ConfigError, match=f"{message}.*start with torchrun, or unset"):
        launched({**ENVIRONMENT, **changed})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of the second of two processes."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    yield
    from alld import display

    display.silence(False)


@pytest.mark.parametrize("words", [["crossval"], ["pretrain", "--data", "x"], ["runs"]])
def test_other_commands_are_refused_under_torchrun(
    alld: Callable[..., Answer],
    environment: None,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
) -> None:
    """In one line, which the first process alone prints."""
    assert alld(*words) == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    status, out, err = alld(*words)
    assert (status, out) == (2, "")
    assert err == f"error: alld {words[0]} runs in one process, and torchrun started 2; " + (
        "give it without torchrun\n"
    )


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each would start a thread for every core."""
    alone = usable_cores()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert usable_cores() == max(1, alone // 2)
