"""What the validation images settle: temperature and threshold, in the bundle and in use."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LEARNING, SMALL
from fastai.learner import Learner
from numpy.typing import NDArray
from pages import called_in

from alld.config.files import load_config
from alld.config.schema import CalibrateConfig, Config
from alld.data.manifest import Manifest
from alld.data.splits import Split
from alld.errors import RunError
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import Result, caveats
from alld.inference.predictor import Predictor
from alld.model.bundle import read_info
from alld.model.bundle_info import BundleInfo
from alld.runs.folder import Run, read_manifest, read_split
from alld.stats.calibration import choose_threshold, fit_temperature
from alld.stats.metrics import brier
from alld.training import describe as describing
from alld.training.describe import calibrate, calibration_warnings
from alld.training.train import Listener, train

# Nine of ten right at margins of 6: P = 0.9 wants 6 / T = log 9.
TRUTH = np.array([1] * 5 + [0] * 5)
LOGITS = np.array([[0.0, 6.0]] * 5 + [[6.0, 0.0]] * 4 + [[0.0, 6.0]])
FITTED = 6 / math.log(9)

Validation = tuple[BundleInfo, NDArray[np.int64], NDArray[np.float64]]


@pytest.fixture(scope="module")
def overconfident(
    drawn_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[str]]:
    """A run with Youden's threshold whose network was made three times too sure, and its notes."""
    notes: list[str] = []
    settings = {**SMALL, **LEARNING, "data.root": drawn_set, "train.epochs": 0}
    config = load_config(
        options={**settings, "split.valid_fraction": 0.4, "calibrate.threshold": "youden"}
    )
    original = describing.describe

    def sharpened(
        run: Run, manifest: Manifest, split: Split, learner: Learner, *rest: Any
    ) -> BundleInfo:
        with torch.no_grad():
            learner.model[1][-1].weight *= 3  # a linear layer without bias: all logits
        return original(run, manifest, split, learner, *rest)

    folder = tmp_path_factory.mktemp("sure") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alld.training.train.describe", sharpened)
        return train(config, folder, Listener(note=notes.append)), notes


@pytest.fixture(scope="module")
def evaluation(overconfident: tuple[Run, list[str]]) -> Result:
    """The evaluation of that run. Read only."""
    return evaluate(overconfident[0].folder, "cpu", heat_maps=False)


@pytest.fixture(scope="module")
def validation(overconfident: tuple[Run, list[str]]) -> Validation:
    """The bundle's description, and labels and served P(blast) of the validation images."""
    run, _ = overconfident
    manifest = read_manifest(run)
    valid = read_split(run, manifest).indices("valid")
    served = Predictor.load(run.folder, "cpu").predict([manifest.file(index) for index in valid])
    prob = np.array([prediction.probability for prediction in served], dtype=float)
    return read_info(run.bundle), np.array(manifest.labels)[valid], prob


def test_the_temperature_is_fitted_to_the_margins() -> None:
    """By hand: the likeliest T of logit(blast) - logit(healthy), not of the opposite."""
    temperature, threshold = calibrate(TRUTH, LOGITS, CalibrateConfig())
    assert temperature.value == pytest.approx(FITTED)
    assert (threshold.value, threshold.how) == (0.5, "default")


def test_the_threshold_is_chosen_after_the_temperature() -> None:
    """At margins of 6 and the T above, probabilities are 0.9 and 0.1: Youden's lie between."""
    _, threshold = calibrate(TRUTH, LOGITS, CalibrateConfig(threshold="youden"))
    assert threshold.value == pytest.approx(0.5)
    _, every = calibrate(TRUTH, LOGITS, CalibrateConfig(threshold="sensitivity", sensitivity=1))
    assert every.value == pytest.approx((0.1 + 0.9) / 2)
    _, uncalibrated = calibrate(
        TRUTH, LOGITS + np.array([0.0, 1.0]), CalibrateConfig(threshold="youden", temperature=False)
    )
    high, low = 1 / (1 + math.exp(-7)), 1 / (1 + math.exp(5))
    assert uncalibrated.value == pytest.approx((high + low) / 2)


def test_the_temperature_can_be_left_at_one() -> None:
    """calibrate.temperature=false: T is 1, no image was used, and the reason says so."""
    temperature, _ = calibrate(TRUTH, LOGITS, CalibrateConfig(temperature=False))
    assert (temperature.value, temperature.n) == (1.0, 0)
    assert temperature.reason == "calibrate.temperature is false"


def test_the_bundle_holds_what_the_validation_images_settled(validation: Validation) -> None:
    """Undo the served temperature: fit and rule on these images give the bundle's numbers."""
    info, truth, prob = validation
    margins = info.temperature * np.log(prob / (1 - prob))
    fitted = fit_temperature(truth, margins)
    assert 1 < fitted.value < 5
    assert info.temperature == pytest.approx(fitted.value, rel=1e-3)
    assert info.temperature_fit.n == len(truth) == 16
    assert info.temperature_fit.ci_low == pytest.approx(fitted.ci_low, rel=1e-3)
    assert info.temperature_fit.method == fitted.method
    assert info.threshold == pytest.approx(choose_threshold(truth, prob, "youden").value, abs=1e-5)
    assert "16 validation images" in info.threshold_choice.how


def test_the_bundles_metrics_are_of_the_calibrated_validation(validation: Validation) -> None:
    """Brier score after temperature, accuracy at the threshold, with a note: optimistic."""
    info, truth, prob = validation
    right = int(((prob >= info.threshold) == truth).sum())
    assert info.validation["accuracy"]["k"] == right
    assert info.validation["brier"]["value"] == pytest.approx(brier(truth, prob), abs=1e-5)
    assert info.validation_note == (
        "optimistic: the same 16 images were used for choosing its temperature and threshold"
    )


def test_the_note_says_when_these_images_chose_nothing() -> None:
    """Fixed threshold, no temperature, last epoch: the validation is as good as held out."""
    config = Config(calibrate={"temperature": False})
    assert describing._validation_note(config, 42).startswith(
        "measured on 42 images that were not used"
    )
    config = Config(train={"select": "best"}, calibrate={"temperature": False})
    assert "used for choosing its epoch" in describing._validation_note(config, 42)


def test_too_few_images_for_a_threshold_reach_the_user(
    overconfident: tuple[Run, list[str]], evaluation: Result
) -> None:
    """The warning of the rule is a note of the training, stands in the bundle and in the report."""
    run, notes = overconfident
    choice = read_info(run.bundle).threshold_choice
    assert "one image moves Youden's J" in str(choice.warning)
    assert any(str(choice.warning) in note for note in notes)
    assert any(str(choice.warning) in sentence for sentence in caveats(evaluation))


@pytest.mark.usefixtures("evaluation")
def test_the_evaluation_applies_temperature_and_threshold(
    overconfident: tuple[Run, list[str]],
) -> None:
    """Every row has the bundle's threshold, its verdict by it, and the counts follow."""
    run, _ = overconfident
    info = read_info(run.bundle)
    with (run.folder / "evaluation" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["threshold"]) == info.threshold
        called = "blast" if float(row["probability"]) >= info.threshold else "healthy"
        assert row["verdict"] in (called, "uncertain", "out of domain")
    right = sum(called_in(row) == row["label"] for row in rows)
    found = json.loads((run.folder / "evaluation" / "metrics.json").read_text())
    assert found["metrics"]["accuracy"]["k"] == right
    assert found["model"]["temperature"] == info.temperature
    assert found["model"]["threshold_how"] == info.threshold_choice.how


def test_a_model_that_is_sure_and_wrong_is_warned_about(
    overconfident: tuple[Run, list[str]],
) -> None:
    """A temperature at its upper limit says that the training needs a look."""
    run, _ = overconfident
    info: BundleInfo = read_info(run.bundle)
    quiet = info.model_copy(
        update={
            "threshold_choice": info.threshold_choice.model_copy(update={"warning": None}),
            "validation": {**info.validation, "coverage": {"k": 16, "n": 16, "value": 1.0}},
        }
    )
    assert calibration_warnings(quiet) == []
    [warning] = calibration_warnings(quiet.model_copy(update={"temperature": 5.0}))
    assert warning.startswith("temperature 5, its upper limit")


def test_a_wide_uncertain_band_is_warned_about(overconfident: tuple[Run, list[str]]) -> None:
    """Where under three quarters of the validation images get a verdict, training says so."""
    info: BundleInfo = read_info(overconfident[0].bundle)
    for judged, said in ((11, True), (12, False)):
        coverage = {"k": judged, "n": 16, "value": judged / 16}
        wide = info.model_copy(update={"validation": {**info.validation, "coverage": coverage}})
        found = "uncertain: 5 of 16 validation images get no verdict" in "".join(
            calibration_warnings(wide)
        )
        assert found == said


def test_a_timid_network_is_not_sharpened() -> None:
    """Margins of 0.6 with nine of ten right would ask for T = 0.27; it stays 1."""
    temperature, _ = calibrate(TRUTH, LOGITS / 10, CalibrateConfig())
    assert temperature.value == 1
    assert "at its limit 1" in str(temperature.method)


def test_answers_that_are_no_numbers_stop_the_run(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that diverged in its last step gives no bundle, and one line."""
    original = describing.validation_logits

    def diverged(learner: Learner, *, tta: bool) -> NDArray[np.float64]:
        with torch.no_grad():
            learner.model[1][-1].weight *= float("nan")
        return original(learner, tta=tta)

    monkeypatch.setattr(describing, "validation_logits", diverged)
    config = load_config(options={**SMALL, "data.root": drawn_set, "train.epochs": 0})
    with pytest.raises(RunError, match=r"lower train\.max_lr"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "model.alld").exists()
