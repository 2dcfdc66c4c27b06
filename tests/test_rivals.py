"""The rivals: cells parted from red ones, features of them, and learning that looks at no test."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn import draw_all_idb2
from numpy.typing import NDArray

from alld.audit.background import background_auc
from alld.baselines import deep, morphology, texture
from alld.baselines.bench import Bench
from alld.baselines.learning import PredictProba, fit_svm, inner_folds, separation
from alld.baselines.scores import describe_set, judge
from alld.baselines.swarm import salp_swarm
from alld.baselines.systems import BACKGROUND, LBP, MORPHOLOGY, RIVALS, Rival
from alld.cells.segment import segment
from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.manifest import Pictures
from alld.data.sources.find import load_manifest
from alld.errors import RunError

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
    return np.clip(picture, 0, 255).astype(np.uint8)


def overlap(found: Mask, true: Mask) -> float:
    return float((found & true).sum() / (found | true).sum())


CELL, CORE = disc(100, 100, 45), disc(95, 105, 30)
PLAIN = paint((CELL, CYTOPLASM), (CORE, NUCLEUS))


def test_nucleus_and_cytoplasm_are_found() -> None:
    """A painted cell comes back, both parts, up to the blur of a pixel or two."""
    cell = segment(PLAIN)
    assert overlap(cell.nucleus, CORE) > 0.9
    assert overlap(cell.cytoplasm, CELL & ~CORE) > 0.85
    assert not (cell.nucleus & cell.cytoplasm).any()


def test_red_cells_that_touch_are_left_out() -> None:
    """Red cells lean against the white one from all sides and do not become cytoplasm."""
    reds = [(disc(*place, 28), RED) for place in ((30, 90), (100, 172), (165, 60))]
    cell = segment(paint(*reds, (CELL, CYTOPLASM), (CORE, NUCLEUS)))
    assert overlap(cell.whole, CELL) > 0.9


def test_a_white_neighbour_is_cut_off() -> None:
    """A second white cell that touches the central one is no part of it."""
    beside = disc(100, 178, 35)
    picture = paint(
        (beside, CYTOPLASM), (disc(100, 180, 25), NUCLEUS), (CELL, CYTOPLASM), (CORE, NUCLEUS)
    )
    cell = segment(picture)
    assert overlap(cell.whole, CELL) > 0.85
    assert not cell.nucleus[:, 160:].any()


def test_the_lobes_of_one_nucleus_belong_together() -> None:
    """Three lobes in one pale cell are one nucleus."""
    lobes = [disc(80, 85, 12), disc(85, 118, 12), disc(120, 100, 12)]
    picture = paint((CELL, (200, 175, 195)), *((lobe, NUCLEUS) for lobe in lobes))
    cell = segment(picture)
    assert all(overlap(cell.nucleus & disc(y, x, 18), lobe) > 0.8 for lobe, (y, x) in
               zip(lobes, ((80, 85), (85, 118), (120, 100)), strict=True))  # fmt: skip
    assert overlap(cell.whole, CELL) > 0.85


def test_an_empty_smear_has_no_cell_and_still_has_features() -> None:
    """Nothing stained: empty masks, and zeros where nothing can be measured."""
    picture = np.full((64, 64, 3), 200, np.uint8)
    assert not segment(picture).whole.any()
    assert texture.describe(picture).tolist() == [0] * 54
    assert np.isfinite(morphology.describe(picture)).all()


def test_a_cell_at_the_border_keeps_its_border() -> None:
    """What the edge of the picture cuts off is not smoothed away further in."""
    cut = segment(PLAIN[:, 70:])
    assert overlap(cut.whole, CELL[:, 70:]) > 0.9


@pytest.mark.parametrize(("describe", "width"), [(texture.describe, 54), (morphology.describe, 80)])
def test_features_do_not_know_which_way_is_up(describe: object, width: int) -> None:
    """A quarter turn changes next to nothing."""
    assert callable(describe)
    upright, turned = describe(PLAIN), describe(np.rot90(PLAIN).copy())
    assert upright.shape == (width,)
    np.testing.assert_allclose(turned, upright, rtol=0.05, atol=0.02)


def test_patterns_are_shares_of_the_nucleus() -> None:
    """Each of the three radii gives shares that sum to 1."""
    shares = texture.describe(PLAIN)
    assert [shares[:10].sum(), shares[10:28].sum(), shares[28:].sum()] == pytest.approx([1, 1, 1])


def test_shape_is_measured_in_pixels() -> None:
    """Area of nucleus and cytoplasm, their ratio, one lobe, and a disc is round and solid."""
    area, cytoplasm, ratio, lobes, eccentricity, solidity = morphology.describe(PLAIN)[:6]
    assert area == pytest.approx(CORE.sum(), rel=0.1)
    assert cytoplasm == pytest.approx((CELL & ~CORE).sum(), rel=0.15)
    assert ratio == pytest.approx(CORE.sum() / CELL.sum(), rel=0.1)
    assert lobes == 1
    assert eccentricity < 0.35
    assert solidity > 0.95


def test_inner_folds_tear_no_group_and_balance_the_classes() -> None:
    """Twenty images in ten groups of two: each group in one fold, both classes in each."""
    y = np.array([0] * 10 + [1] * 10)
    groups = [f"{index // 2}" for index in range(20)]
    folds = inner_folds(y, groups, 0)
    assert all(folds[2 * i] == folds[2 * i + 1] for i in range(10))
    assert all(set(y[folds == fold]) == {0, 1} for fold in range(5))
    with pytest.raises(ValueError, match="two of each"):
        inner_folds(y, ["a"] * 10 + groups[10:], 0)


def planted(
    seed: int, n: int = 80, noise: int = 60
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Two features that tell the class among many that do not."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    features = rng.normal(size=(n, noise))
    features[:, 3] += 3 * y
    features[:, 7] -= 3 * y
    return features, y


GRID = {"select__k": [2, 12], "svc__C": [1, 10]}


def fit_machine(
    features: NDArray[np.float64], y: NDArray[np.int_], groups: Sequence[str], seed: int
) -> PredictProba:
    return fit_svm(features, y, groups, seed, GRID)


@pytest.mark.parametrize("learn", [fit_machine, deep.fit])
def test_learners_find_what_was_planted(learn: object) -> None:
    """On other images of the same kind nearly all verdicts are right, and P is a probability."""
    assert callable(learn)
    features, y = planted(0, noise=12)
    predict = learn(features, y, list(map(str, range(len(y)))), 0)
    others, truth = planted(1, noise=12)
    found = predict(others)
    assert ((found >= 0) & (found <= 1)).all()
    assert np.mean((found >= 0.5) == truth) > 0.9


@pytest.mark.parametrize("learn", [fit_machine, deep.fit])
def test_learners_give_the_same_twice(learn: object) -> None:
    """Equal seeds, equal probabilities."""
    assert callable(learn)
    features, y = planted(2, n=40)
    names = list(map(str, range(len(y))))
    first, second = (learn(features, y, names, 5)(features) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_feature_that_never_varies_parts_nothing() -> None:
    """Its F is undefined; it ranks last in place of first."""
    features, y = planted(0)
    features[:, 0] = 4.0
    scores = separation(features, y)
    assert scores[0] == 0
    assert set(np.argsort(scores)[-2:]) == {3, 7}


def test_the_swarm_comes_nearer_to_a_planted_subset_than_chance() -> None:
    """Cost is the share of wrong coordinates: 800 random subsets stay above what it finds."""
    rng = np.random.default_rng(3)
    target = rng.random(60) < 0.5

    def cost(subset: NDArray[np.bool_]) -> float:
        return float(np.mean(subset != target))

    found = salp_swarm(cost, 60, seed=1)
    assert cost(found) < min(cost(rng.random(60) < 0.5) for _ in range(800))
    np.testing.assert_array_equal(found, salp_swarm(cost, 60, seed=1))


def test_the_swarm_never_asks_for_the_cost_of_nothing() -> None:
    """One feature, and a cost that wants none: a subset always has a feature."""
    assert salp_swarm(lambda subset: float(subset.sum()), 1, 0, salps=4, steps=5).tolist() == [True]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Splits of 40 small drawn images, each a group."""
    folder = draw_all_idb2(tmp_path_factory.mktemp("cells"))
    options = {"data.root": folder, "data.image_size": 32, "model.arch": "efficientnet_lite0"}
    config = load_config(options=options)
    manifest = load_manifest(config.data)
    return Bench(manifest, load_groups(manifest), config)


def numbered(seen: list[list[int]]) -> Rival:
    """A rival whose one feature is the image's number, and which notes what it was fitted on."""

    def learn(
        features: NDArray[np.float64], _y: object, _groups: object, _seed: int
    ) -> PredictProba:
        seen.append(features[:, 0].astype(int).tolist())
        return lambda test: np.full(len(test), 0.25)

    def describe(pictures: Sequence[object], _config: object) -> NDArray[np.float64]:
        return np.arange(len(pictures), dtype=float)[:, None]

    return Rival("numbered", "numbered", None, describe, learn, network=True)


def test_a_rival_is_fitted_on_every_image_but_the_tested(bench: Bench, tmp_path: Path) -> None:
    """The training side is the whole set less the test part, and all folds test every image."""
    seen: list[list[int]] = []
    rival = numbered(seen)
    described = describe_set(rival, bench)
    tested = []
    for fold, split in enumerate(bench.folds(1)):
        judge(rival, described, bench, split, tmp_path / f"{fold}.json")
        assert set(seen[-1]) == set(range(40)) - set(split.indices("test"))
        assert split.leaking_groups == 0
        tested += split.indices("test")
    assert sorted(tested) == list(range(40))


def test_a_judged_split_is_read_back_until_the_rival_changes(bench: Bench, tmp_path: Path) -> None:
    """The second call fits nothing; another version of the rival does."""
    seen: list[list[int]] = []
    rival, split, file = numbered(seen), next(bench.folds(1)), tmp_path / "cell.json"
    described = describe_set(rival, bench)
    first = judge(rival, described, bench, split, file)
    assert judge(rival, described, bench, split, file).probabilities == tuple(first.probabilities)
    assert len(seen) == 1
    judge(replace(rival, version=2), described, bench, split, file)
    assert len(seen) == 2
    file.write_text(json.dumps({"probabilities": []}))
    with pytest.raises(RunError, match="delete it"):
        judge(rival, described, bench, split, file)


def test_features_are_described_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time they come from the cache, to the bit."""
    first = describe_set(MORPHOLOGY, bench)
    monkeypatch.setattr(morphology, "segment", None)
    second = describe_set(MORPHOLOGY, bench)
    np.testing.assert_array_equal(first.features, second.features)
    assert first.seconds == second.seconds


def test_the_background_is_the_audits(bench: Bench, tmp_path: Path) -> None:
    """The same features and the same regression: with the audit's folds, the audit's area."""
    described = describe_set(BACKGROUND, bench)
    assert described.features.shape == (40, 27)
    rows = [
        row
        for fold, split in enumerate(bench.folds(1), start=1)
        for row in bench.judged(
            split,
            judge(BACKGROUND, described, bench, split, tmp_path / f"{fold}.json").probabilities,
        )
    ]
    blasts = [row.probability for row in rows if row.label == 1]
    healthy = [row.probability for row in rows if row.label == 0]
    area = np.mean([(b > h) + (b == h) / 2 for b in blasts for h in healthy])
    audited = background_auc(bench.manifest, bench.groups.of_image)
    assert area == pytest.approx(audited.value)


def test_an_image_without_background_tells_nothing() -> None:
    """A row of NaN is left out of the fit and judged 0.5."""
    features, y = planted(0, n=20, noise=27)
    features[4] = np.nan
    found = BACKGROUND.learn(features, y, [""] * 20, 0)(features)
    assert found[4] == 0.5
    assert np.isfinite(found).all()


def test_a_rival_is_one_function_from_images_to_probabilities(bench: Bench) -> None:
    """fit(images, y, groups, seed) gives a function of images."""
    pictures = Pictures(bench.manifest)[:]
    predict = LBP.fit(pictures, bench.labels, bench.groups.of_image, 0, bench.config)
    found = predict(pictures[:3])
    assert found.shape == (3,)
    assert ((found >= 0) & (found <= 1)).all()


def test_the_quoted_values_are_the_papers_table_1() -> None:
    """As printed, and 93.84 % is a whole number of all 260 images."""
    quoted = {key: rival.quote.accuracy for key, rival in RIVALS.items() if rival.quote}
    assert quoted == {"lbp": 0.9384, "swarm": 0.9567, "morphology": 0.9667}
    assert round(244 / 260, 4) == pytest.approx(0.9385)
