"""Pictures that a model cannot predict: limits, their storage, and the explanation."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import LEARNING, SMALL
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from untrained import write_untrained

from alld.cells.facts import COUNT, SHARPNESS, has_nucleus, nucleus_width, picture_facts
from alld.config.files import load_config
from alld.data.preprocess import to_square
from alld.errors import BundleError
from alld.images.decode import decode
from alld.inference.load import load_model
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, shown
from alld.inference.predictor import Predictor
from alld.model.abstain import FEWEST, Limits, fit_limits, spread_out
from alld.model.bundle import read_bundle, read_info
from alld.model.bundle_info import LIMITS
from alld.report.facts import STYLES
from alld.runs.folder import Run
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe
from alld.training.train import train

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def trained_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A drawn set with 21 validation images, and a run of one epoch on it, so with limits."""
    folder = tmp_path_factory.mktemp("trained_set")
    draw_set(folder / "set", Recipe(n=130, seed=3))
    options = {**SMALL, **LEARNING, "data.root": folder / "set", "train.epochs": 0}
    options["data.image_size"] = 64
    return folder / "set", train(load_config(options=options), folder / "run")


@pytest.fixture(scope="module")
def predictor(trained_set: tuple[Path, Run]) -> Predictor:
    return Predictor.load(trained_set[1].folder, "cpu")


@pytest.fixture(scope="module")
def cell(drawn_set: Path) -> Picture:
    return decode((drawn_set / "Im001_1.tif").read_bytes(), "cell").pixels


def facts_of(picture: Picture) -> NDArray[np.float64]:
    return picture_facts(to_square(picture, 224, "none"), max(picture.shape[:2]))


def normal(n: int, features: int = 6, seed: int = 0) -> tuple[NDArray[np.float32], np.ndarray]:
    """Features in one direction and facts that are standard normal."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(0, 0.1, (n, features)) + np.eye(features)[0]
    return seen.astype(np.float32), rng.normal(size=(n, COUNT))


def test_blur_lowers_the_sharpness_and_nothing_else_much(cell: Picture) -> None:
    """Width and colours of the nucleus stay, the energy of the gradient goes."""
    blurred = gaussian_filter(cell, (2, 2, 0))
    sharp, soft = facts_of(cell), facts_of(blurred)
    assert soft[SHARPNESS] < sharp[SHARPNESS] - 0.08
    side = max(cell.shape[:2])
    assert nucleus_width(soft, side) == pytest.approx(nucleus_width(sharp, side), rel=0.1)


def test_the_width_of_the_nucleus_is_counted_in_pixels_of_the_picture() -> None:
    """A purple disc of 40 px radius has the root of its area, at any resolution of the square."""
    rows, columns = np.ogrid[:257, :257]
    picture = np.full((257, 257, 3), (220, 200, 210), np.uint8)
    picture[np.hypot(rows - 128, columns - 128) < 40] = (90, 40, 140)
    for size in (224, 64):
        facts = picture_facts(to_square(picture, size, "none"), 257)
        assert nucleus_width(facts, 257) == pytest.approx(40 * np.pi**0.5, rel=0.08)


def test_a_picture_without_a_nucleus_has_none(cell: Picture) -> None:
    """Grey pictures and blanks have finite facts, and no width."""
    for picture in (np.full((90, 60, 3), 200, np.uint8), np.zeros((5, 5, 3), np.uint8)):
        assert np.isfinite(facts_of(picture)).all()
        assert not has_nucleus(facts_of(picture), max(picture.shape[:2]))
    assert has_nucleus(facts_of(cell), max(cell.shape[:2]))


def test_the_limit_lies_above_the_validation_images() -> None:
    """The median is 0 by construction; at 2.5 deviations few of the same kind are beyond it."""
    limits = fit_limits(normal(300), normal(200, seed=1), 2.5)
    assert np.median(limits.scores(*normal(200, seed=1))) == pytest.approx(0, abs=0.3)
    features, facts = normal(1000, seed=2)
    assert np.mean(limits.scores(features, facts) > limits.limit) < 0.05
    # Either distance alone refuses: other features with usual facts, and the reverse.
    assert (limits.scores(-features, facts) > limits.limit).all()
    assert (limits.scores(features, facts + 6) > limits.limit).all()
    again = Limits.from_arrays(limits.arrays(), limits.limit)
    np.testing.assert_array_equal(again.scores(features, facts), limits.scores(features, facts))


def test_a_strange_validation_image_does_not_move_the_limit() -> None:
    """One picture of something else among forty leaves the limit nearly where it was."""
    features, facts = normal(40, seed=1)
    odd = facts.copy()
    odd[0] += 50
    clean = fit_limits(normal(300), (features, facts), 2.5).limit
    assert fit_limits(normal(300), (features, odd), 2.5).limit == pytest.approx(clean, rel=0.25)


def test_few_validation_images_give_no_limit_and_many_training_images_are_thinned() -> None:
    """The median of nineteen is not trusted; a thousand of ten thousand are evenly spaced."""
    with pytest.raises(ValueError, match=f"{FEWEST} at least"):
        fit_limits(normal(100), normal(FEWEST - 1), 2.5)
    chosen = spread_out(range(10_000))
    assert (len(chosen), chosen[0], chosen[-1]) == (1000, 0, 9999)
    assert max(np.diff(chosen)) <= 11
    assert spread_out([5, 7, 9]) == [5, 7, 9]


def test_limits_that_lie_are_refused() -> None:
    """A missing name, another shape, a NaN and a spread of 0 are named."""
    arrays = fit_limits(normal(60), normal(30, seed=1), 2.5).arrays()
    lies = {
        "missing": {k: v for k, v in arrays.items() if k != "reference"},
        "shape": {**arrays, "fact_mean": np.zeros(3)},
        "NaN": {**arrays, "fact_spread": np.full(COUNT, np.nan)},
        "above 0": {**arrays, "score_spread": np.zeros(2)},
    }
    for words, lie in lies.items():
        with pytest.raises(ValueError, match=words):
            Limits.from_arrays(lie, 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: gaussian_filter(p, (8, 8, 0)), "blurred"),
        (lambda p: np.ascontiguousarray(p[:, :, [1, 0, 2]]), "other stain or light"),
        (lambda p: np.full_like(p, 215), "no stained cell"),
        (lambda p: np.tile(p, (3, 4, 1)), "whole field"),
        (lambda p: np.random.default_rng(0).integers(0, 256, p.shape).astype(np.uint8), "grain"),
    ],
    ids=["blurred", "stain", "blank", "field", "noise"],
)
def test_what_is_no_such_cell_is_refused_in_words(
    predictor: Predictor,
    trained_set: tuple[Path, Run],
    tmp_path: Path,
    change: Callable[[Picture], Picture],
    words: str,
) -> None:
    """Out of domain, a reason that says what is odd, and still a probability."""
    picture = decode((trained_set[0] / "Im001_1.tif").read_bytes(), "cell").pixels
    Image.fromarray(change(picture)).save(tmp_path / "picture.png")
    [row] = predictor.predict([tmp_path / "picture.png"])
    assert row.verdict == OUT_OF_DOMAIN
    assert words in str(row.reason)
    assert row.probability is not None


def test_most_cells_of_the_set_are_not_refused(
    predictor: Predictor, trained_set: tuple[Path, Run]
) -> None:
    """Of 40 drawn cells at most four are out of domain."""
    rows = predictor.predict(sorted(trained_set[0].glob("*.tif"))[:40])
    assert sum(row.verdict == OUT_OF_DOMAIN for row in rows) <= 4
    assert all(row.probability is not None for row in rows)


def test_a_probability_near_the_threshold_is_uncertain(
    trained_set: tuple[Path, Run], tmp_path: Path
) -> None:
    """Inside the bundle's band there is no verdict but the reason; outside it there is one."""
    model = load_model(trained_set[1].bundle, "cpu")
    band = model.info.uncertain
    assert band is not None
    everything = model.info.model_copy(
        update={"uncertain": band.model_copy(update={"low": 0.0, "high": 1.0})}
    )
    nothing = model.info.model_copy(update={"uncertain": None})
    files = sorted(trained_set[0].glob("*.tif"))[:6]
    quiet = Predictor(replace(model, info=everything, limits=None)).predict(files)
    assert {row.verdict for row in quiet} == {UNCERTAIN}
    assert all(f"leans {row.call}; P(blast) between 0 and 1" in str(row.reason) for row in quiet)
    forced = Predictor(replace(model, info=everything), abstain=False).predict(files)
    assert [row.verdict for row in forced] == [row.call for row in quiet]
    others = Predictor(replace(model, info=nothing, limits=None)).predict(files)
    assert [row.verdict for row in others] == [row.call for row in others]
    assert all(row.reason is None for row in others)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.5"), (0.9826, "0.983"), (0.0174, "0.017"), (0.9996, "> 0.999"), (4e-4, "< 0.001")],
)
def test_probabilities_and_thresholds_are_rounded_alike(value: float, text: str) -> None:
    """To three decimals, but never to 0 or 1; `words.js` and the reports follow the same rule."""
    assert shown(value) == STYLES["probability"](value) == text


def test_the_explanation_falls_back_to_unlike() -> None:
    """Facts may be those of training while the network's features are not."""
    limits = fit_limits(normal(60), normal(30, seed=1), 2.5)
    assert limits.refusal(limits.fact_mean.copy(), side=1) == "unlike the training images"


def test_a_run_with_few_validation_images_says_why_it_refuses_nothing(run_folder: Path) -> None:
    """No limits file, a reason in the bundle."""
    info = read_info(run_folder / "model.alld")
    assert info.limits.limit is None
    assert "too few for a limit" in str(info.limits.reason)
    assert not (run_folder / "model.alld" / LIMITS).exists()


def test_a_limit_without_its_file_is_refused(trained_set: tuple[Path, Run], tmp_path: Path) -> None:
    """And a file without a limit; also with right hashes."""
    bundle = shutil.copytree(trained_set[1].bundle, tmp_path / "model.alld")
    shutil.copy(bundle / LIMITS, write_untrained(tmp_path / "other") / LIMITS)
    (bundle / LIMITS).unlink()
    for folder in (bundle, tmp_path / "other"):
        with pytest.raises(BundleError, match=r"limits\.safetensors"):
            read_bundle(folder)


def test_abstaining_can_be_turned_off(trained_set: tuple[Path, Run], tmp_path: Path) -> None:
    """`abstain.out_of_domain=false` and `abstain.uncertain=null`: always a verdict."""
    options = {**SMALL, "data.root": trained_set[0], "train.epochs": 0}
    off = {"abstain.out_of_domain": False, "abstain.uncertain": None}
    run = train(load_config(options={**options, **off}), tmp_path / "run")
    info = read_info(run.bundle)
    assert (info.limits.limit, info.uncertain) == (None, None)
    assert info.limits.reason == "abstain.out_of_domain is false"
