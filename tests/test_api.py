"""The Python interface for notebooks."""

from pathlib import Path

import pytest

import alld
from alld.errors import RunError
from alld.inference.prediction import VERDICTS


def test_the_example_of_the_package_works(small_config: alld.Config, tmp_path: Path) -> None:
    """train, evaluate and load, as the package's docstring shows them."""
    config = small_config.model_copy(deep=True)
    config.train.frozen_epochs, config.train.epochs = 1, 0
    run = alld.train(config, tmp_path / "run")
    evaluation = alld.evaluate(run)
    assert evaluation.metrics["accuracy"].n == 8
    cell = evaluation.predictions[0]
    [prediction] = alld.load(run).predict([cell.path])
    assert prediction.verdict in VERDICTS
    assert prediction.probability == pytest.approx(cell.probability, abs=1e-5)
    assert alld.load(str(run.folder)).identity == prediction.model


def test_every_public_name_is_there_and_no_other() -> None:
    """`alld.__all__` can be imported; a misspelt name is an AttributeError."""
    assert all(getattr(alld, name) for name in alld.__all__)
    with pytest.raises(AttributeError, match="evalute"):
        _ = alld.evalute


def test_errors_reach_the_caller(tmp_path: Path) -> None:
    """The library raises; it neither prints nor exits."""
    with pytest.raises(RunError, match="no run there"):
        alld.evaluate(tmp_path)
