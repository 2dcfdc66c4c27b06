"""How the verdicts hold when the pictures change as another microscope or file format would.

Every change is applied to the decoded picture, so that the model's own padding, resizing and
normalising follow it. Nothing is random.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from alld.data.manifest import Progress
from alld.inference.predictor import Predictor
from alld.stats.metrics import Confusion, Metric, accuracy, confusion, sensitivity, specificity

Pixels = NDArray[np.uint8]  # RGB (H, W, 3)
REFERENCE_SIDE = 257  # px; a blur of 2 px means 2 of so many, whatever the side


@dataclass(frozen=True)
class Shaken:
    """The verdicts on changed pictures; `flipped` of them differ from those on the originals."""

    change: str
    level: str
    accuracy: Metric
    sensitivity: Metric
    specificity: Metric
    flipped: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        metrics = ("accuracy", "sensitivity", "specificity")
        plain = {"change": self.change, "level": self.level, "flipped": self.flipped}
        return {**plain, **{name: getattr(self, name).as_dict() for name in metrics}}


def unchanged(pixels: Pixels) -> Pixels:
    """The picture itself: what the others are compared with."""
    return pixels


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Out of focus: a Gaussian of `sigma` px at 257 px a side."""
    radius = sigma * max(pixels.shape[:2]) / REFERENCE_SIDE
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """Another lamp: every sample times `factor`, clipped at 255."""
    return np.array(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(factor))


def hue(pixels: Pixels, degrees: float) -> Pixels:
    """Another stain: the hue turned by `degrees`, saturation and value kept."""
    hues, saturation, value = Image.fromarray(pixels).convert("HSV").split()
    turn = round(degrees * 256 / 360)  # Pillow has 256 hues
    turned = hues.point([(hue + turn) % 256 for hue in range(256)])
    return np.array(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Saved as JPEG and read again."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file).convert("RGB"))


def scale(pixels: Pixels, factor: float) -> Pixels:
    """Another magnification, the picture's size kept: cut at the border, or reflected there."""
    sides = pixels.shape[:2]
    height, width = (max(1, round(side * factor)) for side in sides)
    resized = np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    missing = [max(0, side - new) for side, new in zip(sides, resized.shape[:2], strict=True)]
    pads = [(count // 2, count - count // 2) for count in missing]
    padded = np.pad(resized, (*pads, (0, 0)), mode="reflect")
    top, left = ((new - side) // 2 for side, new in zip(sides, padded.shape[:2], strict=True))
    return np.ascontiguousarray(padded[top : top + sides[0], left : left + sides[1]])


CHANGES: tuple[tuple[str, str, Callable[[Pixels], Pixels]], ...] = (
    ("none", "", unchanged),
    *(("blur", f"{sigma} px", partial(blur, sigma=sigma)) for sigma in (1, 2, 3)),
    *(("brightness", f"{f} times", partial(brightness, factor=f)) for f in (0.7, 0.85, 1.15, 1.3)),
    *(("hue", f"{d:+d}°", partial(hue, degrees=d)) for d in (-20, -10, 10, 20)),
    *(("JPEG", f"quality {q}", partial(jpeg, quality=q)) for q in (90, 50, 20)),
    *(("scale", f"{f} times", partial(scale, factor=f)) for f in (0.8, 0.9, 1.1, 1.25)),
)


def robustness(
    predictor: Predictor,
    pictures: Sequence[Pixels],
    y_true: Sequence[int],
    progress: Progress | None = None,
) -> list[Shaken]:
    """Judge every picture under every change; the first entry is without any.

    Args:
        pictures: n decoded images, RGB (H, W, 3).
        y_true: (n,) 0 healthy or 1 blast.
        progress: told how many of all changes are done.
    """
    found: list[Shaken] = []
    original: NDArray[np.bool_] | None = None
    for name, level, change in CHANGES:
        probabilities = predictor.predict_pictures(change(picture) for picture in pictures)  # (n,)
        blasts = probabilities >= predictor.info.threshold
        original = blasts if original is None else original
        flipped = int(np.sum(blasts != original))
        found.append(_shaken(name, level, confusion(y_true, blasts.astype(int)), flipped))
        if progress:
            progress(len(found), len(CHANGES))
    return found


def _shaken(change: str, level: str, counts: Confusion, flipped: int) -> Shaken:
    rates = accuracy(counts), sensitivity(counts), specificity(counts)
    return Shaken(change, level, *rates, flipped=flipped)
