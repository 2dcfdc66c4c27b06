"""Draw a look-alike of ALL-IDB2 with known truth.

Like the real set it holds some cells more than once (shifted, in other light, one pair identical),
crops of one field that share pixels, crops cut at the border of their field and, on request, a
background or sessions that reveal the class. Every file is marked ALLD SYNTHETIC, and `truth.csv`
lists every parameter.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from alld.data.domains import EXIF_TIME
from alld.data.manifest import LABEL_NAMES, Exposure
from alld.errors import ConfigError, DataError
from alld.images.decode import SYNTHETIC_MARK
from alld.runtime.files import new_folder, write_bytes, write_csv
from alld.synthetic.c_nmc import draw_on_black, marked_bmp, name_as_c_nmc, preliminary_table
from alld.synthetic.drawing import draw_field, photograph
from alld.synthetic.plan import Recipe, Shot, plan
from alld.synthetic.sessions import in_sessions

_DESCRIPTION_TAG = 270


def draw_set(
    folder: Path, recipe: Recipe, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Draw a set into `folder` and return its image files in order.

    Raises:
        ConfigError: an option out of range.
        DataError: the folder is not empty.
    """
    _check(recipe)
    check_empty(folder)
    shots = plan(recipe)
    if recipe.sessions:
        shots = in_sessions(shots, recipe)
    names = _file_names(recipe, shots)
    rows = []
    with new_folder(folder) as beside:  # part of a set would look like a small one
        for number, (shot, pixels) in enumerate(zip(shots, render(shots), strict=True)):
            cut = draw_on_black(pixels, shot) if recipe.layout == "c-nmc" else pixels
            _save(beside / names[number]["path"], cut, shot.exposure)
            rows.append({**names[number], **_truth(shot)})
            if progress:
                progress(number + 1, len(shots))
        if recipe.layout == "c-nmc":
            preliminary_table(beside, names, [shot.label for shot in shots])
        write_csv(beside / "truth.csv", list(rows[0]), rows)
    return [folder / row["path"] for row in rows]


def render(shots: Sequence[Shot], at_once: int = 64) -> Iterator[NDArray[np.uint8]]:
    """Yield the pixels of each shot; shots of one photograph are cut from the same pixels.

    Args:
        at_once: shots held in memory.
    """
    with ThreadPoolExecutor() as pool:  # numpy and scipy release the interpreter's lock
        for start in range(0, len(shots), at_once):
            some = shots[start : start + at_once]
            distinct = {(shot.group, shot.noise_seed): shot for shot in some}
            drawn = dict(zip(distinct, pool.map(_photograph, distinct.values()), strict=True))
            for shot in some:
                top, left, height, width = shot.window
                photo = drawn[shot.group, shot.noise_seed]
                yield photo[top : top + height, left : left + width]


def _photograph(shot: Shot) -> NDArray[np.uint8]:
    field = draw_field(shot.shape, shot.cells, shot.slide)
    return photograph(field, shot.light, np.random.default_rng(shot.noise_seed))


def _file_names(recipe: Recipe, shots: Sequence[Shot]) -> list[dict[str, str]]:
    """The path of each shot below the folder; in C-NMC's layout also the patient and a name."""
    if recipe.layout == "c-nmc":
        return name_as_c_nmc(shots, recipe.seed)
    pairs = enumerate(shots, start=1)
    if recipe.layout == "folders":
        return [{"path": f"{LABEL_NAMES[shot.label]}/cell{n:03d}.tif"} for n, shot in pairs]
    return [{"path": f"Im{n:03d}_{shot.label}.tif"} for n, shot in pairs]


def _save(file: Path, pixels: NDArray[np.uint8], exposure: Exposure | None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if file.suffix == ".bmp":
        write_bytes(file, marked_bmp(image))
        return
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_DESCRIPTION_TAG] = SYNTHETIC_MARK.decode()
    if exposure is not None:
        tags[ExifTags.Base.Model] = exposure.camera
        taken = exposure.taken.strftime(EXIF_TIME)
        tags[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: taken}
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
        **({"camera": e.camera, "taken": e.taken.isoformat()} if (e := shot.exposure) else {}),
    }


def check_empty(folder: Path) -> None:
    """Raise DataError for a file, or a folder that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is not an empty folder; name a new one for the drawn set")


def check_ranges(recipe: Recipe) -> None:
    """Raise ConfigError for an option out of range, whatever is to be drawn."""
    for name in ("confound", "difficulty"):
        value = getattr(recipe, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"--{name} {value}: must lie between 0 and 1")
    if recipe.sessions and (recipe.sessions < 4 or recipe.sessions % 2):
        raise ConfigError(f"--sessions {recipe.sessions}: must be an even number of at least 4")


def _check(recipe: Recipe) -> None:
    check_ranges(recipe)
    if recipe.sessions and recipe.layout == "c-nmc":
        raise ConfigError("--sessions: files of C-NMC 2019 know no camera; take another --layout")
    if recipe.n < 20 or recipe.n % 2:
        raise ConfigError(f"--n {recipe.n}: must be an even number of at least 20 images")
