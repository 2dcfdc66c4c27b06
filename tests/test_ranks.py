"""Several processes train one model: each its rows, one writer, equal weights, no lost work."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, Answer
from torch import nn
from trainings import assert_same_weights, weights, with_settings
from two_ranks import SETTINGS, plain_network, plain_settings

from alld.config.schema import Config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError, RunError
from alld.evaluation.provenance import provenance
from alld.runs.folder import Run
from alld.runtime.launch import Launch, launched
from alld.runtime.threads import usable_cores
from alld.training import parallel
from alld.training import train as training
from alld.training.learner import make_learner
from alld.training.loaders import make_loaders
from alld.training.train import resume, train

CPU = torch.device("cpu")
TOLD = {
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def start(*words: object) -> "subprocess.Popen[str]":
    """torchrun with two processes."""
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
    """What two processes did and saw; see two_ranks.py."""
    out = tmp_path_factory.mktemp("two")
    script = REPOSITORY / "tests" / "two_ranks.py"
    logs = ["--log-dir", out / "logs", "--redirects", 3]
    process = start(*logs, script, drawn_set, out)
    try:
        said, _ = process.communicate(timeout=600)
    finally:
        process.terminate()  # torchrun ends those that it started
    assert process.returncode == 0, said + "\n".join(log(out, "stderr", rank) for rank in (0, 1))
    return out


def seen(two: Path, rank: int) -> Any:
    return json.loads((two / f"{rank}.json").read_text())


def log(two: Path, stream: str, rank: int) -> str:
    [file] = two.glob(f"logs/*/attempt_0/{rank}/{stream}.log")
    return file.read_text()


def test_one_of_the_two_speaks(two: Path) -> None:
    """Every line is said once, and both end with 0."""
    assert log(two, "stdout", 0).count("run: ") == 1
    assert "next: alld evaluate" in log(two, "stderr", 0)
    assert log(two, "stdout", 1) == log(two, "stderr", 1) == ""
    assert [seen(two, rank)["told"]["status"] for rank in (0, 1)] == [0, 0]


def test_one_of_the_two_writes(two: Path) -> None:
    """The other touches no file of the run."""
    written = [
        [path for path in seen(two, rank)["told"]["written"] if path.startswith(str(two))]
        for rank in (0, 1)
    ]
    assert written[0]
    assert written[1] == []
    assert Run(two / "whole").state == "finished"


def test_each_image_is_seen_once_an_epoch_on_one_of_the_two(two: Path) -> None:
    """26 training images in two epochs, 6 validation images after each."""
    served = [seen(two, rank)["told"]["batches"] for rank in (0, 1)]
    assert len(served[1]) == 4  # the first also judges all validation images at the end
    parts = {"train": 26, "valid": 6}
    for number, part in enumerate(["train", "valid"] * 2):
        images = list(chain.from_iterable(served[0][number] + served[1][number]))
        assert len(images) == len(set(images)) == parts[part]


def test_the_weights_are_the_same_on_both(two: Path) -> None:
    """Compared before the first step and after every epoch, and they change."""
    first, second = (seen(two, rank)["told"]["weights"] for rank in (0, 1))
    assert first == second
    assert len(set(first)) == 3  # at the start, after each of two epochs


def test_other_weights_on_one_end_the_training_of_both(two: Path) -> None:
    """No checkpoint is written of a model that is not one."""
    for rank in (0, 1):
        apart = seen(two, rank)["apart"]
        assert "process 1 has other weights than process 0" in apart["error"]
        assert (apart["status"], apart["everywhere"]) == (2, True)
    assert Run(two / "apart").state == "failed"
    assert not (two / "apart" / "checkpoints").exists()


def test_what_one_alone_lacks_is_said_by_the_first(two: Path) -> None:
    """Before anything is written."""
    assert seen(two, 0)["failed"]["error"] == "process 1: cell.tif: gone"
    assert seen(two, 1)["failed"]["everywhere"] is True
    assert not (two / "failed").exists()


def test_run_and_report_say_how_batches_were_shared(two: Path) -> None:
    """World size, global batch, share, highest rate and what batch norm does."""
    run = Run(two / "whole")
    shared = run.info["parallel"]
    assert run.info["world_size"] == shared["processes"] == 2
    assert (shared["global_batch"], shared["batch_per_process"], shared["max_lr"]) == (10, 5, 1e-3)
    assert shared["batch_norm"] == parallel.OWN_IMAGES
    told = provenance(run, device="cpu", threads=1, seconds=0)["training"]
    assert all(told[name] == shared[name] for name in shared.keys() - {"processes"})
    assert "2 processes: batches of 10 images, 5 in each" in log(two, "stderr", 0)


def test_sigterm_to_one_stops_both_at_the_same_batch(two: Path) -> None:
    """Status 143 on both; the run can go on."""
    for rank in (0, 1):
        stopped = seen(two, rank)["stopped"]
        assert (stopped["status"], stopped["last"]) == (143, [2, 2])
        assert "go on with 2 processes again: torchrun" in stopped["error"]
    assert (Run(two / "left").state, Run(two / "left").info["exit"]) == ("interrupted", 143)


def test_a_resume_by_two_ends_in_bitwise_the_same_weights(two: Path) -> None:
    """As if nothing had stopped it."""
    assert seen(two, 0)["resumed"] == seen(two, 1)["resumed"] == {}
    assert_same_weights(two / "whole", two / "stopped")


def test_a_resume_by_another_number_of_processes_is_refused(two: Path, tmp_path: Path) -> None:
    """It is named like any other difference."""
    shutil.copytree(two / "left", tmp_path / "left")
    with pytest.raises(RunError, match=r"world_size: 2 then, 1 now.*--allow-inexact"):
        resume(tmp_path / "left")


def test_without_batch_norm_two_do_what_one_does(
    two: Path, drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same images, transforms, dropout and mean gradient: the weights differ by rounding alone."""
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


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Makes this process pass for one of several; nothing may be sent."""

    def one_of(rank: int, size: int) -> None:
        for name, value in (("is_initialized", True), ("get_world_size", size), ("get_rank", rank)):
            monkeypatch.setattr(torch.distributed, name, lambda value=value: value)

    return one_of


def epoch(config: Config) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], list[list[int]]]:
    """The batches of one epoch of training, and the manifest numbers of the validation batches."""
    manifest = load_manifest(config.data)
    groups = load_groups(manifest)
    split = make_split(manifest, groups.of_image, groups.source, config.split, 0)
    loaders = make_loaders(manifest, split, config, CPU)
    loaders.train.rng = random.Random(0)
    torch.manual_seed(0)
    batches = list(loaders.train)
    assert len(batches) == len(loaders.train)
    assert len(list(loaders.valid)) == len(loaders.valid)
    return batches, loaders.valid.served


@pytest.mark.parametrize("memory", [0, 1])
@pytest.mark.parametrize("size", [2, 3])
def test_shares_are_the_rows_of_what_one_process_serves(
    drawn_set: Path, be: Callable[[int, int], None], size: int, memory: int
) -> None:
    """The same images in the same order under the same transforms, in memory and streamed."""
    config = with_settings(drawn_set, train__batch_size=10, runtime__image_memory=memory)
    whole, validation = epoch(config)
    shares, parts = [], []
    for rank in range(size):
        be(rank, size)
        batches, served = epoch(config)
        shares.append(batches)
        parts += list(chain.from_iterable(served))
    for number, (images, labels) in enumerate(whole):
        torch.testing.assert_close(
            torch.cat([share[number][0] for share in shares]), images, rtol=0, atol=0
        )
        assert torch.equal(torch.cat([share[number][1] for share in shares]), labels)
    assert sorted(parts) == sorted(chain.from_iterable(validation))


def test_a_last_batch_without_two_images_for_each_is_left_out(
    drawn_set: Path, be: Callable[[int, int], None]
) -> None:
    """26 images in batches of 8 leave 2: enough for one process, one each for two."""
    config = with_settings(drawn_set)
    assert [len(labels) for _, labels in epoch(config)[0]] == [8, 8, 8, 2]
    be(0, 2)
    assert [len(labels) for _, labels in epoch(config)[0]] == [4, 4, 4]


@pytest.mark.parametrize(
    ("changed", "device", "said"),
    [
        ({"train__batch_size": 5}, "cpu", "5 images are too few for 3 processes.*2 processes at"),
        ({}, "cuda:1", "3 processes cannot share cuda:1"),
        ({}, "mps", "3 processes cannot share mps"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(
    be: Callable[[int, int], None], changed: dict[str, int], device: str, said: str
) -> None:
    """With what to do instead."""
    be(0, 3)
    with pytest.raises(ConfigError, match=said):
        parallel.parallel_facts(with_settings(Path(), **changed), torch.device(device))


def test_on_cuda_batch_norm_is_that_of_the_whole_batch(be: Callable[[int, int], None]) -> None:
    """SyncBatchNorm in place of each, and the weights keep their names."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5))
    names = list(network.state_dict())
    assert parallel.divided(network, torch.device("cuda")) is network
    be(0, 2)
    divided = parallel.divided(network, torch.device("cuda"))
    assert isinstance(divided[1], nn.SyncBatchNorm)
    assert isinstance(divided[2], parallel.DropoutOfRows)
    assert list(divided.state_dict()) == names


def test_dropout_of_rows_is_that_of_one_process(be: Callable[[int, int], None]) -> None:
    """The masks of all shares together are the one that a process alone would draw."""
    values = torch.ones(7, 50)
    torch.manual_seed(0)
    whole = nn.Dropout(0.5)(values)
    shares = []
    for rank in range(3):
        be(rank, 3)
        layer = parallel.DropoutOfRows(0.5)
        layer.images = 7
        torch.manual_seed(0)
        shares.append(layer(values[parallel.rows(7)]))
    assert torch.equal(torch.cat(shares), whole)


def test_alone_nothing_is_changed(small_config: Config) -> None:
    """No callback more, no other layers."""
    manifest = load_manifest(small_config.data)
    groups = load_groups(manifest)
    split = make_split(manifest, groups.of_image, groups.source, small_config.split, 0)
    model = training._create(small_config)
    layers = [type(layer) for layer in model.modules()]
    learner = make_learner(model, make_loaders(manifest, split, small_config, CPU), small_config)
    assert [type(layer) for layer in learner.model.modules()] == layers
    assert not any(isinstance(callback, parallel.OneModel) for callback in learner.cbs)


def test_the_environment_says_which_process_this_is() -> None:
    """Without torchrun, and with one process, it is alone."""
    assert launched({}) == launched({"WORLD_SIZE": "1"}) == Launch(0, 1, 0, 1)
    assert launched(TOLD) == Launch(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"RANK": ""}, "without RANK"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "without MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "no numbers"),
        ({"RANK": "2"}, "RANK is 2"),
    ],
)
def test_half_an_announcement_of_processes_is_refused(changed: dict[str, str], said: str) -> None:
    """Not taken for one process, and not waited for."""
    with pytest.raises(ConfigError, match=f"{said}.*start with torchrun, or unset"):
        launched({**TOLD, **changed})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """That of the second of two processes."""
    for name, value in TOLD.items():
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
    """In one line, which the first process alone says."""
    assert alld(*words) == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    status, out, err = alld(*words)
    assert (status, out) == (2, "")
    assert err == f"error: alld {words[0]} runs in one process, and torchrun started 2; " + (
        "give it without torchrun\n"
    )


def test_processes_on_one_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would start a thread for every core."""
    alone = usable_cores()
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    assert usable_cores() == max(1, alone // 2)


def children(process: "subprocess.Popen[str]") -> dict[int, int]:
    """Rank to process id."""
    found = {}
    for line in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        facts = Path(f"/proc/{line}/environ").read_bytes().split(b"\0")
        for fact in facts:
            if fact.startswith(b"RANK="):
                found[int(fact[5:])] = int(line)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the processes are found in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_loses_nothing(two: Path, tmp_path: Path, victim: int) -> None:
    """The other ends too, torchrun ends non-zero, and a resume ends in the same weights."""
    folder = tmp_path / "killed"
    options = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    data = Run(two / "whole").config.data.root
    process = start("-m", "alld", "train", "--data", data, "--out", folder, *options)
    while not (folder / "checkpoints" / "epoch-001").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(children(process)[victim], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert ("another process of this training is gone; go on" in said) == (victim == 1)
    process = start("-m", "alld", "train", "--resume", folder)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert_same_weights(two / "whole", folder)
