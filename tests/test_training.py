"""The recipe: what trains when, one seed one model, and no lost work."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ARCH
from drawn import draw_all_idb2
from fastai.learner import Learner
from fastai.optimizer import Adam
from torch import nn
from trainings import assert_same_weights, loaders_of, weights, with_settings

from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.sources.find import load_manifest
from alld.errors import ConfigError
from alld.inference.predictor import Predictor
from alld.model.bundle import read_bundle
from alld.model.network import blast_probability
from alld.training import train as training
from alld.training.batches import MemorySource, StreamSource
from alld.training.describe import validation_logits
from alld.training.learner import FusedAdam, make_learner
from alld.training.phases import phases
from alld.training.train import train


def test_a_streamed_set_gives_bitwise_the_same_weights(
    drawn_set: Path, run_folder: Path, tmp_path: Path
) -> None:
    """One seed gives one model, also if images are decoded in every epoch by several threads."""
    streamed = with_settings(drawn_set, runtime__image_memory=0, runtime__workers=3)
    train(streamed, tmp_path / "streamed")
    assert_same_weights(run_folder, tmp_path / "streamed")


def test_the_memory_budget_decides_between_keeping_and_streaming(drawn_set: Path) -> None:
    """26 squares of 40 px and 6 of 32 px are 143,232 bytes: within 1 MB, beyond 0."""
    for megabytes, kind in ((0, StreamSource), (1, MemorySource)):
        _, _, loaders = loaders_of(with_settings(drawn_set, runtime__image_memory=megabytes))
        assert all(isinstance(source, kind) for source in loaders.train.sources)


def test_bf16_is_refused_where_there_is_no_cuda(drawn_set: Path, tmp_path: Path) -> None:
    """Before anything is written."""
    config = with_settings(drawn_set, runtime__precision="bf16")
    with pytest.raises(ConfigError, match=r"runtime\.precision"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_run_folder_explains_itself(run_folder: Path, drawn_set: Path) -> None:
    """config, split, history, versions, machine, data and bundle are all there."""
    info = json.loads((run_folder / "run.json").read_text())
    assert info["state"] == "finished"
    assert info["exit"] == 0
    assert (
        info["data"]["fingerprint"]
        == load_manifest(Config(data={"root": drawn_set}).data).fingerprint
    )
    assert info["data"]["synthetic"] is True
    assert info["threads"] == 2
    assert info["world_size"] == 1
    assert {"torch", "fastai", "python"} <= info["versions"].keys()
    present = {path.name for path in run_folder.iterdir()}
    assert present == {
        "config.yaml", "split.csv", "images.csv", "history.csv", "run.json",
        "checkpoints", "model.alld", "evaluation",
    }  # fmt: skip
    assert len(list((run_folder / "checkpoints").iterdir())) == 2


def test_settings_in_the_run_are_resolved(run_folder: Path) -> None:
    """The run's settings have an absolute data folder and the split's seed."""
    config = load_config(run_folder / "config.yaml")
    assert config.data.root.is_absolute()
    assert config.split.seed == 0


@pytest.fixture(scope="module")
def frozen_run(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One frozen epoch and no other."""
    config = with_settings(drawn_set, train__epochs=0)
    return train(config, tmp_path_factory.mktemp("frozen") / "run").folder


def test_the_frozen_phase_leaves_the_body_alone(frozen_run: Path) -> None:
    """No weight and no batch-norm statistic of the body moves; the head does."""
    from alld.model.backbones import create_model

    torch.manual_seed(0)
    before = create_model(ARCH, pretrained=False).state_dict()
    after = weights(frozen_run)
    body = [name for name in before if name.startswith("0.")]
    head = [name for name in before if name.startswith("1.")]
    assert body
    assert all(torch.equal(before[name], after[name]) for name in body)
    assert any(not torch.equal(before[name], after[name]) for name in head)


def test_another_seed_gives_other_weights(
    drawn_set: Path, frozen_run: Path, tmp_path: Path
) -> None:
    """Equal weights of one seed are not equal because nothing was random."""
    train(with_settings(drawn_set, train__epochs=0, seed=1), tmp_path / "other")
    ours, others = weights(frozen_run), weights(tmp_path / "other")
    assert any(not torch.equal(ours[name], others[name]) for name in ours)


def test_every_layer_trains_in_the_second_phase(run_folder: Path, frozen_run: Path) -> None:
    """After the frozen phase every weight of body and head has moved."""
    before, after = weights(frozen_run), weights(run_folder)
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert still == []


def test_the_papers_recipe_is_two_one_cycles_to_the_same_rate() -> None:
    """2 frozen epochs and 18 with rates 1e-5 to 1e-3, beta 1 constant at 0.9."""
    frozen, every = phases(Config().train)
    assert (frozen.epochs, frozen.lr_max, frozen.frozen) == (2, 1e-3, True)
    assert (every.epochs, every.first_epoch, every.frozen) == (18, 2, False)
    assert isinstance(every.lr_max, slice)
    assert (every.lr_max.start, every.lr_max.stop) == (pytest.approx(1e-5), 1e-3)
    assert frozen.momentum == every.momentum == (0.9, 0.9, 0.9)


def test_fine_tune_halves_the_rate_and_cycles_the_momentum() -> None:
    """What fastai's fine_tune(18, 1e-3, freeze_epochs=2) does, read off its source."""
    frozen, every = phases(load_config(assignments=["train.recipe=fine_tune"]).train)
    assert (frozen.lr_max, frozen.pct_start) == (slice(1e-3), 0.99)
    assert isinstance(every.lr_max, slice)
    assert (every.lr_max.start, every.lr_max.stop) == (pytest.approx(5e-6), 5e-4)
    assert (every.pct_start, every.div) == (0.3, 5.0)
    assert every.momentum == (0.95, 0.85, 0.95)


def test_the_optimiser_runs_at_the_rates_of_the_recipe(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three groups, each a tenth of the next; beta 0.9 and 0.99; decoupled decay 0.01."""
    seen: list[list[dict[str, float]]] = []
    original = make_learner

    def spying(*arguments: Any) -> Learner:
        learner = original(*arguments)
        former = learner.one_batch

        def one_batch(i: int, b: object) -> None:
            former(i, b)
            if learner.training:
                seen.append([dict(hyper) for hyper in learner.opt.hypers])

        learner.one_batch = one_batch
        return learner

    monkeypatch.setattr(training, "make_learner", spying)
    train(with_settings(drawn_set), tmp_path / "run")
    assert len(seen) == 3 * 4  # 26 training images: batches of 8, 8, 8 and 2
    first, middle, head = np.array([[h["lr"] for h in step] for step in seen[4:]]).T
    np.testing.assert_allclose(head, 10 * middle)
    np.testing.assert_allclose(middle, 10 * first)
    assert head.max() == pytest.approx(1e-3, rel=0.1)
    assert seen[-1][-1]["lr"] < 1e-4
    for step in seen:
        assert {(h["mom"], h["sqr_mom"], h["wd"]) for h in step} == {(0.9, 0.99, 0.01)}


def test_a_last_batch_of_one_image_is_left_out_of_training_only(drawn_set: Path) -> None:
    """Batch norm cannot train on one image; validation takes every image."""
    _, split, loaders = loaders_of(with_settings(drawn_set, train__batch_size=5))
    sizes = [len(labels) for _, labels in loaders.train]
    assert (len(split.indices("train")), sizes) == (26, [5] * 5)
    assert len(loaders.train) == 5
    assert sum(len(labels) for _, labels in loaders.valid) == len(split.indices("valid"))


def test_training_batches_are_shuffled_augmented_and_normalised(drawn_set: Path) -> None:
    """float32 of the network's size in channels-last order, another one in every epoch."""
    manifest, split, loaders = loaders_of(with_settings(drawn_set, train__batch_size=26))
    (first, labels), (second, _) = next(iter(loaders.train)), next(iter(loaders.train))
    assert first.shape == (26, 3, 32, 32)
    assert first.dtype == torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(first, second)
    assert -1 <= first.min() < 0 < first.max() <= 1  # mean 0.5, deviation 0.5
    assert labels.sum() == sum(manifest.records[i].label for i in split.indices("train"))


def test_the_predictor_equals_the_training_loops_validation(
    small_config: Config, run_folder: Path
) -> None:
    """One definition: the probabilities of validation images agree to 1e-5 on both paths."""
    manifest, split, loaders = loaders_of(small_config)
    predictor = Predictor.load(run_folder, "cpu")
    # As it was trained: the predictor's own network has its batch norm folded.
    model = read_bundle(run_folder / "model.alld").model
    learner = make_learner(model, loaders, small_config.train, "fp32")
    in_training = blast_probability(validation_logits(learner), predictor.info.temperature)
    files = [manifest.file(index) for index in split.indices("valid")]
    served = np.array([p.probability for p in predictor.predict(files)], dtype=float)
    np.testing.assert_allclose(served, in_training, atol=1e-5)
    assert np.ptp(in_training) > 1e-3


def test_training_learns_to_tell_cells_apart(tmp_path: Path) -> None:
    """Cells that differ in the size of their nucleus are told apart by the head alone."""
    data = draw_all_idb2(tmp_path / "set")
    config = with_settings(
        data,
        model__arch="efficientnet_lite0",
        model__pretrained=True,
        data__image_size=64,
        train__batch_size=13,
        train__frozen_epochs=4,
        train__epochs=0,
    )
    rows = train(config, tmp_path / "run").history()
    assert float(rows[-1]["train_loss"]) < 0.2 * float(rows[0]["train_loss"])
    assert float(rows[-1]["valid_accuracy"]) == 1


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 2))
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_thirty_steps_end_at_the_same_weights_as_fastais(layout: torch.memory_format) -> None:
    """Two layer groups with rates that change, no decay for batch norm; in double precision."""
    ours = small_network().to(memory_format=layout)
    theirs = copy.deepcopy(ours)
    pairs = []
    for model, kind in ((ours, FusedAdam), (theirs, Adam)):
        groups = [list(model[:2].parameters()), list(model[2:].parameters())]
        optimiser = kind(groups, lr=1e-3, mom=0.9, sqr_mom=0.99, wd=0.1)
        for parameter in model[1].parameters():
            optimiser.state[parameter]["do_wd"] = False
        pairs.append((model, optimiser))
    for step in range(30):
        images, labels = torch.randn(16, 3, 8, 8).double(), torch.randint(0, 2, (16,))
        for model, optimiser in pairs:
            optimiser.set_hypers(lr=[1e-4 * (step + 1), 1e-3])
            torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
            optimiser.step()
            optimiser.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-11)


def test_a_gradient_in_another_memory_format_is_the_same_gradient() -> None:
    """The fused step goes by addresses; what lies otherwise is put in order first."""
    weights = [nn.Parameter(torch.arange(72.0).reshape(2, 4, 3, 3)) for _ in range(2)]
    gradient = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    layouts = (torch.contiguous_format, torch.channels_last)
    for weight, layout in zip(weights, layouts, strict=True):
        weight.grad = gradient.clone(memory_format=layout)
        FusedAdam([[weight]], lr=0.1).step()
    assert torch.equal(weights[0], weights[1])


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    """A frozen body is not even decayed."""
    model = small_network()
    body, head = list(model[:2].parameters()), list(model[2:].parameters())
    before = copy.deepcopy(body)
    for parameter in body:
        parameter.requires_grad_(False)
    optimiser = FusedAdam([body, head], lr=0.1, wd=0.5)
    model(torch.randn(4, 3, 8, 8).double()).sum().backward()
    optimiser.step()
    assert all(map(torch.equal, before, body))
