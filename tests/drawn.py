"""Tiny stand-ins for cells, for tests that need many files and no look-alike set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from alld.synthetic.c_nmc import marked_bmp

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


def draw_on_black(path: Path, rng: np.random.Generator, *, blast: bool, side: int = SIDE) -> None:
    """Write a BMP of one cell cut out on black, as C-NMC's are."""
    pixels = draw_cell(rng, blast=blast, side=side)
    y, x = np.mgrid[:side, :side] - side / 2
    pixels[np.hypot(y, x) > 0.4 * side] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(marked_bmp(Image.fromarray(pixels)))


def draw_c_nmc(folder: Path, subjects: int = 8, cells: int = 3, seed: int = 0) -> Path:
    """C-NMC's training folds: so many subjects a class, twice as many cells of the ill."""
    rng = np.random.default_rng(seed)
    for subject in range(1, subjects + 1):
        for kind, letter, count in (("all", "", 2 * cells), ("hem", "H", cells)):
            for cell in range(1, count + 1):
                name = f"UID_{letter}{subject}_1_{cell}_{kind}.bmp"
                path = folder / f"fold_{subject % 3}" / kind / name
                draw_on_black(path, rng, blast=kind == "all")
    return folder


def draw_preliminary(folder: Path, names: Sequence[str], seed: int = 9) -> Path:
    """C-NMC's preliminary test of cells with these names: numbered files, and its table."""
    rng, inner = np.random.default_rng(seed), folder / "C-NMC_test_prelim_phase_data"
    lines = ["Patient_ID,new_names,labels"]
    for number, name in enumerate(names, start=1):
        blast = name.endswith("_all.bmp")
        draw_on_black(inner / f"{number}.bmp", rng, blast=blast)
        lines.append(f"{name},{number}.bmp,{int(blast)}")
    table = folder / "C-NMC_test_prelim_phase_data_labels.csv"
    table.write_text("\n".join(lines) + "\n")
    return table
