"""Checks of heat maps: planted evidence is found, random maps are rejected."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alld.auditing.background import background_mask
from alld.data.preprocess import to_square
from alld.errors import ConfigError
from alld.evaluation.explanation import (
    ERASED,
    MEASURES,
    Checked,
    Explanation,
    erase,
    exchange,
    explain_test,
    hottest,
    other_images,
    read_checked,
    share_outside,
    summarise,
    write_checked,
)
from alld.inference.prediction import Prediction

SIDE, PLACES = 56, 7
Pixels = NDArray[np.uint8]


def planted(count: int, seed: int = 0) -> tuple[list[Pixels], list[tuple[int, int]]]:
    """Flat pictures with a fine checkerboard over two by two places, each somewhere else."""
    rng = np.random.default_rng(seed)
    step = SIDE // PLACES
    board = np.indices((2 * step, 2 * step)).sum(0) % 2 * 200
    pictures, where = [], []
    for _ in range(count):
        picture = np.full((SIDE, SIDE, 3), 120, np.uint8)
        y, x = (int(v) for v in rng.integers(0, PLACES - 1, 2))
        picture[y * step : (y + 2) * step, x * step : (x + 2) * step] = board[..., None]
        pictures.append(picture)
        where.append((y, x))
    return pictures, where


@dataclass
class Stub:
    """A model that is known: P(blast) grows with the contrast of a picture's sharpest corner."""

    maps: list[NDArray[np.float32]]
    batch: int = 4
    info: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(image_size=SIDE))
    asked: int = 0

    def square(self, pixels: Pixels) -> Pixels:
        return to_square(pixels, SIDE, "none")

    def evidence(self, squares: Sequence[Pixels]) -> NDArray[np.float32]:
        found = self.maps[self.asked : self.asked + len(squares)]
        self.asked += len(squares)
        return np.stack(found)

    def predict_pictures(self, pictures: Iterable[Pixels]) -> NDArray[np.float64]:
        steps = [np.abs(np.diff(picture.astype(float), axis=1)).mean() for picture in pictures]
        return np.array([1 - math.exp(-step / 5) for step in steps])


def explained_by(stub: Stub, pictures: list[Pixels], threshold: float = 0.5) -> Explanation:
    """Explain what the stub predicts of the pictures, each in a group of its own."""
    predictions = [
        Prediction(f"{n}.tif", f"{n:064d}", None, p, threshold, "0" * 64)
        for n, p in enumerate(stub.predict_pictures(pictures).tolist())
    ]
    names = [str(number) for number in range(len(pictures))]
    return explain_test(stub, pictures, predictions, names, draws=200)  # type: ignore[arg-type]


def explained(maps: list[NDArray[np.float32]], pictures: list[Pixels]) -> Explanation:
    assert (Stub(maps).predict_pictures(pictures) > 0.7).all()
    return explained_by(Stub(maps), pictures)


def mean(found: Explanation, measure: str, verdict: str = "all") -> Any:
    """The summary of a measure; of type Any because its ends may be None elsewhere."""
    assert found.summary is not None
    return found.summary[verdict][measure]


def right_map(place: tuple[int, int]) -> NDArray[np.float32]:
    heat = np.zeros((PLACES, PLACES), np.float32)
    heat[place[0] : place[0] + 2, place[1] : place[1] + 2] = 1
    return heat


def test_a_planted_sign_is_found_by_erasing() -> None:
    """Maps that mark it lose the verdict, those of other images do not: an interval above 0."""
    pictures, where = planted(24)
    found = explained([right_map(place) for place in where], pictures)
    assert mean(found, "fall").value > 0.5
    assert mean(found, "elsewhere").value < 0.4
    assert mean(found, "difference").ci_low > 0.2
    assert mean(found, "difference").n == 24


def test_random_maps_are_rejected() -> None:
    """Blurring what they mark is no better than blurring what another marks."""
    pictures, _ = planted(24)
    rng = np.random.default_rng(3)
    maps = [rng.normal(size=(PLACES, PLACES)).astype(np.float32) for _ in pictures]
    difference = mean(explained(maps, pictures), "difference")
    assert difference.ci_low < 0 < difference.ci_high


def test_one_map_for_all_images_is_rejected() -> None:
    """What every image has in common, such as its middle, is no merit: exactly no difference."""
    pictures, _ = planted(12)
    found = explained([right_map((2, 2))] * 12, pictures)
    assert {one.difference for one in found.checked} == {0}


def test_the_sign_is_that_of_the_verdict() -> None:
    """Below the threshold the evidence for healthy is erased, and P(healthy) is what falls."""
    pictures, where = planted(12)
    found = explained_by(Stub([-right_map(place) for place in where]), pictures, threshold=0.99)
    assert {one.verdict for one in found.checked} == {"healthy"}
    # The sign speaks for blast here: without it the picture is healthier still.
    assert all(one.fall < -0.3 for one in found.checked)
    assert mean(found, "fall", "blast").value is None


def test_the_share_in_the_background_is_that_of_hand_arithmetic() -> None:
    """Three of four parts outside; what speaks against the verdict does not count."""
    heat = np.array([[3.0, -9.0], [1.0, 0.0]], np.float32)
    background = np.array([[True, True], [False, False]])
    assert share_outside(heat, background) == 0.75
    assert share_outside(-np.abs(heat), background) is None


def test_the_background_is_that_of_the_audit() -> None:
    """Evidence in the corners is outside, evidence in the middle is not, by one definition."""
    pictures, _ = planted(2)
    corners = np.zeros((PLACES, PLACES), np.float32)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = 1
    found = explained([corners, right_map((2, 3))], pictures)
    assert [round(one.outside or 0) for one in found.checked] == [1, 0]
    for one, picture in zip(found.checked, pictures, strict=True):
        assert one.even == background_mask(picture).mean()


@dataclass
class Slides(Stub):
    """A model that is known: P(blast) is the brightness of a part of the picture."""

    middle: bool = False

    def predict_pictures(self, pictures: Iterable[Pixels]) -> NDArray[np.float64]:
        def brightness(picture: Pixels) -> float:
            centre = picture[SIDE // 2 - 4 : SIDE // 2 + 4, SIDE // 2 - 4 : SIDE // 2 + 4]
            corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
            return float((centre if self.middle else corners).mean()) / 255

        return np.array([brightness(picture) for picture in pictures])


def slides(count: int) -> list[Pixels]:
    """Bright middles on bright slides, dark ones on dark slides."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        light = (200, 60)[number % 2] + int(rng.integers(-10, 10))
        pictures.append(np.full((SIDE, SIDE, 3), light, np.uint8))
    return pictures


@pytest.mark.parametrize(("middle", "low", "high"), [(False, 0.4, 1), (True, -0.05, 0.05)])
def test_a_model_that_reads_the_background_is_seen(middle: bool, low: float, high: float) -> None:
    """It follows the slide that is put behind a cell; one that reads the middle does not."""
    pictures = slides(16)
    stub = Slides([np.ones((PLACES, PLACES), np.float32)] * 16, middle=middle)
    found = explained_by(stub, pictures)
    for verdict in ("all", "blast", "healthy"):
        assert low < mean(found, "background_difference", verdict).value < high
    assert abs(mean(found, "same_background").value) < 0.1


def test_an_exchange_leaves_the_cell_as_it_is() -> None:
    """The other picture where the mask is, its own elsewhere, soft between them."""
    own, other = (np.full((SIDE, SIDE, 3), v, np.uint8) for v in (50, 150))
    mask = np.zeros((SIDE, SIDE), bool)
    mask[:, : SIDE // 2] = True
    mixed = exchange(own, other, mask)
    assert (mixed[:, :20] == 150).all()
    assert (mixed[:, -20:] == 50).all()
    assert len(np.unique(mixed[0, 20:-20])) > 3


def test_a_fifth_is_marked() -> None:
    """The greatest numbers, as many as promised, also where many are equal."""
    heat = np.arange(100, dtype=np.float32).reshape(10, 10)
    assert np.flatnonzero(hottest(heat)).tolist() == list(range(80, 100))
    assert hottest(np.zeros((10, 10), np.float32)).sum() == round(ERASED * 100)


def test_erasing_blurs_what_is_marked_and_nothing_else() -> None:
    """Fine structure goes, the mean colour stays, far from the mask every pixel is the same."""
    [picture], [(y, x)] = planted(1)
    step = SIDE // PLACES
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y * step : (y + 2) * step, x * step : (x + 2) * step] = True
    erased = erase(picture, mask)
    inside = (slice(y * step + 4, (y + 2) * step - 4), slice(x * step + 4, (x + 2) * step - 4))
    assert picture[inside].std() > 90
    assert erased[inside].std() < 10
    far = np.ones((SIDE, SIDE), bool)
    far[max(0, y * step - 8) : (y + 2) * step + 8, max(0, x * step - 8) : (x + 2) * step + 8] = 0
    assert np.array_equal(erased[far], picture[far])


def test_the_other_image_has_the_verdict_asked_for_and_another_group() -> None:
    """Two each, never itself, fewer where there are no more; all are taken about as often."""
    rng = np.random.default_rng(0)
    blasts = [bool(v) for v in rng.integers(0, 2, 30)]
    groups = [str(v) for v in rng.integers(0, 12, 30)]
    for same in (True, False):
        others = other_images(blasts, groups, same=same)
        for row, two in enumerate(others):
            assert len(set(two)) == 2
            assert all((blasts[other] == blasts[row]) is same for other in two)
            assert all(groups[other] != groups[row] for other in two)
        assert others == other_images(blasts, groups, same=same)
        taken = Counter(other for two in others for other in two)
        assert len(taken) > 25
        assert max(taken.values()) <= 5
    assert other_images([True, False, False], ["a", "b", "b"], same=True) == [[], [], []]
    assert other_images([True, False, False], ["a", "a", "b"], same=False) == [[2], [], [0]]


def test_a_model_without_maps_gives_the_reason() -> None:
    """The evaluation goes on."""

    class Blind(Stub):
        def evidence(self, squares: Sequence[Pixels]) -> NDArray[np.float32]:
            raise ConfigError("heat map: tokens")

    pictures, _ = planted(2)
    assert explained_by(Blind([]), pictures).as_facts() == {"reason": "heat map: tokens"}


def test_of_a_large_test_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At random and in order, and the counts say how many."""
    monkeypatch.setattr("alld.evaluation.explanation.MOST_IMAGES", 5)
    pictures, where = planted(12)
    found = explained([right_map(place) for place in where], pictures)
    assert len(found.rows) == len(found.evidence) == 5
    assert list(found.rows) == sorted(set(found.rows)) != [0, 1, 2, 3, 4]
    assert [one.path for one in found.checked] == [f"{row}.tif" for row in found.rows]


def test_wrong_verdicts_are_shown_first_and_the_others_by_chance() -> None:
    """The surest six of the wrong, twelve in all, none twice."""
    evidence = tuple(np.zeros((3, 3), np.float32) for _ in range(40))
    found = Explanation(tuple(range(40)), evidence)
    wrong = [39, 3, 20, 8, 9, 10, 11]
    shown = [row for row, _ in found.examples(wrong)]
    assert shown[:6] == wrong[:6]
    assert len(set(shown)) == 12
    assert not set(shown[6:]) & set(wrong)
    assert shown[6:] != sorted(shown[6:])


def checked(number: int, verdict: str, outside: float | None, fall: float) -> Checked:
    return Checked(f"{number}.tif", f"{number:064d}", verdict, outside, 0.35, fall, 0.1, None, 0.2)


def test_means_are_those_of_hand_arithmetic() -> None:
    """Over all and over either verdict; an image without evidence is left out of its mean."""
    rows = [
        checked(0, "blast", 0.1, 0.5),
        checked(1, "blast", 0.3, 0.1),
        checked(2, "healthy", None, 0.0),
    ]
    summary = summarise(rows, ["a", "b", "c"], 200)
    assert list(summary) == ["all", "blast", "healthy"]
    assert list(summary["all"]) == list(MEASURES)
    assert summary["all"]["outside"].value == pytest.approx(0.2)
    assert (summary["all"]["outside"].n, summary["all"]["fall"].n) == (2, 3)
    assert summary["all"]["fall"].value == pytest.approx(0.2)
    assert summary["blast"]["difference"].value == pytest.approx(0.2)
    assert summary["healthy"]["outside"].value is None
    assert "one group" in str(summary["healthy"]["fall"].reason)
    assert summary["all"]["other_background"].value == pytest.approx(0.2)
    assert summary["all"]["background_difference"].value is None
    fall: Any = summary["all"]["fall"]
    assert 0 <= fall.ci_low < 0.2 < fall.ci_high <= 0.5


def test_intervals_resample_groups() -> None:
    """Copies of an image are not additional independent observations."""
    alone = [checked(n, "blast", 0.1 * n, 0.1) for n in range(6)]
    copied = [one for one in alone for _ in range(10)]
    tenfold = [group for group in "abcdef" for _ in range(10)]
    cases = ((alone, list("abcdef")), (copied, tenfold), (copied, [str(n) for n in range(60)]))
    wide, same, narrow = (
        np.array([metric.ci_low, metric.ci_high], dtype=float)
        for rows, groups in cases
        for metric in (summarise(rows, groups, 500)["all"]["outside"],)
    )
    assert same == pytest.approx(wide)
    assert np.ptp(narrow) < 0.5 * np.ptp(wide)


def test_the_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Every number to the last bit, empty fields as None; no table, no rows."""
    rows = [checked(0, "blast", 1 / 3, -0.1), checked(1, "healthy", None, 2 / 7)]
    assert read_checked(tmp_path) == []
    write_checked(tmp_path, rows)
    assert read_checked(tmp_path) == rows
