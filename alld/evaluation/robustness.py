"""Predict images changed as by another microscope, stain or file format.

Every change is applied to the decoded image, before the model's own padding, resizing and
normalising. Nothing is random.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from alld.data.manifest import Progress
from alld.inference.predictor import Predictor
from alld.stats.confusion import confusion
from alld.stats.metrics import Metric, proportions

Pixels = NDArray[np.uint8]  # RGB (H, W, 3)
REFERENCE_SIDE = 257  # px; a blur of 2 px means 2 px at this side, and in proportion at others


@dataclass(frozen=True)
class Changed:
    """The metrics on changed images; `flipped` counts verdicts that differ from the originals'."""

    change: str
    level: str
    flipped: int
    accuracy: Metric
    sensitivity: Metric
    specificity: Metric


def unchanged(pixels: Pixels) -> Pixels:
    """Return the image itself, for comparison."""
    return pixels


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Return the image out of focus: a Gaussian blur of `sigma` px at 257 px a side."""
    radius = sigma * max(pixels.shape[:2]) / REFERENCE_SIDE
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def brightness(pixels: Pixels, factor: float) -> Pixels:
    """Return the image brighter or darker: every sample times `factor`, clipped at 255."""
    return np.array(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(factor))


def hue(pixels: Pixels, degrees: float) -> Pixels:
    """Return the image with another stain: the hue turned by `degrees`, all else kept."""
    hues, saturation, value = Image.fromarray(pixels).convert("HSV").split()
    turn = round(degrees * 256 / 360)  # Pillow has 256 hues
    turned = hues.point([(hue + turn) % 256 for hue in range(256)])
    return np.array(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return the image after saving it as JPEG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(file).convert("RGB"))


def scale(pixels: Pixels, factor: float) -> Pixels:
    """Return the image at another magnification and its old size: cropped, or reflected."""
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


def measure_robustness(
    predictor: Predictor,
    pictures: Sequence[Pixels],
    y_true: Sequence[int],
    progress: Progress | None = None,
) -> tuple[Changed, ...]:
    """Predict every image under every change; the first entry is without any.

    Args:
        pictures: n decoded images, RGB (H, W, 3).
        y_true: (n,) 0 healthy or 1 blast.
        progress: called with the changes done, of all changes.
    """
    found: list[Changed] = []
    original: NDArray[np.bool_] | None = None
    for name, level, change in CHANGES:
        probabilities = predictor.predict_pictures(change(picture) for picture in pictures)  # (n,)
        blasts = probabilities >= predictor.info.threshold
        original = blasts if original is None else original
        flipped = int(np.sum(blasts != original))
        rates = proportions(confusion(y_true, blasts.astype(int)))
        found.append(Changed(name, level, flipped, **rates))
        if progress:
            progress(len(found), len(CHANGES))
    return tuple(found)
