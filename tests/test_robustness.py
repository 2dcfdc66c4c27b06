"""Changed images: each change is what its name says, and is predicted as a file would be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alld.cli import run_command
from alld.evaluation.robustness import (
    CHANGES,
    Pixels,
    blur,
    brightness,
    hue,
    jpeg,
    measure_robustness,
    scale,
    unchanged,
)
from alld.images.decode import decode, read_image_bytes
from alld.inference.predictor import Predictor


@pytest.fixture(scope="module")
def files(drawn_set: Path) -> list[Path]:
    """Five blasts and five healthy cells."""
    return [*sorted(drawn_set.glob("*_1.tif"))[:5], *sorted(drawn_set.glob("*_0.tif"))[:5]]


@pytest.fixture(scope="module")
def pictures(files: list[Path]) -> list[Pixels]:
    return [decode(read_image_bytes(file), file.name).pixels for file in files]


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    return Predictor.load(run_folder, "cpu")


@pytest.mark.parametrize("change", [change for _, _, change in CHANGES[1:]])
def test_a_change_keeps_the_shape_and_changes_the_picture(
    change: Callable[[Pixels], Pixels], pictures: list[Pixels]
) -> None:
    """Also of a picture that is no square; twice the same."""
    for picture in (pictures[0], pictures[0][:200]):
        changed = change(picture)
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, picture)
        assert np.array_equal(changed, change(picture))


def test_a_change_of_nothing_is_the_picture_itself(pictures: list[Pixels]) -> None:
    """Factor 1, no blur, a whole turn; hue goes through 256 steps and may lose a little."""
    picture = pictures[0]
    for same in (scale(picture, 1), brightness(picture, 1), blur(picture, 0), unchanged(picture)):
        assert np.array_equal(same, picture)
    assert np.abs(hue(picture, 360).astype(int) - picture).max() <= 6
    assert np.abs(jpeg(picture, 100).astype(int) - picture).mean() < 3


def test_changes_are_what_they_are_called() -> None:
    """Twice as large, half as bright, red turned to green, an edge made soft."""
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[40:60, 40:60] = (200, 0, 0)
    assert (scale(picture, 2)[:, :, 0] > 100).sum() == pytest.approx(40 * 40, rel=0.05)
    middle = scale(picture, 0.5)[25:75, 25:75, 0]  # beyond it the reflection shows the square again
    assert (middle > 100).sum() == pytest.approx(10 * 10, rel=0.1)
    assert brightness(picture, 0.5)[50, 50].tolist() == [100, 0, 0]
    turned = hue(picture, 120)[50, 50]
    assert turned[1] == 200
    assert max(turned[0], turned[2]) <= 6
    assert 0 < blur(picture, 3)[50, 39, 0] < 200
    assert blur(picture, 3)[50, 38, 0] > 0 == blur(picture, 0.5)[50, 38, 0]


def test_shrinking_goes_on_by_reflection() -> None:
    """No frame of one colour appears around a smaller picture: it would mark the change."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    small = scale(picture, 0.5)
    assert np.array_equal(small[20], np.flip(small[:41], axis=0)[20])
    assert small[:10].std() > 20


def test_decoded_pictures_are_predicted_as_their_files(
    predictor: Predictor, files: list[Path], pictures: list[Pixels]
) -> None:
    """`predict_pictures` is `predict` without the decoder; no pictures give no rows."""
    expected = [prediction.probability for prediction in predictor.predict(files)]
    assert predictor.predict_pictures(pictures) == pytest.approx(expected, abs=1e-5)
    assert predictor.predict_pictures([]).shape == (0,)


def test_every_change_is_predicted_and_compared_with_none(
    predictor: Predictor, pictures: list[Pixels]
) -> None:
    """The first row is that of the pictures themselves; counts and flips add up by hand."""
    y_true = [1] * 5 + [0] * 5
    done: list[tuple[int, int]] = []
    rows = measure_robustness(predictor, pictures, y_true, lambda *at: done.append(at))
    assert [(row.change, row.level) for row in rows] == [
        (name, level) for name, level, _ in CHANGES
    ]
    assert done[-1] == (len(CHANGES), len(CHANGES))
    assert rows[0].flipped == 0
    threshold = predictor.info.threshold
    plain = predictor.predict_pictures(pictures) >= threshold
    for row, (_, _, change) in zip(rows, CHANGES, strict=True):
        blasts = predictor.predict_pictures([change(picture) for picture in pictures]) >= threshold
        assert row.flipped == int((blasts != plain).sum())
        assert row.accuracy.k == int((blasts == np.array(y_true)).sum())
        assert row.sensitivity.k == int(blasts[:5].sum())
        assert (row.sensitivity.n, row.specificity.n, row.accuracy.n) == (5, 5, 10)


def test_evaluate_measures_robustness_on_request(run_folder: Path, tmp_path: Path) -> None:
    """`--robustness` adds the table, whose first row is the evaluation itself."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    page = (copy / "evaluation" / "report.html").read_text()
    assert "alld evaluate --robustness" in page
    assert "Table of robustness" not in page
    assert run_command(["evaluate", str(copy), "--robustness", "--device", "cpu"]) == 0
    facts = json.loads((copy / "evaluation" / "metrics.json").read_text())
    assert len(facts["robustness"]) == len(CHANGES)
    for name in ("accuracy", "sensitivity", "specificity"):
        assert facts["robustness"][0][name] == facts["metrics"][name]
    page = (copy / "evaluation" / "report.html").read_text()
    assert "Table of robustness" in page
    assert "alld evaluate --robustness" not in page
