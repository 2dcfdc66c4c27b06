"""Initial weights from other cells: any classes go in, a file for --weights comes out."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ARCH, SMALL, Answer
from drawn import draw_cell, save_tiff
from safetensors import safe_open
from safetensors.torch import load_file as load_tensors
from trainings import Stop

from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.sources.class_folders import load_classes
from alld.data.sources.find import load_manifest
from alld.errors import ConfigError, DataError, Interrupted, RunError
from alld.model.backbones import Body, create_model, whole_state
from alld.model.bundle import read_info
from alld.model.weights import LONGEST_ORIGIN, PRETRAINED, origin_of, save_file
from alld.runs.create import resolve_config
from alld.runtime.files import sha256_hex
from alld.training.pretrain import Pretrained, pretrain
from alld.training.train import Listener, train


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of drawn cells, 12, 8 and 6 of them."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    for name, count in (("large", 12), ("small", 8), ("pale", 6)):
        for number in range(count):
            pixels = draw_cell(rng, blast=name == "large")
            save_tiff(
                folder / name / f"{number}.tif", pixels // 2 + 100 if name == "pale" else pixels
            )
    return folder


def settings(cells: Path, **changed: object) -> Config:
    options = {**SMALL, "data.root": cells, "model.pretrained": False, "train.epochs": 1}
    return load_config(options={**options, **changed})


@pytest.fixture(scope="module")
def done(cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """One pretraining on the three classes. Read only."""
    return pretrain(settings(cells), tmp_path_factory.mktemp("out") / "cells.safetensors")


def test_classes_are_the_folders_in_their_order(cells: Path) -> None:
    """Names sorted, labels their numbers, every image in it, and drawn ones make it synthetic."""
    manifest, classes = load_classes(cells)
    assert classes == ("large", "pale", "small")
    assert np.bincount(manifest.labels).tolist() == [12, 6, 8]
    assert manifest.synthetic
    assert manifest.records[0].path == "large/0.tif"


def test_a_folder_without_class_folders_is_refused(cells: Path, tmp_path: Path) -> None:
    """No folder, one class only, an image beside the folders: each says what to do."""
    with pytest.raises(DataError, match="no such folder"):
        load_classes(tmp_path / "none")
    shutil.copytree(cells / "large", tmp_path / "set" / "large")
    with pytest.raises(DataError, match="two classes"):
        load_classes(tmp_path / "set")
    shutil.copy(cells / "pale" / "0.tif", tmp_path / "set" / "loose.tif")
    with pytest.raises(DataError, match=r"loose\.tif lies in no class folder"):
        load_classes(tmp_path / "set")


def test_the_file_is_the_trained_body(done: Pretrained) -> None:
    """It loads into a new network, whose body is then neither random nor ImageNet's."""
    torch.manual_seed(0)
    first = create_model(ARCH, pretrained=False)[0].state_dict()
    body = create_model(ARCH, pretrained=False, weights=done.path)[0]
    file = load_tensors(done.path)
    own = {name.removeprefix("network."): tensor for name, tensor in body.state_dict().items()}
    assert own.keys() == file.keys()
    assert all(torch.equal(own[name], file[name]) for name in file)
    assert not torch.equal(file["layer1.0.conv1.weight"], first["network.layer1.0.conv1.weight"])


def test_the_held_out_images_are_counted(done: Pretrained) -> None:
    """16 % of each class: two, one and one; the commonest class would get two of them."""
    assert (done.tested, done.commonest) == (4, 2)
    assert 0 <= done.right <= 4
    assert done.classes == {"large": 12, "pale": 6, "small": 8}


def test_a_run_records_what_its_initial_weights_were_trained_on(
    done: Pretrained, drawn_set: Path, tmp_path: Path
) -> None:
    """The bundle of a run that began with the file names classes and drawn images."""
    options = {**SMALL, "data.root": drawn_set, "train.epochs": 0, "model.weights": done.path}
    run = train(load_config(options=options), tmp_path / "run")
    origin = read_info(run.bundle).initial_weights
    assert origin == "file cells.safetensors (SYNTHETIC: 3 classes, 26 images, begun from random)"
    assert run.config.model.weights_sha256 == sha256_hex(done.path.read_bytes())


def test_initial_weights_that_changed_are_refused(drawn_set: Path, tmp_path: Path) -> None:
    """The settings that a cross-validation hands to its folds name the file's very bytes."""
    path = tmp_path / "w.safetensors"
    save_file(path, {"a": torch.zeros(1)}, {})
    given = load_config(options={**SMALL, "data.root": drawn_set, "model.weights": path})
    begun = resolve_config(given, load_manifest(given.data))
    save_file(path, {"a": torch.ones(1)}, {})
    with pytest.raises(ConfigError, match=rf"SHA-256 is .* wants {begun.model.weights_sha256:.12}"):
        train(begun, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_hash_without_its_file_is_refused() -> None:
    """It would hold nothing against anything."""
    with pytest.raises(ConfigError, match="give weights too"):
        load_config(options={"model.weights_sha256": "0" * 64})


def test_long_metadata_of_initial_weights_is_shortened(tmp_path: Path) -> None:
    """A long or hidden text in the metadata neither fills a report nor breaks a line."""
    path = tmp_path / "w.safetensors"
    save_file(path, {"a": torch.zeros(1)}, {PRETRAINED: "a\nb" + "x" * 5000})
    origin = origin_of(path)
    assert "\n" not in origin
    assert len(origin) < LONGEST_ORIGIN + 40
    save_file(path, {"a": torch.zeros(1)}, {})
    assert origin_of(path) == "file w.safetensors"


def test_nothing_is_overwritten(cells: Path, tmp_path: Path) -> None:
    """A file that is there, and a name of another kind, are refused before any training."""
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"")
    with pytest.raises(ConfigError, match="is there already"):
        pretrain(settings(cells), there)
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        pretrain(settings(cells), tmp_path / "weights.pth")


def test_ctrl_c_leaves_nothing(cells: Path, tmp_path: Path) -> None:
    """Stopped in its first epoch: 130, and no file."""
    out = tmp_path / "stopped.safetensors"
    with pytest.raises(Interrupted) as stopped:
        pretrain(settings(cells), out, Listener(progress=Stop(1, 1)))
    assert stopped.value.exit_status == 128 + signal.SIGINT
    assert not out.exists()


@pytest.mark.parametrize("arch", ["resnet18", "vgg16_bn", "timm:mobilenetv3_small_050"])
def test_other_architectures_reload_too(arch: str, tmp_path: Path) -> None:
    """What is kept of a body is what --weights of the same network takes, to the bit."""
    body, path = create_model(arch, pretrained=False)[0], tmp_path / "w.safetensors"
    assert isinstance(body, Body)
    save_file(path, whole_state(arch, body), {})
    again = create_model(arch, pretrained=False, weights=path)[0].state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in body.state_dict().items())


def test_the_command_writes_the_same_file_of_one_seed(
    alld: Callable[..., Answer],
    done: Pretrained,
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SYNTHETIC where the cells were drawn, and the next step; JSON on standard output alone."""
    options = {**SMALL, "model.pretrained": "false", "train.epochs": 1}
    options["train.lr_span"] = 100  # which --config pretrain sets to 1
    assignments = [f"--set={key}={value}" for key, value in options.items()]
    words = ["pretrain", "--data", cells, *assignments]
    status, out, err = alld(*words, "--out", tmp_path / "a.safetensors")
    assert status == 0
    assert "SYNTHETIC" in out
    assert f"alld train --arch {ARCH} --weights" in err
    first, second = load_tensors(done.path), load_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["arch"] == ARCH
    monkeypatch.setattr("alld.training.pretrain.pretrain", lambda *_: done)
    status, out, _ = alld(*words, "--json")
    assert (status, json.loads(out)["tested"]) == (0, 4)


@pytest.mark.parametrize("error", [None, MemoryError()], ids=["diverged", "out of memory"])
def test_a_pretraining_that_fails_says_what_to_change(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """As a training does, but there is no checkpoint and no run.json."""

    def broken(_: object, given: torch.Tensor, __: object) -> torch.Tensor:
        if error:
            raise error
        return given.sum() * torch.nan

    monkeypatch.setattr(torch.nn.CrossEntropyLoss, "forward", broken)
    message = "--batch-size 4" if error else "epoch 1, batch 1: the training loss is nan"
    with pytest.raises(RunError, match=message) as caught:
        pretrain(settings(cells), tmp_path / "cells.safetensors")
    assert "checkpoint" not in str(caught.value)
    assert "run.json" not in str(caught.value)


def test_a_place_that_cannot_be_written_to_is_noticed_first(cells: Path, tmp_path: Path) -> None:
    """Not after the last epoch, which nothing would be left of."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        pretrain(settings(cells), tmp_path / "file" / "cells.safetensors", Listener(step=never))


def never(*_: object) -> None:
    raise AssertionError("images were read")
