"""Predictions in eight orientations: the mean of the logits of each."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from alld.cli import run_command
from alld.config.schema import Config
from alld.inference.predictor import Predictor
from alld.model.bundle import read_info
from alld.training.train import train


@pytest.fixture(scope="module")
def tta(run_folder: Path) -> Predictor:
    return Predictor.load(run_folder, "cpu", tta=True)


@pytest.fixture(scope="module")
def picture(drawn_set: Path) -> NDArray[np.uint8]:
    """Of the network's own size: resampling is not the same to the last bit in all orientations."""
    with Image.open(drawn_set / "Im001_1.tif") as image:
        return np.asarray(image.convert("RGB").resize((32, 32)))


def orientations(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    turned = [np.rot90(picture, quarters) for quarters in range(4)]
    return [np.ascontiguousarray(view) for one in turned for view in (one, one[:, ::-1])]


def logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(p) - np.log1p(-p)


def test_the_logits_of_eight_orientations_are_averaged(
    tta: Predictor, run_folder: Path, picture: NDArray[np.uint8]
) -> None:
    """Against eight pictures turned by hand, each predicted in one orientation."""
    views = orientations(picture)
    assert len({view.tobytes() for view in views}) == 8
    alone = Predictor.load(run_folder, "cpu", tta=False).predict_pictures(views)
    assert np.ptp(alone) > 1e-3
    [together] = tta.predict_pictures([picture])
    assert logit(together) == pytest.approx(logit(alone).mean(), abs=1e-5)


def test_a_turned_picture_has_the_probability_of_the_picture(
    tta: Predictor, picture: NDArray[np.uint8]
) -> None:
    """All eight orientations have one probability."""
    assert np.ptp(tta.predict_pictures(orientations(picture))) < 1e-5


def test_a_model_calibrated_with_tta_is_used_with_it(
    small_config: Config, drawn_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`model.tta` goes into the bundle; `predict` follows it, and --no-tta overrules it."""
    model = small_config.model.model_copy(update={"tta": True})
    fast = small_config.train.model_copy(update={"epochs": 0})
    run = train(small_config.model_copy(update={"model": model, "train": fast}), tmp_path / "run")
    assert read_info(run.bundle).tta

    def predicted(*words: str) -> tuple[bool, float]:
        given = ["predict", str(drawn_set / "Im001_1.tif"), "--model", str(run.folder), "--json"]
        assert run_command([*given, "--device", "cpu", *words]) == 0
        answer = json.loads(capsys.readouterr().out)
        return answer["model"]["tta"], answer["predictions"][0]["probability"]

    averaged, single = predicted(), predicted("--no-tta")
    assert averaged == predicted("--tta")
    assert (averaged[0], single[0]) == (True, False)
    assert averaged[1] != single[1]


def test_an_evaluation_says_that_it_was_calibrated_otherwise(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--tta on a model whose temperature was fitted without it is reported."""
    copy = shutil.copytree(run_folder, tmp_path / "run")
    assert run_command(["evaluate", str(copy), "--tta"]) == 0
    assert "judged in eight orientations" in " ".join(capsys.readouterr().out.split())
    facts = json.loads((copy / "evaluation" / "metrics.json").read_text())
    assert (facts["model"]["tta"], facts["model"]["calibrated_with_tta"]) == (True, False)
    assert run_command(["evaluate", str(copy)]) == 0
    assert "orientation" not in capsys.readouterr().out
