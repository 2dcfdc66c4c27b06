"""Adaptive unsharpening: how far, of what, and the same in training, evaluation and prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from alld.config.files import load_config
from alld.data.preprocess import to_square
from alld.data.sources.find import load_manifest
from alld.data.unsharp import STRENGTHS, TARGET, focus, sharpen
from alld.inference.predictor import Predictor
from alld.model.bundle import read_info
from alld.training.train import train


def cell(blur: float, noise: float = 1.0) -> NDArray[np.uint8]:
    """A dark disc on a light smear with some noise, seen through a blur in px."""
    rows, columns = np.mgrid[:160, :160]
    light = np.where(np.hypot(rows - 80, columns - 80) < 45, 80.0, 200.0)
    grain = np.random.default_rng(0).normal(0, noise, light.shape)
    grey = np.clip(gaussian_filter(light, blur) + grain, 0, 255).astype(np.uint8)
    return np.stack([grey, grey, grey], axis=2)


def test_focus_falls_with_blur_whatever_the_contrast() -> None:
    """Three blurs rank as they should, and half the contrast changes next to nothing."""
    values = [focus(cell(blur)) for blur in (0.5, 1.5, 3.0)]
    assert values == sorted(values, reverse=True)
    faint = (cell(1.5) // 2 + 60).astype(np.uint8)
    assert focus(faint) == pytest.approx(values[1], rel=0.05)


def test_a_blurred_image_is_brought_into_focus() -> None:
    """Below the target before, at it after, and no image is sharpened beyond need."""
    blurred = cell(1.0)
    assert focus(blurred) < TARGET
    assert TARGET - 0.005 < focus(sharpen(blurred)) < TARGET + 0.1  # rounded to whole levels


def test_what_is_in_focus_stays_as_it_is() -> None:
    """To the bit, and so does an image without any edge."""
    sharp, empty = cell(0.3), np.full((40, 40, 3), 190, np.uint8)
    assert focus(sharp) >= TARGET
    np.testing.assert_array_equal(sharpen(sharp), sharp)
    np.testing.assert_array_equal(sharpen(empty), empty)


def test_the_strength_has_an_end() -> None:
    """A hopeless blur is sharpened by the greatest strength and no more."""
    hopeless = cell(8.0, noise=0)
    light = hopeless[:, :, 0].astype(float)
    most = light + STRENGTHS[-1] * (light - gaussian_filter(light, 1.0))
    expected = np.clip(np.rint(most), 0, 255)
    assert np.abs(sharpen(hopeless)[:, :, 0] - expected).max() <= 1


def test_colours_stay() -> None:
    """Only the brightness gains detail: differences of the channels are what they were."""
    coloured = cell(1.5)
    coloured[:, :, 1] -= 30
    sharpened = sharpen(coloured).astype(int)
    inner = (sharpened.min(axis=2) > 0) & (sharpened.max(axis=2) < 255)
    assert np.abs((sharpened[:, :, 0] - sharpened[:, :, 1])[inner] - 30).max() <= 1


def test_sharpening_comes_before_padding_and_resizing() -> None:
    """A border crop is sharpened in its own pixels."""
    crop = cell(1.5)[:, :120]
    np.testing.assert_array_equal(
        to_square(crop, 64, "adaptive"), to_square(sharpen(crop), 64, "none")
    )


@pytest.fixture(scope="module")
def sharpened_run(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on sharpened images. Read only."""
    options = {**SMALL, "data.root": drawn_set, "augment.unsharp": "adaptive", "train.epochs": 0}
    return train(load_config(options=options), tmp_path_factory.mktemp("runs") / "sharp").folder


def test_the_model_remembers_what_it_was_trained_on(sharpened_run: Path, run_folder: Path) -> None:
    """The bundle of either says so, and one from before there was a choice means none."""
    info = read_info(sharpened_run / "model.alld")
    assert info.unsharp == "adaptive"
    assert "unsharping" in info.preparation
    plain = read_info(run_folder / "model.alld")
    assert plain.unsharp == "none"
    older = plain.model_dump(exclude={"unsharp"}, mode="json")
    assert type(plain).model_validate_json(json.dumps(older)) == plain


def test_prediction_sharpens_what_training_sharpened(sharpened_run: Path, drawn_set: Path) -> None:
    """The model's answer to a file is its answer to the sharpened square, not to the plain one."""
    predictor = Predictor.load(sharpened_run, "cpu")
    manifest = load_manifest(load_config(options={"data.root": drawn_set}).data)
    pixels = manifest.decode(0).pixels
    assert (sharpen(pixels) != pixels).any()
    found = predictor.predict([manifest.file(0)])[0].probability
    assert found == pytest.approx(predictor.predict_pictures([pixels])[0], abs=1e-6)
    plain = predictor.info.model_copy(update={"unsharp": "none"})
    predictor.info = plain
    assert predictor.predict_pictures([sharpen(pixels)])[0] == pytest.approx(found, abs=1e-6)
    assert predictor.predict_pictures([pixels])[0] != pytest.approx(found, abs=1e-6)
