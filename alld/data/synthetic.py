"""A drawn look-alike of ALL-IDB2 with known truth: names, sizes, and what makes the real set leak.

Like the real one it holds the same cell more than once (shifted, in other light, one pair
identical), crops of one field that share pixels, crops cut at the border of their field, and, as
far as wanted, a background that betrays the class. Every file says ALLD SYNTHETIC, and `truth.csv`
lists every parameter.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter
from scipy.ndimage import label as label_parts

from alld.data.decode import SYNTHETIC_MARK
from alld.data.drawing import draw_field, photograph
from alld.data.manifest import BLAST, LABEL_NAMES
from alld.data.synthetic_plan import Recipe, Shot, plan
from alld.errors import ConfigError, DataError
from alld.files import new_folder, write_csv

_CNMC_SIDE = 450  # px
_CNMC_ZOOM = 1.8  # pixels of C-NMC's microscope per pixel of ALL-IDB2's
_STAINED = 0.09  # mean optical density above that of the clear background
_AT_ONCE = 64  # shots held in memory
_DESCRIPTION_TAG = 270


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
    rows = []
    with new_folder(folder) as beside:  # a part of a set would pass for a small one
        for number, (shot, pixels) in enumerate(zip(shots, _render(shots), strict=True)):
            name = _file_name(recipe, number, shot)
            _save(beside / name, pixels if recipe.layout != "c-nmc" else _on_black(pixels, shot))
            rows.append({"path": name, **_truth(shot)})
            if progress:
                progress(number + 1, len(shots))
        write_csv(beside / "truth.csv", list(rows[0]), rows)
    return [folder / row["path"] for row in rows]


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
    """C-NMC's look: (450, 450, 3), the central cell cut out along its outline, all else black."""
    cell, y, x = shot.cells[shot.central]
    top, left, height, width = shot.window
    rows, columns = np.ogrid[top : top + height, left : left + width]
    near = np.hypot(rows - y, columns - x) <= 1.2 * cell.radius
    background = np.asarray(shot.slide.background) * shot.light.gain
    density = -np.log(np.maximum(pixels, 1) / background).mean(axis=2)
    stained = (gaussian_filter(density, 1.5) > _STAINED) & near
    parts, _ = label_parts(
        binary_opening(stained, iterations=4)
    )  # red cells touch it here and there
    largest = np.argmax(np.bincount(parts[parts > 0], minlength=2))
    outline = binary_fill_holes(parts == largest)
    # About the centre of the crop, enlarged as C-NMC's camera does.
    cut = Image.fromarray(pixels * outline[:, :, None])
    side = _CNMC_SIDE / _CNMC_ZOOM
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    whole = (_CNMC_SIDE, _CNMC_SIDE)
    return np.asarray(cut.transform(whole, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR))


def _save(file: Path, pixels: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if file.suffix == ".bmp":
        image.save(file, format="BMP")
        # BMP has no description; readers ignore what follows the pixels.
        with open(file, "ab") as end:
            end.write(SYNTHETIC_MARK)
        return
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_DESCRIPTION_TAG] = SYNTHETIC_MARK.decode()
    image.save(file, format="TIFF", tiffinfo=tags)


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
