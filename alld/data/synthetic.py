"""A drawn look-alike of ALL-IDB2 with known truth: names, sizes, and what makes the real set leak.

Like the real one it holds the same cell more than once (shifted, in other light, one pair
identical), crops of one field that share pixels, crops cut at the border of their field, and, as
far as wanted, a background that betrays the class. Every file says ALLD SYNTHETIC, and `truth.csv`
lists every parameter.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from alld.data.decode import SYNTHETIC_MARK
from alld.data.drawing import Cell, Kind, Light, Slide, draw_field, photograph
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.errors import ConfigError, DataError
from alld.files import replacing, write_csv

SIDE = 257  # px, of a whole crop
Layout = Literal["all-idb2", "folders", "c-nmc"]
_CNMC_SIDE = 450  # px
_AT_ONCE = 64  # shots held in memory
_DESCRIPTION_TAG = 270

# How the real set's 130 crops of a class are made up, roughly.
_OVERLAPPING = 0.2  # share of crops that share pixels with another one
_REPEATED = 0.05  # share of crops that show the cell of another one again
_AT_BORDER = 5 / 130
_HEALTHY_KINDS: dict[Kind, float] = {
    "lymphocyte": 0.55,
    "neutrophil": 0.2,
    "monocyte": 0.1,
    "eosinophil": 0.05,
    "platelet clump": 0.1,
}
_GREY, _WARM = np.array([196.0, 193.0, 197.0]), np.array([205.0, 197.0, 166.0])


@dataclass(frozen=True)
class Recipe:
    """What to draw. `confound` 0 to 1: how far the background tells the class; `difficulty` 0 to 1:
    how far the classes overlap."""

    n: int = 260
    seed: int = 0
    confound: float = 0.0
    difficulty: float = 0.4
    layout: Layout = "all-idb2"


@dataclass(frozen=True)
class Shot:
    """One image: a window of a field under one light."""

    label: int
    group: str
    relation: str  # how it is related to the others of its group, or ""
    cells: tuple[tuple[Cell, float, float], ...]  # of the whole field, (cell, y, x)
    shape: tuple[int, int]  # of the field, px
    slide: Slide
    light: Light
    noise_seed: int
    window: tuple[int, int, int, int]  # top, left, height, width
    central: int  # which of the cells is in the middle


def draw_set(
    folder: Path, recipe: Recipe, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Draw a set into `folder` and return its image files in order.

    Raises:
        ConfigError: a recipe out of range.
        DataError: the folder is not empty.
    """
    _check(recipe)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is not an empty folder; name a new one for the drawn set")
    shots = plan(recipe)
    files, rows = [], []
    for number, (shot, pixels) in enumerate(zip(shots, _render(shots), strict=True)):
        name = _file_name(recipe, number, shot)
        _save(folder / name, pixels if recipe.layout != "c-nmc" else _on_black(pixels, shot))
        files.append(folder / name)
        rows.append({"path": name, **_truth(shot)})
        if progress:
            progress(number + 1, len(shots))
    write_csv(folder / "truth.csv", list(rows[0]), rows)
    return files


def plan(recipe: Recipe) -> list[Shot]:
    """Decide everything about a set before a pixel is drawn: blasts first, as in ALL-IDB2."""
    rng = np.random.default_rng([recipe.seed, 0xA11D])
    return [shot for label in (BLAST, HEALTHY) for shot in _plan_class(label, recipe, rng)]


def _plan_class(label: int, recipe: Recipe, rng: np.random.Generator) -> list[Shot]:
    """Neighbours in number come from one field, as in the real set; repeats stand further apart."""
    wanted = recipe.n // 2
    repeats = max(1, round(_REPEATED * wanted))
    shots: list[Shot] = []
    while len(shots) < wanted - repeats:
        left = wanted - repeats - len(shots)
        together = int(rng.choice([2, 2, 3])) if rng.random() < _OVERLAPPING / 2 else 1
        shots += _plan_field(label, min(together, left), recipe, rng, len(shots))
    single = [index for index, shot in enumerate(shots) if not shot.relation]
    border = set(rng.choice(single, max(1, round(_AT_BORDER * wanted)), replace=False).tolist())
    shots = [_cut(shot, rng) if index in border else shot for index, shot in enumerate(shots)]
    sources = rng.choice([index for index in single if index not in border], repeats, replace=False)
    for order, index in enumerate(sources):
        identical = label == HEALTHY and order == 0
        relation = "identical" if identical else "same cell"
        shots[index] = replace(shots[index], relation=relation)
        again = shots[index] if identical else _photographed_again(shots[index], rng)
        shots.append(again)
    return shots


def _plan_field(
    label: int, crops: int, recipe: Recipe, rng: np.random.Generator, number: int
) -> list[Shot]:
    """One field with `crops` cells whose windows overlap."""
    centres = [np.zeros(2)]
    for _ in range(crops - 1):
        direction = rng.uniform(0, 2 * np.pi)
        step = rng.uniform(130, 210) * np.array([np.sin(direction), np.cos(direction)])
        centres.append(centres[-1] + step)
    spread = np.array(centres)
    margin = SIDE // 2 + 16  # room for a window that is shifted
    spread = np.rint(spread - spread.min(axis=0) + margin)
    height, width = (int(v) for v in spread.max(axis=0) + margin + 1)
    cells = tuple((_draw_cell(label, recipe, rng), float(y), float(x)) for y, x in spread.tolist())
    slide, light = _draw_slide(label, recipe, rng), _draw_light(rng)
    noise_seed = int(rng.integers(2**31))
    return [
        Shot(
            label,
            group=f"{LABEL_NAMES[label]} field {number}",
            relation="overlap" if crops > 1 else "",
            cells=cells,
            shape=(height, width),
            slide=slide,
            light=light,
            noise_seed=noise_seed,
            window=(int(y) - SIDE // 2, int(x) - SIDE // 2, SIDE, SIDE),
            central=index,
        )
        for index, (_, y, x) in enumerate(cells)
    ]


def _photographed_again(shot: Shot, rng: np.random.Generator) -> Shot:
    """The same cell a little aside, in other light, with other noise."""
    top, left, height, width = shot.window
    down, right = (int(v) for v in rng.integers(-9, 10, 2))
    return replace(
        shot,
        light=_draw_light(rng),
        noise_seed=int(rng.integers(2**31)),
        window=(top + down, left + right, height, width),
    )


def _cut(shot: Shot, rng: np.random.Generator) -> Shot:
    """A window that the border of its field cuts on one side."""
    top, left, height, width = shot.window
    lost = int(rng.integers(1, 65))
    side = rng.integers(4)
    if side == 0:
        window = (top + lost, left, height - lost, width)
    elif side == 1:
        window = (top, left, height - lost, width)
    elif side == 2:
        window = (top, left + lost, height, width - lost)
    else:
        window = (top, left, height, width - lost)
    return replace(shot, window=window)


def _draw_cell(label: int, recipe: Recipe, rng: np.random.Generator) -> Cell:
    """A blast, or one of the healthy kinds; `difficulty` pulls blasts and lymphocytes together."""
    texture = int(rng.integers(2**31))
    kinds = list(_HEALTHY_KINDS)
    kind = kinds[int(rng.choice(len(kinds), p=list(_HEALTHY_KINDS.values())))]
    if label == HEALTHY and kind != "lymphocyte":
        return _other_kind(kind, texture, rng)
    blast, lymphocyte = _typical_blast(rng), _typical_lymphocyte(rng)
    pull = min(1.0, recipe.difficulty * abs(rng.normal(0, 0.5)))
    own, other = (blast, lymphocyte) if label == BLAST else (lymphocyte, blast)
    mixed = {key: own[key] + pull * (other[key] - own[key]) for key in own}
    nucleoli = int(rng.poisson(mixed.pop("nucleoli")))
    kind = "blast" if label == BLAST else "lymphocyte"
    return Cell(kind=kind, lobes=1, nucleoli=nucleoli, texture=texture, **mixed)


def _typical_blast(rng: np.random.Generator) -> dict[str, float]:
    """Large, the nucleus fills most of it, fine chromatin, nucleoli."""
    return {
        "radius": float(np.clip(rng.normal(60, 6), 46, 76)),
        "nucleus": rng.uniform(0.86, 0.95),
        "chromatin_scale": rng.uniform(1.2, 1.9),
        "chromatin_contrast": rng.uniform(0.09, 0.15),
        "nucleoli": 2.0,
        "cytoplasm": rng.uniform(0.3, 1.0),
    }


def _typical_lymphocyte(rng: np.random.Generator) -> dict[str, float]:
    """Small and round, clumped chromatin, a pale rim."""
    return {
        "radius": float(np.clip(rng.normal(44, 4), 34, 54)),
        "nucleus": rng.uniform(0.76, 0.88),
        "chromatin_scale": rng.uniform(3.0, 4.2),
        "chromatin_contrast": rng.uniform(0.15, 0.24),
        "nucleoli": 0.0,
        "cytoplasm": rng.uniform(0.1, 0.6),
    }


def _other_kind(kind: Kind, texture: int, rng: np.random.Generator) -> Cell:
    radius, nucleus, lobes = {
        "neutrophil": (rng.uniform(56, 72), rng.uniform(0.24, 0.32), int(rng.integers(3, 6))),
        "eosinophil": (rng.uniform(56, 68), rng.uniform(0.36, 0.42), 2),
        "monocyte": (rng.uniform(60, 74), rng.uniform(0.7, 0.78), 1),
        "platelet clump": (rng.uniform(20, 38), rng.uniform(0.5, 0.7), 1),
    }[kind]
    return Cell(
        kind=kind,
        radius=radius,
        nucleus=nucleus,
        lobes=lobes,
        chromatin_scale=rng.uniform(1.8, 3.0),
        chromatin_contrast=rng.uniform(0.12, 0.2),
        nucleoli=0,
        cytoplasm=rng.uniform(0.1, 0.4),
        texture=texture,
    )


def _draw_slide(label: int, recipe: Recipe, rng: np.random.Generator) -> Slide:
    """`confound` moves the background from chance to grey behind blasts and warm behind others."""
    chance = rng.uniform(0, 1)
    told = np.clip((0.15 if label == BLAST else 0.85) + rng.normal(0, 0.08), 0, 1)
    warmth = (1 - recipe.confound) * chance + recipe.confound * told
    background = _GREY + warmth * (_WARM - _GREY) + rng.normal(0, 2.5, 3)
    red, green, blue = (float(v) for v in background)
    return Slide(
        background=(red, green, blue),
        stain=rng.uniform(0.5, 1.0),
        red_cells=rng.uniform(5.0, 10.0),
        texture=int(rng.integers(2**31)),
    )


def _draw_light(rng: np.random.Generator) -> Light:
    dark = rng.random() < 0.06  # a few of the real photographs are much darker
    return Light(
        gain=rng.uniform(0.6, 0.75) if dark else rng.uniform(0.84, 1.0),
        slope=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
        blur=rng.uniform(1.2, 1.8),
        noise=rng.uniform(1.2, 2.2),
    )


def _render(shots: Sequence[Shot]) -> Iterator[NDArray[np.uint8]]:
    """The pixels of each shot; shots of one photograph are cut from the very same one."""
    # numpy and scipy let other threads run while they compute.
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(shots), _AT_ONCE):
            some = shots[start : start + _AT_ONCE]
            distinct = {(shot.group, shot.noise_seed): shot for shot in some}
            drawn = dict(zip(distinct, pool.map(_photograph, distinct.values()), strict=True))
            for shot in some:
                top, left, height, width = shot.window
                photo = drawn[shot.group, shot.noise_seed]
                yield photo[top : top + height, left : left + width]


def _photograph(shot: Shot) -> NDArray[np.uint8]:
    field = draw_field(shot.shape, shot.cells, shot.slide)
    return photograph(field, shot.light, np.random.default_rng(shot.noise_seed))


def _file_name(recipe: Recipe, number: int, shot: Shot) -> str:
    if recipe.layout == "all-idb2":
        return f"Im{number + 1:03d}_{shot.label}.tif"
    if recipe.layout == "folders":
        return f"{LABEL_NAMES[shot.label]}/cell{number + 1:03d}.tif"
    # C-NMC 2019: UID_<subject>_<image>_<cell>, with an H before a healthy subject's number.
    within = number % (recipe.n // 2)
    subject, cell = within // 6 + 1, within % 6 + 1
    kind, letter = ("all", "") if shot.label == BLAST else ("hem", "H")
    return f"fold_{subject % 3}/{kind}/UID_{letter}{subject}_{within + 1}_{cell}_{kind}.bmp"


def _on_black(pixels: NDArray[np.uint8], shot: Shot) -> NDArray[np.uint8]:
    """C-NMC's look: (450, 450, 3), everything but the central cell black."""
    cell, y, x = shot.cells[shot.central]
    top, left, height, width = shot.window
    rows, columns = np.ogrid[top : top + height, left : left + width]
    inside = np.hypot(rows - y, columns - x) <= 1.1 * cell.radius
    black = np.zeros((_CNMC_SIDE, _CNMC_SIDE, 3), np.uint8)
    above, aside = (_CNMC_SIDE - height) // 2, (_CNMC_SIDE - width) // 2
    black[above : above + height, aside : aside + width] = pixels * inside[:, :, None]
    return black


def _save(file: Path, pixels: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    with replacing(file) as beside:
        if file.suffix == ".bmp":
            image.save(beside, format="BMP")
            # BMP has no description; readers ignore what follows the pixels.
            with open(beside, "ab") as end:
                end.write(SYNTHETIC_MARK)
            return
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[_DESCRIPTION_TAG] = SYNTHETIC_MARK.decode()
        image.save(beside, format="TIFF", tiffinfo=tags)


def _truth(shot: Shot) -> dict[str, Any]:
    cell, _, _ = shot.cells[shot.central]
    slide, light = asdict(shot.slide), asdict(shot.light)
    red, green, blue = slide.pop("background")
    down, across = light.pop("slope")
    top, left, height, width = shot.window
    return {
        "label": LABEL_NAMES[shot.label],
        "group": shot.group if shot.relation else "",
        "relation": shot.relation,
        **asdict(cell),
        "background_red": round(red, 3),
        "background_green": round(green, 3),
        "background_blue": round(blue, 3),
        "stain": slide["stain"],
        "red_cells": slide["red_cells"],
        "field": shot.group,
        "field_texture": slide["texture"],
        **light,
        "slope_down": down,
        "slope_across": across,
        "noise_seed": shot.noise_seed,
        "top": top,
        "left": left,
        "height": height,
        "width": width,
    }


def _check(recipe: Recipe) -> None:
    for name in ("confound", "difficulty"):
        value = getattr(recipe, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value}: must lie between 0 and 1")
    if recipe.n < 20 or recipe.n % 2:
        raise ConfigError(f"--n {recipe.n}: must be an even number of at least 20 images")
