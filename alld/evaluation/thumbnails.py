"""The misclassified images as small pictures that travel inside a page."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from alld.data.decode import decode, read_image_bytes
from alld.data.manifest import LABEL_NAMES
from alld.errors import ImageError
from alld.evaluation.result import wrong_rows
from alld.files import one_line, sha256_hex
from alld.inference.predictor import Prediction

SIDE = 144  # px, the longer side of a thumbnail


@dataclass(frozen=True)
class Mistake:
    """A test image whose verdict is not its label; `number` is its row in predictions.csv.

    `picture` is a `data:` address, or None where the file can no longer be read as it was: then
    `error` says why.
    """

    number: int
    name: str
    label: str
    verdict: str
    picture: str | None
    error: str | None = None


def mistakes(
    predictions: Sequence[Prediction], labels: Sequence[int], most: int
) -> tuple[Mistake, ...]:
    """The wrong verdicts with their pictures, the surest first, at most `most` of them."""
    names = _short_names(predictions)
    return tuple(
        _mistake(number, predictions[number], LABEL_NAMES[labels[number]], names[number])
        for number in wrong_rows(predictions, labels)[:most]
    )


def thumbnail(file: Path, sha256: str | None) -> str:
    """A picture as a PNG in a `data:` address, at most 144 px a side.

    Raises:
        ImageError: it cannot be read, or is not the file of that hash any more.
    """
    data = read_image_bytes(file)
    if sha256 is not None and sha256_hex(data) != sha256:
        raise ImageError(f"{file}: changed since it was judged")
    picture = Image.fromarray(decode(data, str(file)).pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    png = BytesIO()
    picture.save(png, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _mistake(number: int, prediction: Prediction, label: str, name: str) -> Mistake:
    picture, error = None, None
    try:
        picture = thumbnail(Path(prediction.path), prediction.sha256)
    except ImageError as failure:
        error = one_line(str(failure).removeprefix(f"{prediction.path}: "))
    return Mistake(number, one_line(name), label, str(prediction.verdict), picture, error)


def _short_names(predictions: Iterable[Prediction]) -> list[str]:
    """The file's name, with its folder where that name stands for several: no one's whole path."""
    paths = [Path(prediction.path) for prediction in predictions]
    often = Counter(path.name for path in set(paths))  # repeated folds judge one image twice
    return [path.name if often[path.name] == 1 else "/".join(path.parts[-2:]) for path in paths]
