"""Tiny stand-ins for cells, for tests that need many files and no look-alike set."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

SIDE = 72
MARK = "ALLD SYNTHETIC"


def draw_cell(rng: np.random.Generator, *, blast: bool, side: int = SIDE) -> NDArray[np.uint8]:
    """(side, side, 3) RGB: a large dark nucleus for a blast, a small one for a healthy cell."""
    y, x = np.mgrid[:side, :side] - side / 2
    shift = rng.uniform(-0.05, 0.05, 2) * side
    distance = np.hypot(y - shift[0], x - shift[1])
    nucleus = distance < side * (rng.uniform(0.28, 0.36) if blast else rng.uniform(0.14, 0.2))
    cytoplasm = distance < side * rng.uniform(0.38, 0.42)
    picture = np.full((side, side, 3), (225.0, 215.0, 205.0))
    picture[cytoplasm] = (190, 170, 210)
    picture[nucleus] = (110, 60, 140)
    light = rng.uniform(0.9, 1.05)
    noisy = picture * light + rng.normal(0, 6, picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def save_tiff(path: Path, pixels: NDArray[np.uint8], description: str = MARK) -> None:
    """Write an uncompressed TIFF with its ImageDescription."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = description
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="TIFF", tiffinfo=tags)


def draw_all_idb2(
    folder: Path, per_class: int = 20, seed: int = 0, description: str = MARK
) -> Path:
    """`per_class` images a class with ALL-IDB2's names: blasts first, then healthy cells."""
    rng = np.random.default_rng(seed)
    for number in range(1, 2 * per_class + 1):
        blast = number <= per_class
        name = f"Im{number:03d}_{int(blast)}.tif"
        save_tiff(folder / name, draw_cell(rng, blast=blast), description)
    return folder
