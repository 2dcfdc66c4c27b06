"""Draw heat maps into a folder: a picture for each image, and overviews of many."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from alld import NOTICE
from alld.data.preprocess import to_square
from alld.errors import ConfigError, ImageError
from alld.images.decode import decode, is_synthetic, read_unchanged
from alld.images.lettering import GREY, INK, MARK, PAPER, RULE, font, shortened, wrapped
from alld.inference.heat_map import Heat, coloured, greatest, overlaid
from alld.inference.prediction import Prediction, shown
from alld.inference.predictor import Predictor
from alld.runtime.files import check_writable, plain_path, replacing, well_formed

PANEL = 336  # px, the side of the picture and of its map
MARGIN, HEAD, FOOT = 16, 70, 64
SCALE = (18, 96)  # px, the width of the colour scale, and of the words beside it
THUMB = 150  # px
COLUMNS, ROWS = 3, 7  # of an overview
MAX_OVERVIEWS = 50  # 1,050 images; nobody looks at more than that
LONGEST_NAME = 48  # letters of a file's name that its picture keeps, of up to 4 bytes each

Pixels = NDArray[np.uint8]


def draw_all(
    predictions: Iterable[Prediction], folder: Path, predictor: Predictor
) -> Iterator[Prediction]:
    """Draw the heat map of each prediction on its way, and overviews at the end.

    Raises:
        ConfigError: this model has no heat maps.
    """
    pictures = HeatPictures(folder, predictor)
    for prediction in predictions:
        yield prediction if prediction.error else pictures.draw(prediction)
    pictures.finish()


class HeatPictures:
    """Draws heat maps into one folder, and overviews of more than one.

    A picture is named by its image, with the first digits of the image's hash: images of the same
    name have different pictures, and the same image always has the same one.
    """

    def __init__(self, folder: Path, predictor: Predictor) -> None:
        self.folder = folder
        self._predictor = predictor
        self._taken: set[str] = set()
        self._tiles: list[tuple[Prediction, Image.Image]] = []
        self._overviews = 0
        self._synthetic = predictor.info.data.synthetic

    def draw(self, prediction: Prediction) -> Prediction:
        """Draw the heat map of one image, and return the prediction with the name of the picture.

        For a file that is gone or has changed, a note says why there is no picture.
        """
        file = Path(prediction.path)
        try:
            data = read_unchanged(file, prediction.sha256)
        except ImageError as error:
            return replace(prediction, notes=(*prediction.notes, f"no heat map: {error}"))
        pixels = decode(data, str(file), prediction.sha256).pixels
        synthetic = self._predictor.info.data.synthetic or is_synthetic(data)
        square = self._predictor.square(pixels)
        evidence = self._predictor.evidence([square])[0]  # (h, w)
        place = self.folder / self._name(prediction)
        _save(place, _draw(prediction, self._predictor, pixels, evidence, synthetic))
        self._synthetic |= synthetic
        thumb = to_square(pixels, THUMB, "none")
        pair = np.concatenate([thumb, overlaid(thumb, evidence)], axis=1)
        self._tiles.append((prediction, Image.fromarray(pair)))
        if len(self._tiles) == COLUMNS * ROWS:
            self._write_overview()
        return replace(prediction, heat_map=well_formed(plain_path(str(place))))

    def finish(self) -> None:
        """Write the last overview, unless one image was all."""
        if self._overviews or len(self._tiles) > 1:
            self._write_overview()

    def _name(self, prediction: Prediction) -> str:
        stem = f"{safe_name(Path(prediction.path).stem)}-{str(prediction.sha256)[:12]}"
        name, number = f"{stem}.png", 2
        while name.lower() in self._taken:  # copies of a file that bear its name
            name, number = f"{stem}-{number}.png", number + 1
        self._taken.add(name.lower())
        return name

    def _write_overview(self) -> None:
        if self._tiles and self._overviews < MAX_OVERVIEWS:
            self._overviews += 1
            number = "" if self._overviews == 1 else f"-{self._overviews}"
            sheet = _draw_overview(self._tiles, self._predictor, self._synthetic)
            _save(self.folder / f"overview{number}.png", sheet)
        self._tiles.clear()


def check_place(folder: Path, arguments: Iterable[str], files: Iterable[Path]) -> None:
    """Raise ConfigError for a file, and for a folder whose pictures would be predicted next time.

    Args:
        arguments: what the user named, of which folders are read recursively.
        files: the images in it.
    """
    place = Path(os.path.abspath(folder))
    if os.path.lexists(place) and not place.is_dir():
        raise ConfigError(f"--explain {folder}: is a file; name a folder")
    check_writable(folder)
    named = {Path(os.path.abspath(name)) for name in arguments if os.path.isdir(name)}
    holding = {Path(os.path.abspath(file)).parent for file in files}
    if place in holding or any(place.is_relative_to(name) for name in named):
        raise ConfigError(
            f"--explain {folder}: lies among the images, and the next prediction would take heat "
            "maps for cells; name a folder outside"
        )


def safe_name(name: str) -> str:
    """Keep letters and digits of any script, points and dashes; anything else becomes one `_`."""
    return re.sub(r"[^\w.-]+", "_", name)[:LONGEST_NAME].strip("._-") or "image"


def _save(place: Path, picture: Image.Image) -> None:
    with replacing(place) as beside:
        picture.save(beside, format="PNG", optimize=True)


def _draw(
    prediction: Prediction, predictor: Predictor, pixels: Pixels, evidence: Heat, synthetic: bool
) -> Image.Image:
    """Draw picture, map and colour scale side by side, with the prediction and the model."""
    left, right, scale = MARGIN, 2 * MARGIN + PANEL, 3 * MARGIN + 2 * PANEL
    width = scale + sum(SCALE) + MARGIN
    reason = wrapped(prediction.reason or "", width - 2 * MARGIN, 14)
    top = HEAD + 20 * len(reason)
    sheet = Image.new("RGB", (width, top + PANEL + FOOT), PAPER)
    draw = ImageDraw.Draw(sheet)
    panel = to_square(pixels, PANEL, "none")
    for place, picture in ((left, panel), (right, overlaid(panel, evidence))):
        sheet.paste(Image.fromarray(picture), (place, top))
        _frame(draw, (place, top), pixels.shape[:2])
    _draw_scale(sheet, draw, (scale, top), greatest(evidence))
    found = f"{prediction.verdict}   P(blast) {shown(prediction.probability or 0)}"
    title = f"{'SYNTHETIC   ' if synthetic else ''}{found}, threshold {shown(prediction.threshold)}"
    draw.text((left, 12), title, MARK if synthetic else INK, font(22))
    _draw_lines(draw, (left, 42), reason, INK)
    # A picture may be passed on, so it does not show the whole path.
    file = shortened("/".join(Path(prediction.path).parts[-2:]), width - 2 * MARGIN, 14)
    _draw_lines(draw, (left, top - 26), [file])
    ways = "mean of eight orientations" if predictor.tta else "upright"
    height, across = evidence.shape
    about = (
        f"{predictor.info.arch}, model {predictor.identity[:12]}. Grad-CAM at the last features, "
        f"{height} x {across} cells of the map, {ways}: coarse, does not outline anything."
    )
    _draw_lines(draw, (left, top + PANEL + 12), [about, NOTICE])
    return sheet


def _draw_lines(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str], colour: str = GREY
) -> None:
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + 20 * number), line, colour, font(14))


def _frame(draw: ImageDraw.ImageDraw, at: tuple[int, int], shape: Sequence[int]) -> None:
    """Draw a thin line where a padded picture ends and its reflection begins."""
    height, width = (PANEL * side / max(shape) for side in shape)
    if height != width:
        top, left = at[1] + (PANEL - height) / 2, at[0] + (PANEL - width) / 2
        draw.rectangle((left, top, left + width - 1, top + height - 1), outline=PAPER)


def _draw_scale(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], limit: float
) -> None:
    x, y = at
    steps = np.linspace(limit, -limit, PANEL, dtype=np.float32)[:, None]
    bar = Image.fromarray(coloured(np.repeat(steps, SCALE[0], axis=1), limit))
    sheet.paste(Image.new("RGB", bar.size, "#8c8c8c"), at)
    sheet.paste(bar, at, bar)
    for text, where, colour, anchor in (
        (f"+{limit:.2g}", 0, INK, "la"),
        ("for blast", 0.1, GREY, "lm"),
        ("0", 0.5, INK, "lm"),
        ("(logits)", 0.56, GREY, "lm"),
        ("for healthy", 0.9, GREY, "lm"),
        (f"-{limit:.2g}", 1, INK, "ld"),
    ):
        place = (x + SCALE[0] + 6, y + where * PANEL)
        draw.text(place, text, colour, font(13), anchor=anchor)


def _draw_overview(
    tiles: Sequence[tuple[Prediction, Image.Image]], predictor: Predictor, synthetic: bool
) -> Image.Image:
    wide, high = 2 * THUMB + MARGIN, THUMB + 48
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * wide + MARGIN, HEAD + rows * high), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = f"{'SYNTHETIC   ' if synthetic else ''}Heat maps: orange for blast, blue for healthy"
    draw.text((MARGIN, 12), title, MARK if synthetic else INK, font(20))
    model = f"{predictor.info.arch}, model {predictor.identity[:12]}. Each map has a scale of its"
    draw.text((MARGIN, 42), f"{model} own. {NOTICE}", GREY, font(13))
    for number, (prediction, pair) in enumerate(tiles):
        x, y = MARGIN + number % COLUMNS * wide, HEAD + number // COLUMNS * high
        sheet.paste(pair, (x, y))
        draw.rectangle((x, y, x + pair.width - 1, y + pair.height - 1), outline=RULE)
        found = f"{prediction.verdict}, P(blast) {shown(prediction.probability or 0)}"
        draw.text((x, y + THUMB + 4), found, INK, font(13))
        name = shortened(Path(prediction.path).name, 2 * THUMB)
        draw.text((x, y + THUMB + 22), name, GREY, font(12))
    return sheet
