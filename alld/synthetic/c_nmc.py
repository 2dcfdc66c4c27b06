"""Draw cells as in C-NMC 2019: cut out on black, named by subject, with a test table.

A BMP has no description. The mark of a drawn image therefore lies between header and pixels, where
the format allows a gap that every reader skips.
"""

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter
from scipy.ndimage import label as label_parts

from alld.data.manifest import BLAST
from alld.images.decode import SYNTHETIC_MARK
from alld.runtime.files import write_csv
from alld.synthetic.plan import Shot

SIDE = 450  # px
_ZOOM = 1.8  # pixels of C-NMC's microscope per pixel of ALL-IDB2's
_STAINED = 0.09  # mean optical density above that of the clear background
_CELLS = 4  # of one subject, about; C-NMC has a hundred
_PRELIMINARY = 4  # every fourth subject is in the preliminary test
_TRAINING, _TEST = "C-NMC_training_data", "C-NMC_test_prelim_phase_data"
_HEADER = 54  # bytes, of a BMP of 24 bits


def name_as_c_nmc(shots: Sequence[Shot], seed: int) -> list[dict[str, str]]:
    """Return `path`, `patient` and C-NMC's own `name` of each shot; a field is of one subject.

    Files of the preliminary test are numbered in random order, so that names reveal nothing.
    """
    places = _places(shots)
    rows = []
    for shot, (subject, image, cell) in zip(shots, places, strict=True):
        kind, letter = ("all", "") if shot.label == BLAST else ("hem", "H")
        name = f"UID_{letter}{subject}_{image}_{cell}_{kind}.bmp"
        path = f"{_TRAINING}/fold_{subject % 3}/{kind}/{name}"
        rows.append({"path": path, "patient": f"{letter}{subject}", "name": name})
    held_out = [row for row, (subject, _, _) in enumerate(places) if subject % _PRELIMINARY == 0]
    numbers = np.random.default_rng([seed, 0xC2]).permutation(len(held_out)) + 1
    for row, number in zip(held_out, numbers.tolist(), strict=True):
        rows[row]["path"] = f"{_TEST}/{number}.bmp"
    return rows


def preliminary_table(folder: Path, rows: Sequence[Mapping[str, str]], labels: list[int]) -> None:
    """Write the labels of the preliminary test beside its folder, if there is one."""
    table = [
        {"Patient_ID": row["name"], "new_names": Path(row["path"]).name, "labels": label}
        for row, label in zip(rows, labels, strict=True)
        if row["path"].startswith(_TEST)
    ]
    if table:
        table.sort(key=lambda row: int(str(row["new_names"]).removesuffix(".bmp")))
        write_csv(folder / f"{_TEST}_labels.csv", list(table[0]), table)


def draw_on_black(pixels: NDArray[np.uint8], shot: Shot) -> NDArray[np.uint8]:
    """Return (450, 450, 3) with the central cell, cut out along its outline, on black."""
    cell, y, x = shot.cells[shot.central]
    top, left, height, width = shot.window
    rows, columns = np.ogrid[top : top + height, left : left + width]
    near = np.hypot(rows - y, columns - x) <= 1.2 * cell.radius
    background = np.asarray(shot.slide.background) * shot.light.gain
    density = -np.log(np.maximum(pixels, 1) / background).mean(axis=2)
    stained = (gaussian_filter(density, 1.5) > _STAINED) & near
    # The opening separates it from red cells that touch it.
    parts, _ = label_parts(binary_opening(stained, iterations=4))
    largest = np.argmax(np.bincount(parts[parts > 0], minlength=2))
    outline = binary_fill_holes(parts == largest)
    # Enlarged about the centre of the crop to the scale of C-NMC's camera.
    cut = Image.fromarray(pixels * outline[:, :, None])
    side = SIDE / _ZOOM
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    transform = Image.Transform.EXTENT
    return np.asarray(cut.transform((SIDE, SIDE), transform, box, Image.Resampling.BILINEAR))


def marked_bmp(image: Image.Image) -> bytes:
    """Return an uncompressed BMP with the mark ALLD SYNTHETIC between header and pixels."""
    plain = BytesIO()
    image.save(plain, format="BMP")
    data = plain.getvalue()
    gap = SYNTHETIC_MARK.ljust(-(-len(SYNTHETIC_MARK) // 4) * 4, b"\0")  # pixels stay aligned
    header = bytearray(data[:_HEADER])
    struct.pack_into("<I", header, 2, len(data) + len(gap))  # bytes of the file
    struct.pack_into("<I", header, 10, _HEADER + len(gap))  # where the pixels begin
    return bytes(header) + gap + data[_HEADER:]


def _places(shots: Sequence[Shot]) -> list[tuple[int, int, int]]:
    """Subject, image and cell of each shot, counted from 1; repeats stay with their field."""
    fields: dict[tuple[int, str], tuple[int, int]] = {}  # class and field to subject and image
    images: dict[tuple[int, int], int] = {}  # of each subject
    cells: dict[tuple[int, str], int] = {}
    drawn = dict.fromkeys((0, 1), 0)
    places = []
    for shot in shots:
        key = shot.label, shot.group
        if key not in fields:
            owner = shot.label, drawn[shot.label] // _CELLS + 1
            images[owner] = images.get(owner, 0) + 1
            fields[key] = owner[1], images[owner]
        drawn[shot.label] += 1
        cells[key] = cells.get(key, 0) + 1
        places.append((*fields[key], cells[key]))
    return places
