"""A rarer class, weighed or repeated; neither in the paper's recipe."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from drawn import draw_c_nmc
from fastai.data.core import DataLoaders
from torch.nn import functional
from trainings import loaders_of, with_settings

from alld.config.schema import TrainConfig
from alld.errors import ConfigError
from alld.training.learner import make_loss
from alld.training.loaders import balanced_order
from alld.training.train import train

LABELS = [1] * 10 + [0] * 4


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C-NMC's look, two blasts for each healthy cell. Read only."""
    return draw_c_nmc(tmp_path_factory.mktemp("uneven") / "set")


def test_the_papers_recipe_balances_nothing() -> None:
    """Its set has as many blasts as healthy cells: images as they are."""
    assert TrainConfig().balance == "none"
    loss = make_loss("none", LABELS, torch.device("cpu"))
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 1, 0])
    assert torch.equal(loss(logits, labels), functional.cross_entropy(logits, labels))


def test_the_rarer_class_weighs_more() -> None:
    """n / 2 n_c: over the training images both classes weigh the same, and a mean image 1."""
    loss = make_loss("weights", LABELS, torch.device("cpu"))
    logits = torch.randn(14, 2, generator=torch.Generator().manual_seed(0))
    plain = functional.cross_entropy(logits, torch.tensor(LABELS), reduction="none")
    expected = (plain[:10].sum() * 14 / 20 + plain[10:].sum() * 14 / 8) / 14
    assert loss(logits, torch.tensor(LABELS)) == pytest.approx(float(expected), rel=1e-6)
    assert loss(torch.zeros(14, 2), torch.tensor(LABELS)) == pytest.approx(0.6931472)


def test_an_epoch_has_as_many_of_each_class() -> None:
    """Healthy cells are repeated, each as often as the next give or take one; no blast is."""
    order = balanced_order(LABELS, random.Random(0))
    times = Counter(order)
    assert len(order) == 14
    assert sum(LABELS[position] for position in order) == 7
    assert {times[position] for position in range(10, 14)} == {1, 2}
    assert all(times[position] <= 1 for position in range(10))
    assert 0 < sum(LABELS[position] for position in order[:7]) < 7  # mixed, not one class first


def test_other_epochs_have_other_blasts() -> None:
    """What is left out of the commoner class changes, and a seed gives one order."""
    rng = random.Random(0)
    seen = {position for _ in range(12) for position in balanced_order(LABELS, rng)}
    assert seen == set(range(14))
    first, again = (balanced_order(LABELS, random.Random(1)) for _ in range(2))
    assert first == again


def balanced(data: Path, balance: str, image_memory: int) -> DataLoaders:
    config = with_settings(data, train__balance=balance, runtime__image_memory=image_memory)
    _, _, loaders = loaders_of(config)
    loaders.train.rng = random.Random(0)
    torch.manual_seed(0)
    return loaders


@pytest.mark.parametrize("balance", ["none", "sampling"])
def test_the_loader_serves_balanced_epochs(uneven: Path, balance: str) -> None:
    """As many images of each class, streamed or from memory; validation is left as it is."""
    kept, streamed = (balanced(uneven, balance, memory) for memory in (4096, 0))
    batches = list(kept.train)
    torch.manual_seed(0)
    for (images, labels), (other_images, other_labels) in zip(batches, streamed.train, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
    served = torch.cat([labels for _, labels in batches])
    assert len(served) == len(kept.train.indices) - (len(kept.train.indices) % 8 == 1)
    assert (abs(2 * int(served.sum()) - len(served)) <= 1) == (balance == "sampling")
    valid = torch.cat([labels for _, labels in kept.valid])
    assert sorted(valid.tolist()) == sorted(kept.valid.targets)


def test_a_training_weighs_its_loss(uneven: Path, tmp_path: Path) -> None:
    """The same batches and initial weights have another training loss."""
    losses = []
    for balance in ("none", "weights"):
        config = with_settings(uneven, train__balance=balance, train__epochs=0)
        losses.append(train(config, tmp_path / balance).history()[0]["train_loss"])
    assert losses[0] != losses[1]


def test_another_balance_is_refused(uneven: Path) -> None:
    """What there is, is named."""
    with pytest.raises(ConfigError, match=r"train\.balance.*'weights'.*'both'"):
        with_settings(uneven, train__balance="both")
