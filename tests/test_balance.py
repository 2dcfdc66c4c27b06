"""A rarer class, weighed or repeated; neither in the paper's recipe."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from drawn import draw_c_nmc
from torch.nn import functional
from trainings import assert_same_weights, with_settings

from alld.config.schema import TrainConfig
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError
from alld.training.balance import balanced_order, make_loss
from alld.training.loaders import make_loaders
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


def test_the_loader_serves_balanced_epochs(uneven: Path) -> None:
    """The training loader's batches hold as many of each class; validation is left as it is."""
    config = with_settings(uneven, train__balance="sampling")
    manifest = load_manifest(config.data)
    groups = load_groups(manifest)
    split = make_split(manifest, groups.of_image, groups.source, config.split, 0)
    loaders = make_loaders(manifest, split, config, torch.device("cpu"))
    served = torch.cat([labels for _, labels in loaders.train])
    assert len(served) == len(split.indices("train"))
    assert abs(2 * int(served.sum()) - len(served)) <= 1
    valid = torch.cat([labels for _, labels in loaders.valid])
    assert sorted(valid.tolist()) == sorted(manifest.labels[i] for i in split.indices("valid"))


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_a_streamed_set_trains_to_the_same_weights(
    uneven: Path, tmp_path: Path, balance: str
) -> None:
    """C-NMC's images decoded anew in every epoch, or kept in memory: one model, bit for bit."""
    settings = {"train__balance": balance, "train__epochs": 1}
    kept = train(with_settings(uneven, **settings), tmp_path / "kept")
    streamed = train(
        with_settings(uneven, **settings, runtime__image_memory=0), tmp_path / "streamed"
    )
    assert_same_weights(kept.folder, streamed.folder)
    assert kept.config.train.balance == balance


def test_another_balance_is_refused(uneven: Path) -> None:
    """What there is, is named."""
    with pytest.raises(ConfigError, match=r"train\.balance.*'weights'.*'both'"):
        with_settings(uneven, train__balance="both")
