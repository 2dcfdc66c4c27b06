"""Plan a drawn set before a pixel is drawn: cells, slides, windows and relations."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES, Exposure
from alld.synthetic.drawing import Light, Slide
from alld.synthetic.white_cells import Kind, WhiteCell

SIDE = 257  # px, of a whole crop
Layout = Literal["all-idb2", "folders", "c-nmc"]

# The rough composition of the real set's 130 crops of a class.
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


class _Typical(NamedTuple):
    """The ranges of a kind of cell; `radius` has mean, deviation, least and most."""

    radius: tuple[float, float, float, float]
    nucleus: tuple[float, float]
    chromatin_scale: tuple[float, float]
    chromatin_contrast: tuple[float, float]
    nucleoli: float
    cytoplasm: tuple[float, float]


# Large, with fine chromatin and nucleoli; the nucleus fills most of the cell.
_BLAST = _Typical((60, 6, 46, 76), (0.86, 0.95), (1.2, 1.9), (0.09, 0.15), 2.0, (0.3, 1.0))
# Small and round, with clumped chromatin and a pale rim.
_LYMPHOCYTE = _Typical((44, 4, 34, 54), (0.76, 0.88), (3.0, 4.2), (0.15, 0.24), 0.0, (0.1, 0.6))
_GREY, _WARM = np.array([196.0, 193.0, 197.0]), np.array([205.0, 197.0, 166.0])


@dataclass(frozen=True)
class Recipe:
    """The options of a drawn set."""

    n: int = 260
    seed: int = 0
    confound: float = 0.0  # 0 to 1: how far the background, or the session, reveals the class
    difficulty: float = 0.4  # 0 to 1: how far the classes overlap
    layout: Layout = "all-idb2"
    sessions: int = 0  # in which the fields are photographed; 0 for no such thing

    def count(self, label: int) -> int:
        """Return the images of a class: one half, or two thirds of blasts as in C-NMC."""
        blasts = round(self.n * 2 / 3) if self.layout == "c-nmc" else self.n // 2
        return blasts if label == BLAST else self.n - blasts


@dataclass(frozen=True)
class Shot:
    """One image: a window of a field, photographed in one light."""

    label: int
    group: str
    relation: str  # to the others of its group, or ""
    cells: tuple[tuple[WhiteCell, float, float], ...]  # of the whole field, (cell, y, x)
    shape: tuple[int, int]  # of the field, px
    slide: Slide
    light: Light
    noise_seed: int
    window: tuple[int, int, int, int]  # top, left, height, width
    central: int  # which of the cells is in the middle
    exposure: Exposure | None = None  # where the set is drawn in sessions


def plan(recipe: Recipe) -> list[Shot]:
    """Return the shots of a set in order, blasts first as in ALL-IDB2."""
    rng = np.random.default_rng([recipe.seed, 0xA11D])
    shots = [shot for label in (BLAST, HEALTHY) for shot in _plan_class(label, recipe, rng)]
    if recipe.layout != "c-nmc":
        return shots
    # Cells cut out on black share no pixel with their neighbours.
    return [replace(s, relation="") if s.relation == "overlap" else s for s in shots]


def _plan_class(label: int, recipe: Recipe, rng: np.random.Generator) -> list[Shot]:
    """Crops of one field have neighbouring numbers, as in the real set; repeats come last."""
    wanted = recipe.count(label)
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
    """A field with `crops` cells whose windows overlap."""
    centres = [np.zeros(2)]
    for _ in range(crops - 1):
        direction = rng.uniform(0, 2 * np.pi)
        step = rng.uniform(130, 210) * np.array([np.sin(direction), np.cos(direction)])
        centres.append(centres[-1] + step)
    spread = np.array(centres)
    margin = SIDE // 2 + 16  # room for a window that is shifted
    spread = np.rint(spread - spread.min(axis=0) + margin)
    height, width = (int(v) for v in spread.max(axis=0) + margin + 1)
    cells = tuple((draw_cell(label, recipe, rng), float(y), float(x)) for y, x in spread.tolist())
    slide, light = draw_slide(label, recipe, rng), draw_light(rng)
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
    """The same cell, a little shifted, in other light and with other noise."""
    top, left, height, width = shot.window
    down, right = (int(v) for v in rng.integers(-9, 10, 2))
    return replace(
        shot,
        light=draw_light(rng),
        noise_seed=int(rng.integers(2**31)),
        window=(top + down, left + right, height, width),
    )


def _cut(shot: Shot, rng: np.random.Generator) -> Shot:
    """The window, cut by the border of its field on one side."""
    top, left, height, width = shot.window
    lost = int(rng.integers(1, 65))
    windows = (
        (top + lost, left, height - lost, width),
        (top, left, height - lost, width),
        (top, left + lost, height, width - lost),
        (top, left, height, width - lost),
    )
    return replace(shot, window=windows[rng.integers(4)])


def draw_cell(label: int, recipe: Recipe, rng: np.random.Generator) -> WhiteCell:
    """Draw a blast or a healthy kind; `difficulty` makes blasts and lymphocytes alike."""
    texture = int(rng.integers(2**31))
    kinds = list(_HEALTHY_KINDS)
    kind = kinds[int(rng.choice(len(kinds), p=list(_HEALTHY_KINDS.values())))]
    if label == HEALTHY and kind != "lymphocyte":
        return _other_kind(kind, texture, rng)
    blast, lymphocyte = _typical(_BLAST, rng), _typical(_LYMPHOCYTE, rng)
    pull = min(1.0, recipe.difficulty * abs(rng.normal(0, 0.5)))
    own, other = (blast, lymphocyte) if label == BLAST else (lymphocyte, blast)
    mixed = {key: own[key] + pull * (other[key] - own[key]) for key in own}
    nucleoli = int(rng.poisson(mixed.pop("nucleoli")))
    kind = "blast" if label == BLAST else "lymphocyte"
    return WhiteCell(kind=kind, lobes=1, nucleoli=nucleoli, texture=texture, **mixed)


def _typical(kind: _Typical, rng: np.random.Generator) -> dict[str, float]:
    mean, deviation, least, most = kind.radius
    return {
        "radius": float(np.clip(rng.normal(mean, deviation), least, most)),
        "nucleus": rng.uniform(*kind.nucleus),
        "chromatin_scale": rng.uniform(*kind.chromatin_scale),
        "chromatin_contrast": rng.uniform(*kind.chromatin_contrast),
        "nucleoli": kind.nucleoli,
        "cytoplasm": rng.uniform(*kind.cytoplasm),
    }


def _other_kind(kind: Kind, texture: int, rng: np.random.Generator) -> WhiteCell:
    radius, nucleus, lobes = {
        "neutrophil": (rng.uniform(56, 72), rng.uniform(0.24, 0.32), int(rng.integers(3, 6))),
        "eosinophil": (rng.uniform(56, 68), rng.uniform(0.36, 0.42), 2),
        "monocyte": (rng.uniform(60, 74), rng.uniform(0.7, 0.78), 1),
        "platelet clump": (rng.uniform(20, 38), rng.uniform(0.5, 0.7), 1),
    }[kind]
    return WhiteCell(
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


def draw_slide(label: int, recipe: Recipe, rng: np.random.Generator) -> Slide:
    """Draw a slide: `confound` makes it grey behind blasts and warm behind healthy cells.

    Where the set has sessions it decides these instead.
    """
    chance = rng.uniform(0, 1)
    revealing = np.clip((0.15 if label == BLAST else 0.85) + rng.normal(0, 0.08), 0, 1)
    confound = 0.0 if recipe.sessions else recipe.confound
    warmth = (1 - confound) * chance + confound * revealing
    background = _GREY + warmth * (_WARM - _GREY) + rng.normal(0, 2.5, 3)
    red, green, blue = (float(v) for v in background)
    return Slide(
        background=(red, green, blue),
        stain=rng.uniform(0.5, 1.0),
        red_cells=rng.uniform(5.0, 10.0),
        texture=int(rng.integers(2**31)),
    )


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the conditions of a photograph."""
    dark = rng.random() < 0.06  # a few of the real photographs are much darker
    return Light(
        gain=rng.uniform(0.6, 0.75) if dark else rng.uniform(0.84, 1.0),
        slope=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
        blur=rng.uniform(1.2, 1.8),
        noise=rng.uniform(1.2, 2.2),
    )
