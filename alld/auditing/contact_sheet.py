"""Draw the groups of an audit side by side, with names and relations, for a person to check."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from alld import NOTICE
from alld.auditing.examine import Audit
from alld.data.manifest import LABEL_NAMES, Pictures
from alld.images.lettering import GREY, INK, MARK, PAPER, RULE, font, shortened
from alld.runtime.files import replacing

THUMB = 150  # px, the longer side
CELL = (THUMB + 14, THUMB + 66)  # px, width and height of one thumbnail with its three lines
COLUMNS = 6
MAX_SHOWN = 12  # images of one group
GROUPS_A_SHEET = 40
MAX_SHEETS = 25  # 1,000 groups; groups.csv has all of them
WIDTH = COLUMNS * CELL[0] + 20
HEAD = 64


def draw_sheets(folder: Path, audit: Audit) -> list[Path]:
    """Write groups.png, groups-2.png ... into `folder`, forty groups each, and return the files."""
    groups = list(audit.members.values())
    pictures = Pictures(audit.manifest)
    captions = _captions(audit)
    sheets: list[Path] = []
    for start in range(0, min(len(groups), GROUPS_A_SHEET * MAX_SHEETS), GROUPS_A_SHEET):
        file = folder / (f"groups-{len(sheets) + 1}.png" if sheets else "groups.png")
        shown = groups[start : start + GROUPS_A_SHEET]
        places, height = _lay_out(shown)
        sheet = Image.new("RGB", (WIDTH, height), PAPER)
        draw = ImageDraw.Draw(sheet)
        mark = "SYNTHETIC · " if audit.manifest.synthetic else ""
        title = f"{mark}Groups {start + 1} to {start + len(shown)} of {len(groups)}"
        draw.text((10, 8), title, MARK if mark else INK, font(20))
        draw.text((10, 36), f"{audit.groups.source} · {NOTICE}", GREY, font(12))
        for group, place in zip(shown, places, strict=True):
            _draw_group(sheet, group, place, pictures, captions)
        with replacing(file) as beside:
            sheet.save(beside, format="PNG", optimize=True)
        sheets.append(file)
    return sheets


def _size(group: Sequence[int]) -> tuple[int, int]:
    """Width and height in px of the thumbnails of a group."""
    return min(len(group), COLUMNS) * CELL[0], -(-min(len(group), MAX_SHOWN) // COLUMNS) * CELL[1]


def _lay_out(groups: Sequence[Sequence[int]]) -> tuple[list[tuple[int, int]], int]:
    """Left and top of every group, small ones side by side, and the height of the sheet in px."""
    places, x, y, row = [], 12, HEAD, 0
    for group in groups:
        width, height = _size(group)
        if x + width > WIDTH and x > 12:
            x, y, row = 12, y + row, 0
        places.append((x, y))
        row = max(row, height + (20 if len(group) > MAX_SHOWN else 4))
        x += width
    return places, y + row + 10


def _captions(audit: Audit) -> dict[int, list[str]]:
    """The lines below each image: its name and its strongest relation, best to an earlier one."""
    best: dict[int, tuple[bool, bool, float, str]] = {}
    for r in audit.groups.relations:
        measure = f"similarity {r.score:.2f}" if r.kind == "same cell" else f"{r.score:.0%} shared"
        for one, other in ((r.first, r.second), (r.second, r.first)):
            to = Path(audit.manifest.records[other].path).name
            text = f"{audit.name_of(r)}\n{measure}, {to}"
            rank = (other < one, r.kind == "same cell", r.score, text)
            best[one] = max(best.get(one, rank), rank)
    captions = {}
    for index in (index for members in audit.members.values() for index in members):
        record = audit.manifest.records[index]
        related = best[index][-1].split("\n") if index in best else []
        lines = [f"{record.path} {LABEL_NAMES[record.label]}", *related]
        captions[index] = [shortened(line, THUMB + 4) for line in lines]
    return captions


def _draw_group(
    sheet: Image.Image,
    group: Sequence[int],
    place: tuple[int, int],
    pictures: Pictures,
    captions: Mapping[int, Sequence[str]],
) -> None:
    draw, (x, y), (width, height) = ImageDraw.Draw(sheet), place, _size(group)
    for number, index in enumerate(group[:MAX_SHOWN]):
        left, top = x + number % COLUMNS * CELL[0], y + number // COLUMNS * CELL[1]
        thumb = Image.fromarray(np.ascontiguousarray(pictures[index]))
        thumb.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
        sheet.paste(thumb, (left, top))
        for line, text in enumerate(captions[index]):
            at = (left, top + THUMB + 3 + 15 * line)
            draw.text(at, text, GREY if line else INK, font(12))
    draw.rectangle((x - 5, y - 5, x + width - 9, y + height - 9), outline=RULE)
    if len(group) > MAX_SHOWN:
        more = f"and {len(group) - MAX_SHOWN} more in groups.csv"
        draw.text((x, y + height - 6), more, INK, font(12))
