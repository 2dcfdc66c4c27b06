"""The baselines: segmented cells, their features, and learning that uses no test image."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL
from numpy.typing import NDArray

from alld.auditing.background import background_auc
from alld.baselines import cell_features, deep
from alld.baselines.bench import Bench, describe_set, predict_split
from alld.baselines.cell_features import morphology, patterns
from alld.baselines.learning import Features, PredictProba, fit_svm, inner_folds, separation
from alld.baselines.systems import BACKGROUND, BASELINES, MORPHOLOGY, Baseline
from alld.cells.segment import segment
from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.out_of_fold import HeldOut
from alld.images.rgb import RGB
from alld.stats.ranking import roc_auc

SIDE = 200
SMEAR, RED, CYTOPLASM, NUCLEUS = (205, 200, 205), (190, 150, 140), (170, 165, 205), (90, 40, 130)
Mask = NDArray[np.bool_]


def disc(y: float, x: float, radius: float) -> Mask:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.asarray(np.hypot(rows - y, columns - x) <= radius)


def paint(*layers: tuple[Mask, tuple[int, int, int]]) -> NDArray[np.uint8]:
    """A smear with a little noise and what is painted on it, the later over the earlier."""
    picture = np.full((SIDE, SIDE, 3), SMEAR, dtype=float)
    for mask, colour in layers:
        picture[mask] = colour
    picture += np.random.default_rng(0).normal(0, 2, picture.shape)
    return np.asarray(np.clip(picture, 0, 255), dtype=np.uint8)


def overlap(found: Mask, true: Mask) -> float:
    return float((found & true).sum() / (found | true).sum())


CELL, CORE = disc(100, 100, 45), disc(95, 105, 30)
PLAIN = paint((CELL, CYTOPLASM), (CORE, NUCLEUS))


def test_nucleus_and_cytoplasm_are_found() -> None:
    """A painted cell comes back, both parts, up to the blur of a pixel or two; at a border too."""
    cell = segment(PLAIN)
    assert overlap(cell.nucleus, CORE) > 0.9
    assert overlap(cell.cytoplasm, CELL & ~CORE) > 0.85
    assert not (cell.nucleus & cell.cytoplasm).any()
    assert overlap(segment(PLAIN[:, 70:]).whole, CELL[:, 70:]) > 0.9


def test_red_cells_that_touch_are_left_out() -> None:
    """Red cells lean against the white one from all sides and do not become cytoplasm."""
    reds = [(disc(*place, 28), RED) for place in ((30, 90), (100, 172), (165, 60))]
    cell = segment(paint(*reds, (CELL, CYTOPLASM), (CORE, NUCLEUS)))
    assert overlap(cell.whole, CELL) > 0.9


def test_a_white_neighbour_is_cut_off() -> None:
    """A second white cell that touches the central one is no part of it."""
    neighbour = ((disc(100, 178, 35), CYTOPLASM), (disc(100, 180, 25), NUCLEUS))
    cell = segment(paint(*neighbour, (CELL, CYTOPLASM), (CORE, NUCLEUS)))
    assert overlap(cell.whole, CELL) > 0.85
    assert not cell.nucleus[:, 160:].any()


def test_the_lobes_of_one_nucleus_belong_together() -> None:
    """Three lobes in one pale cell are one nucleus."""
    places = ((80, 85), (85, 118), (120, 100))
    lobes = [disc(*place, 12) for place in places]
    cell = segment(paint((CELL, (200, 175, 195)), *((lobe, NUCLEUS) for lobe in lobes)))
    for lobe, place in zip(lobes, places, strict=True):
        assert overlap(cell.nucleus & disc(*place, 18), lobe) > 0.8
    assert overlap(cell.whole, CELL) > 0.85


def test_an_empty_smear_has_no_cell_and_still_has_features() -> None:
    """Nothing stained: empty masks, and zeros where nothing can be measured."""
    picture = np.full((64, 64, 3), 200, np.uint8)
    assert not segment(picture).whole.any()
    assert patterns(picture).tolist() == [0] * 54
    assert np.isfinite(morphology(picture)).all()


@pytest.mark.parametrize(("describe", "width"), [(patterns, 54), (morphology, 80)])
def test_features_do_not_know_which_way_is_up(
    describe: Callable[[RGB], NDArray[np.float64]], width: int
) -> None:
    """A quarter turn changes next to nothing."""
    upright, turned = describe(PLAIN), describe(np.rot90(PLAIN).copy())
    assert upright.shape == (width,)
    np.testing.assert_allclose(turned, upright, rtol=0.05, atol=0.02)


def test_features_are_shares_and_pixels() -> None:
    """Patterns of each radius sum to 1; areas, their ratio, one lobe, and a disc is round."""
    shares = patterns(PLAIN)
    assert [shares[:10].sum(), shares[10:28].sum(), shares[28:].sum()] == pytest.approx([1, 1, 1])
    area, cytoplasm, ratio, lobes, eccentricity, solidity = morphology(PLAIN)[:6]
    assert area == pytest.approx(CORE.sum(), rel=0.1)
    assert cytoplasm == pytest.approx((CELL & ~CORE).sum(), rel=0.15)
    assert ratio == pytest.approx(CORE.sum() / CELL.sum(), rel=0.1)
    assert lobes == 1
    assert eccentricity < 0.35
    assert solidity > 0.95


def test_inner_folds_keep_groups_whole_and_balance_the_classes() -> None:
    """Twenty images in ten groups of two: each group in one fold, both classes in each."""
    y = np.array([0] * 10 + [1] * 10)
    groups = [f"{index // 2}" for index in range(20)]
    folds = inner_folds(y, groups, 0)
    assert (folds[::2] == folds[1::2]).all()
    assert all(set(y[folds == fold]) == {0, 1} for fold in range(5))
    with pytest.raises(ValueError, match="two of each"):
        inner_folds(y, ["a"] * 10 + groups[10:], 0)


def planted(seed: int, n: int = 80, noise: int = 60) -> tuple[Features, NDArray[np.int_]]:
    """Two features that tell the class among many that do not."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    features = rng.normal(size=(n, noise))
    features[:, 3] += 3 * y
    features[:, 7] -= 3 * y
    return features, y


@pytest.mark.parametrize(
    "learn", [partial(fit_svm, grid={"select__k": [2, 12], "svc__C": [1, 10]}), deep.fit]
)
def test_learners_find_what_was_planted(learn: Callable[..., PredictProba]) -> None:
    """Nearly all verdicts on other images are right, P is a probability, and equal seeds repeat."""
    features, y = planted(0, noise=12)
    names = list(map(str, range(len(y))))
    others, truth = planted(1, noise=12)
    found, again = (learn(features, y, names, 0)(others) for _ in range(2))
    assert ((found >= 0) & (found <= 1)).all()
    assert np.mean((found >= 0.5) == truth) > 0.9
    np.testing.assert_array_equal(found, again)


def test_a_feature_that_never_varies_separates_nothing() -> None:
    """Its F is undefined; it ranks last instead of first."""
    features, y = planted(0)
    features[:, 0] = 4.0
    scores = separation(features, y)
    assert scores[0] == 0
    assert set(np.argsort(scores)[-2:]) == {3, 7}


def test_the_swarm_comes_nearer_to_a_planted_subset_than_chance() -> None:
    """Cost is the share of wrong coordinates: 800 random subsets stay above what it finds."""
    rng = np.random.default_rng(3)
    target = rng.random(60) < 0.5

    def cost(subset: deep.Subset) -> float:
        return float(np.mean(subset != target))

    found = deep.salp_swarm(cost, 60, seed=1)
    assert cost(found) < min(cost(rng.random(60) < 0.5) for _ in range(800))
    np.testing.assert_array_equal(found, deep.salp_swarm(cost, 60, seed=1))


def test_the_swarm_never_asks_for_the_cost_of_nothing() -> None:
    """One feature, and a cost that wants none: a subset always has a feature."""
    found = deep.salp_swarm(lambda subset: float(subset.sum()), 1, 0, salps=4, steps=5)
    assert found.tolist() == [True]


@pytest.fixture(scope="module")
def bench(drawn_set: Path) -> Bench:
    """Splits of the 40 drawn images. Read only."""
    config = load_config(options={**SMALL, "data.root": drawn_set})
    manifest = load_manifest(config.data)
    return Bench(manifest, load_groups(manifest), config)


def numbered(seen: list[set[int]]) -> Baseline:
    """A baseline whose one feature is the image's number, and which notes what it was fitted on."""

    def learn(features: Features, _y: object, _groups: object, _seed: int) -> PredictProba:
        seen.append(set(features[:, 0].astype(int)))
        return lambda test: np.full(len(test), 0.25)

    def describe(pictures: Sequence[object], _config: object) -> Features:
        return np.arange(len(pictures), dtype=float)[:, None]

    return Baseline("numbered", "numbered", None, describe, learn, network=True)


def test_a_baseline_is_fitted_on_every_image_but_the_tested(bench: Bench, tmp_path: Path) -> None:
    """The training side is the whole set less the test part, and all folds test every image."""
    seen: list[set[int]] = []
    baseline = numbered(seen)
    described = describe_set(baseline, bench)
    tested: list[int] = []
    for fold, split in enumerate(bench.folds(1)):
        predict_split(baseline, described, bench, split, tmp_path / f"{fold}.json")
        assert seen[-1] == set(range(40)) - set(split.indices("test"))
        tested += split.indices("test")
    assert sorted(tested) == list(range(40))


def test_predictions_are_read_back_until_the_baseline_changes(bench: Bench, tmp_path: Path) -> None:
    """The second call fits nothing; another version does, and a damaged file is refused."""
    seen: list[set[int]] = []
    baseline, split, file = numbered(seen), bench.folds(1)[0], tmp_path / "split.json"
    described = describe_set(baseline, bench)
    first, again = (predict_split(baseline, described, bench, split, file) for _ in range(2))
    assert (again, len(seen)) == (first, 1)
    predict_split(replace(baseline, version=2), described, bench, split, file)
    assert len(seen) == 2
    file.write_text(json.dumps({"probabilities": []}))
    with pytest.raises(RunError, match="delete it"):
        predict_split(baseline, described, bench, split, file)


def test_features_are_described_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time they come from the cache, to the bit."""
    first = describe_set(MORPHOLOGY, bench)
    monkeypatch.setattr(cell_features, "segment", None)
    second = describe_set(MORPHOLOGY, bench)
    np.testing.assert_array_equal(first.features, second.features)
    assert first.seconds == second.seconds


def test_the_background_is_the_audits(bench: Bench, tmp_path: Path) -> None:
    """The same features and the same regression: with the audit's folds, the audit's area."""
    described = describe_set(BACKGROUND, bench)
    assert described.features.shape == (40, 27)
    rows: list[HeldOut] = []
    for fold, split in enumerate(bench.folds(1)):
        file = tmp_path / f"{fold}.json"
        found = predict_split(BACKGROUND, described, bench, split, file)
        rows += bench.held_out(split, found.probabilities)
    area = roc_auc([row.label for row in rows], [row.probability for row in rows])
    assert area == pytest.approx(background_auc(bench.manifest, bench.groups.of_image).value)


def test_an_image_without_background_is_predicted_one_half() -> None:
    """A row of NaN is left out of the fit."""
    features, y = planted(0, n=20, noise=27)
    features[4] = np.nan
    found = BACKGROUND.learn(features, y, [""] * 20, 0)(features)
    assert found[4] == 0.5
    assert np.isfinite(found).all()


def test_the_quoted_values_are_the_papers_table_1() -> None:
    """As printed, and 93.84 % is a whole number of all 260 images."""
    quoted = {key: one.quote.accuracy for key, one in BASELINES.items() if one.quote}
    assert quoted == {"lbp": 0.9384, "swarm": 0.9567, "morphology": 0.9667}
    assert round(244 / 260, 4) == pytest.approx(0.9385)
