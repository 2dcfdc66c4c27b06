"""Groups of images side by side, with names and relations, for a person to overrule."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from alld import NOTICE
from alld.audit.audit import Audit
from alld.data.manifest import LABEL_NAMES, Pictures
from alld.images.lettering import GREY, INK, MARK, PAPER, RULE, font, shortened
from alld.runtime.files import replacing

THUMB = 150  # px, the longer side
CELL = (THUMB + 14, THUMB + 66)  # px, width and height of one thumbnail with its three lines
MAX_SHOWN = 12  # images of one group
GROUPS_A_SHEET = 40
MAX_SHEETS = 25  # 1,000 groups; nobody looks at more, and groups.csv has them all
WIDTH = 6 * CELL[0] + 20
HEAD = 64


def draw_sheets(folder: Path, audit: Audit) -> list[Path]:
    """Write groups.png, groups-2.png ... into `folder`, forty groups each; none without groups."""
    groups = list(audit.members.values())
    pictures = Pictures(audit.manifest)
    sheets: list[Path] = []
    for start in range(0, min(len(groups), GROUPS_A_SHEET * MAX_SHEETS), GROUPS_A_SHEET):
        page = len(sheets) + 1
        file = folder / ("groups.png" if page == 1 else f"groups-{page}.png")
        sheet = _draw_sheet(audit, groups[start : start + GROUPS_A_SHEET], start, pictures)
        with replacing(file) as beside:
            sheet.save(beside, format="PNG", optimize=True)
        sheets.append(file)
    return sheets


def _draw_sheet(
    audit: Audit, groups: Sequence[Sequence[int]], start: int, pictures: Pictures
) -> Image.Image:
    places, height = _lay_out(groups)
    sheet = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    mark = "SYNTHETIC · " if audit.manifest.synthetic else ""
    title = f"{mark}Groups {start + 1} to {start + len(groups)} of {len(audit.members)}"
    draw.text((10, 8), title, MARK if mark else INK, font(20))
    draw.text((10, 36), f"{audit.groups.source} · {NOTICE}", GREY, font(12))
    scores = _scores(audit)
    for group, (x, y) in zip(groups, places, strict=True):
        for number, index in enumerate(group[:MAX_SHOWN]):
            left, top = x + number % 6 * CELL[0], y + number // 6 * CELL[1]
            _draw_image(sheet, draw, audit, index, (left, top), pictures, scores.get(index, ""))
        width = min(len(group), 6) * CELL[0]
        rows = -(-min(len(group), MAX_SHOWN) // 6)
        frame = (x - 5, y - 5, x + width - 9, y + rows * CELL[1] - 9)
        draw.rectangle(frame, outline=RULE)
        if len(group) > MAX_SHOWN:
            more = f"and {len(group) - MAX_SHOWN} more in groups.csv"
            draw.text((x, y + rows * CELL[1] - 6), more, INK, font(12))
    return sheet


def _lay_out(groups: Sequence[Sequence[int]]) -> tuple[list[tuple[int, int]], int]:
    """Left and top of every group, small ones side by side, and the height of the sheet in px."""
    places, x, y, row = [], 12, HEAD, 0
    for group in groups:
        width = min(len(group), 6) * CELL[0]
        if x + width > WIDTH and x > 12:
            x, y, row = 12, y + row, 0
        places.append((x, y))
        rows = -(-min(len(group), MAX_SHOWN) // 6)
        row = max(row, rows * CELL[1] + (20 if len(group) > MAX_SHOWN else 4))
        x += width
    return places, y + row + 10


def _scores(audit: Audit) -> dict[int, str]:
    """What joins every image to another, an earlier one if it can be: its strongest relation."""
    best: dict[int, tuple[bool, bool, float, str]] = {}
    for r in audit.groups.relations:
        measure = f"similarity {r.score:.2f}" if r.kind == "same cell" else f"{r.score:.0%} shared"
        for one, other in ((r.first, r.second), (r.second, r.first)):
            to = Path(audit.manifest.records[other].path).name
            text = f"{audit.name_of(r)}\n{measure}, {to}"
            rank = (other < one, r.kind == "same cell", r.score, text)
            best[one] = max(best.get(one, rank), rank)
    return {index: text for index, (_, _, _, text) in best.items()}


def _draw_image(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    audit: Audit,
    index: int,
    at: tuple[int, int],
    pictures: Pictures,
    relation: str,
) -> None:
    thumb = Image.fromarray(np.ascontiguousarray(pictures[index]))
    thumb.thumbnail((THUMB, THUMB), Image.Resampling.LANCZOS)
    sheet.paste(thumb, at)
    record = audit.manifest.records[index]
    name = f"{record.path} {LABEL_NAMES[record.label]}"
    lines = [shortened(name, THUMB + 4)]
    lines += [shortened(line, THUMB + 4) for line in relation.split("\n") if line]
    for number, line in enumerate(lines):
        place = (at[0], at[1] + THUMB + 3 + 15 * number)
        draw.text(place, line, INK if number == 0 else GREY, font(12))
