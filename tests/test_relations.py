"""Relations between drawn images whose truth is known, and the known facts of ALL-IDB2."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from alld.data.groups import relations
from alld.data.groups.landmarks import find_landmarks, turn_landmarks
from alld.data.groups.places import Placement, turned
from alld.data.groups.recapture import coarse_picture
from alld.data.groups.relations import Relation, find_relations, group_indices
from alld.data.groups.shared_pixels import MAX_KEPT, MAX_LAG, find_patches, find_shared, keep_one_in
from alld.errors import DataError

SIDE = 160  # pixels of a drawn crop
Pixels = NDArray[np.uint8]
Field = NDArray[np.float64]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    noise = gaussian_filter(rng.normal(size=shape), scale)
    return np.asarray(noise / noise.std(), np.float64)


def draw_disc(field: Field, centre: tuple[int, int], radius: float, inside: Field | float) -> None:
    y, x = np.ogrid[: field.shape[0], : field.shape[1]]
    weight = 1 / (1 + np.exp(np.hypot(y - centre[0], x - centre[1]) - radius))
    field[...] = field * (1 - weight) + inside * weight


def draw_field(seed: int, *cells: tuple[int, int], side: int = 460) -> Field:
    """Grey levels of a field of red cells with a dark, textured cell at each of `cells`."""
    rng = np.random.default_rng(seed)
    field = 200 + 2 * smooth_noise(rng, (side, side), 8)
    for y, x in rng.integers(0, side, (side * side // 4000, 2)):
        draw_disc(field, (y, x), rng.uniform(14, 20), 165 + rng.uniform(-8, 8))
    chromatin = 90 + 15 * smooth_noise(rng, (side, side), 2.5)
    for centre in cells:
        draw_disc(field, centre, 36, chromatin)
    return field


def capture(
    field: Field, seed: int, *, gain: float = 1, offset: float = 0, blur: float = 0
) -> Pixels:
    """One photograph of a field: light, focus, and a sensor noise of its own."""
    grey = gaussian_filter(field, blur) * gain + offset
    noise = np.random.default_rng(seed).normal(0, 1.5, (*field.shape, 3))
    return np.clip(grey[..., None] + [5, -20, 10] + noise, 0, 255).astype(np.uint8)


def crop(photograph: Pixels, y: int, x: int, height: int = SIDE, width: int = SIDE) -> Pixels:
    """The crop of a photograph whose centre, for a full-sized one, lies at (y, x)."""
    top, left = y - SIDE // 2, x - SIDE // 2
    return photograph[top : top + height, left : left + width].copy()


def test_crops_that_centre_on_one_cell_of_a_photograph_show_the_same_cell() -> None:
    """Equal pixels have similarity 1: in a copy, a shifted crop and a small one."""
    photograph = capture(draw_field(1, (200, 200)), 1)
    whole = crop(photograph, 200, 200)
    for other, dy, dx in (
        (whole.copy(), 0, 0),
        (crop(photograph, 206, 193), 6, -7),
        (whole[60:120, 50:110].copy(), 60, 50),  # the distance of the centres counts
    ):
        assert find_relations([whole, other]) == [Relation(0, 1, "same cell", 1.0, dy, dx)]


def test_the_same_cell_is_found_under_another_light_shift_and_focus() -> None:
    """A second photograph, darker, blurred and shifted, is found at its true shift."""
    field = draw_field(2, (200, 200))
    bright = crop(capture(field, 1), 200, 200)
    dark = crop(capture(field, 2, gain=0.6, offset=15, blur=1.2), 209, 195)
    (relation,) = find_relations([bright, dark])
    assert (relation.first, relation.second, relation.kind) == (0, 1, "same cell")
    assert (relation.dy, relation.dx) == (9, -5)
    assert 0.65 < relation.score < 1


def test_another_photograph_shifted_by_half_a_crop_is_an_overlap() -> None:
    """Where a new photograph centres on the neighbour cell, the shared area is still seen."""
    field = draw_field(3, (200, 160), (200, 240))
    images = [crop(capture(field, 1), 200, 160), crop(capture(field, 2, gain=0.7), 200, 240)]
    (relation,) = find_relations(images)
    assert relation == Relation(0, 1, "overlap", 0.5, 0, 80)


@pytest.mark.parametrize(
    ("dy", "dx"), [(80, 10), (-10, -80), (140, 136), (-136, 140), (150, 3)], ids=str
)
def test_crops_of_one_photograph_overlap_by_their_shared_area(dy: int, dx: int) -> None:
    """From half a crop to a corner of 20 x 24 pixels, place and shared fraction are exact."""
    photograph = capture(draw_field(4, (230, 230)), 1)
    images = [crop(photograph, 230, 230), crop(photograph, 230 + dy, 230 + dx)]
    shared = (SIDE - abs(dy)) * (SIDE - abs(dx)) / SIDE**2
    assert find_relations(images) == [Relation(0, 1, "overlap", shared, dy, dx)]


def test_one_altered_pixel_ends_an_exact_overlap() -> None:
    """The whole shared rectangle is compared, not only the patches that voted."""
    photograph = capture(draw_field(4, (200, 200)), 1)
    images = [crop(photograph, 200, 200), crop(photograph, 340, 200)]
    assert len(find_relations(images)) == 1
    images[1][4, 75] ^= 1
    assert find_relations(images) == []


def test_an_off_size_crop_is_placed_by_its_own_size() -> None:
    """A crop cut by the border of its field is found, its fraction taken of the smaller image."""
    photograph = capture(draw_field(6, (200, 200)), 1)
    cut = crop(photograph, 200, 200, height=131)
    whole = crop(photograph, 310, 200)
    other = crop(capture(draw_field(7, (200, 200)), 1), 200, 200, width=121)
    assert find_relations([cut, other, whole]) == [Relation(0, 2, "overlap", 21 / 131, 110, 0)]


def test_different_fields_with_alike_cells_are_not_related() -> None:
    """Cells of one size and colour in five fields stay five, and crops that touch stay two."""
    photographs = [capture(draw_field(seed, (200, 200)), 1) for seed in range(10, 15)]
    assert find_relations([crop(photograph, 200, 200) for photograph in photographs]) == []
    assert find_relations([crop(photographs[0], 100, x) for x in (100, 260)]) == []


def cell_on_plain_ground(seed: int, contrast: float, noise: int) -> Pixels:
    chromatin = 90 + contrast * smooth_noise(np.random.default_rng(seed), (SIDE, SIDE), 2.5)
    field = np.full((SIDE, SIDE), 190.0)
    draw_disc(field, (80, 80), 45, chromatin)
    return capture(field, noise)


@pytest.mark.parametrize("contrast", [6, 18])
def test_cells_of_one_outline_on_a_plain_ground_are_told_apart_by_their_chromatin(
    contrast: float,
) -> None:
    """An outline that two cells share is no proof: only the same chromatin joins them."""
    first = cell_on_plain_ground(1, contrast, noise=1)
    again = cell_on_plain_ground(1, contrast, noise=2)
    other = cell_on_plain_ground(2, contrast, noise=3)
    assert [(r.first, r.second) for r in find_relations([first, again, other])] == [(0, 1)]


def test_flat_images_and_saturated_edges_do_not_match_each_other() -> None:
    """Constant colour determines no place; equal white margins would fit on each other."""
    flat = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (0, 0, 200, 255, 255)]
    assert find_relations(flat) == []
    images = [crop(capture(draw_field(seed, (200, 200)), 1), 200, 200) for seed in (20, 21)]
    images[0][:, -30:] = 255
    images[1][:, :30] = 255
    images[0][100, -10] = images[1][100, 20] = (255, 0, 0)  # one speck, so that a patch is unique
    assert find_relations(images) == []


def test_more_copies_than_are_compared_at_once_still_form_one_group() -> None:
    """Beyond MAX_LAG copies of one image the relations form a chain, and the group is whole."""
    image = crop(capture(draw_field(8, (200, 200)), 1), 200, 200)[:64, :64]
    images = [image] * (MAX_LAG + 4)
    assert group_indices(len(images), find_relations(images)) == [0] * len(images)


def test_relations_come_in_order_of_their_images() -> None:
    """The list is sorted by (first, second), and first is the smaller index."""
    photographs = [capture(draw_field(seed, (200, 200)), 1) for seed in (30, 31)]
    crops = [crop(p, 200, x) for x in (200, 290) for p in photographs] + [
        crop(photographs[0], 200, 110)
    ]
    pairs = [(r.first, r.second) for r in find_relations(crops)]
    assert pairs == [(0, 2), (0, 4), (1, 3)]


def test_groups_join_through_a_common_neighbour_and_take_the_smallest_index() -> None:
    """A chain of relations of both kinds is one group; no images have no relations."""
    assert find_relations([]) == []
    chain = [Relation(1, 4, "overlap", 0.1, 0, 9), Relation(2, 4, "same cell", 0.9, 0, 0)]
    assert group_indices(6, chain) == [0, 1, 1, 3, 1, 5]
    assert group_indices(2, []) == [0, 1]
    assert group_indices(0, []) == []


def test_progress_counts_up_to_two_steps_an_image() -> None:
    """The work done grows to the total, which stays the same."""
    steps: list[tuple[int, int]] = []
    images = [crop(capture(draw_field(9, (200, 200)), 1), 100, x) for x in (100, 200, 300)]
    find_relations(images, lambda done, total: steps.append((done, total)))
    assert sorted(set(steps)) == steps[:6] == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize("largest", [relations.MAX_WORK, 0])
def test_the_rounds_of_a_search_are_reached_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, largest: float
) -> None:
    """Each turn that is sought begins when its share of the work is reached."""
    monkeypatch.setattr(relations, "MAX_WORK", largest)
    images = [crop(capture(draw_field(seed, (230, 230)), seed), 230, 230) for seed in range(2)]
    shares: list[float] = [0]
    before: list[float] = []

    def candidates(_landmarks: object, turn: int, _apart: object) -> list[Placement]:
        before.append(shares[-1])
        return [Placement(0, 1, 0, 0, turn)]

    monkeypatch.setattr(relations, "find_candidates", candidates)
    described = [relations.describe(image, len(images)) for image in images]
    relations.search(images, described, shares.append, turns=True)
    assert before == [turn / 8 for turn in range(1 if largest else 0, 8)]
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((20, 20), np.uint8),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((20, 20, 3), np.float32),
        np.zeros((20, 8, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "tiny"],
)
def test_an_array_that_is_no_rgb_picture_is_named(wrong: Pixels) -> None:
    """The message says which image it is and what it is."""
    right = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(DataError, match=rf"image 1: {wrong.dtype} samples of shape \(20, "):
        find_relations([right, wrong])


def test_a_large_set_is_searched_by_landmarks_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where comparing all pairs would take too long, every second capture is still found."""
    fields = [draw_field(seed, (200, 200)) for seed in range(40, 46)]
    images = [crop(capture(field, 1), 200, 200) for field in fields]
    images += [crop(capture(field, 2, gain=0.7), 208, 195) for field in fields]
    all_pairs = find_relations(images)
    monkeypatch.setattr(relations, "MAX_WORK", 0)
    monkeypatch.setattr(relations, "find_alike", lambda *_: pytest.fail("all pairs compared"))
    assert find_relations(images) == all_pairs
    assert [(r.first, r.second) for r in all_pairs] == [(i, i + 6) for i in range(6)]


def test_patches_are_thinned_in_large_sets_and_still_place_what_is_shared() -> None:
    """One in eight up to 5,000 images; at one in 256 a quarter of two images is enough."""
    assert keep_one_in(260) == keep_one_in(5000) == 8
    assert keep_one_in(100_000) * MAX_KEPT >= 100_000 * 64_000
    photograph = capture(draw_field(4, (230, 230)), 1)
    images = [crop(photograph, 230, 230), crop(photograph, 310, 310)]
    (relation,) = find_shared(images, [find_patches(image, 256) for image in images])
    assert (relation.kind, relation.dy, relation.dx) == ("overlap", 80, 80)


def test_landmarks_turn_with_their_picture() -> None:
    """Turning the landmarks gives those of the turned picture, in all eight orientations."""
    image = crop(capture(draw_field(4, (200, 200)), 1), 200, 200, width=140)
    picture = coarse_picture(image)
    for turn in range(8):
        moved = turn_landmarks(find_landmarks(picture), turn)
        fresh = find_landmarks(np.ascontiguousarray(turned(picture, turn)))
        assert moved.shape == fresh.shape
        order, other = np.lexsort((moved.x, moved.y)), np.lexsort((fresh.x, fresh.y))
        assert np.array_equal(moved.y[order], fresh.y[other])
        assert np.array_equal(moved.x[order], fresh.x[other])
        assert np.allclose(moved.looks[order], fresh.looks[other], atol=2e-3)


def test_the_relations_of_all_idb2(real_set: Path) -> None:
    """13 pairs of one cell and 38 overlaps join 76 of 260 files in 33 groups of one class each."""
    paths = sorted(real_set.glob("Im*_[01].tif"))
    images = {path.stem[2:]: np.asarray(Image.open(path).convert("RGB")) for path in paths}
    names = list(images)
    found = find_relations(list(images.values()))
    pairs = {(names[r.first], names[r.second]): r for r in found}
    groups = Counter(group_indices(len(images), found))
    sizes = [size for size in groups.values() if size > 1]
    assert (len(sizes), sum(sizes), max(sizes)) == (33, 76, 4)
    assert all(first[-1] == second[-1] for first, second in pairs)
    assert Counter(r.kind for r in found) == {"same cell": 13, "overlap": 38}
    # Eleven cells are in several files: five share pixels, six were photographed again.
    same = {pair: r.score for pair, r in pairs.items() if r.kind == "same cell"}
    shared = {pair for pair, score in same.items() if score == 1}
    numbers = zip((222, 223, 224, 225, 227), range(256, 261), strict=True)
    assert shared == {(f"{n}_0", f"{m}_0") for n, m in numbers}
    assert {" ".join(pair) for pair in set(same) - shared} == {
        *("025_1 028_1", "025_1 031_1", "028_1 031_1", "134_0 245_0", "135_0 244_0"),
        *("138_0 146_0", "170_0 209_0", "171_0 211_0"),
    }
    # 223_0 equals 257_0; 183_0 and 184_0 share 51 % of their pixels and not their cell.
    assert (pairs["223_0", "257_0"].dy, pairs["223_0", "257_0"].dx) == (0, 0)
    assert np.array_equal(images["223_0"], images["257_0"])
    half = pairs["183_0", "184_0"]
    assert (half.kind, half.dy, half.dx) == ("overlap", 12, 120)
    assert half.score == pytest.approx(0.508, abs=0.001)
    assert np.array_equal(images["183_0"][12:, 120:], images["184_0"][:-12, :-120])
