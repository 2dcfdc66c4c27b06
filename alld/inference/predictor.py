"""Load a model once and predict many images: the one path of evaluate, predict and serve."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alld.cells.facts import picture_facts
from alld.cells.view import seen
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ImageError
from alld.images.decode import Decoded, decode, read_image_bytes
from alld.images.rgb import pixels_hash
from alld.inference.given import Given, Images, listed, read_given
from alld.inference.load import load_model
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, Prediction, called, shown
from alld.model.network import Features, Model, blast_probability
from alld.runtime.files import plain_path, sha256_hex
from alld.runtime.threads import map_ahead

# Images a batch. On a CPU each thread has its own; larger ones cost memory and are no faster.
CPU_BATCH, GPU_BATCH = 16, 128

Item = TypeVar("Item")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class _Picture:
    """A decoded file on its way into the network."""

    path: str
    sha256: str | None
    pixels_sha256: str
    seen: Pixels  # (S, S, 3), what the network sees
    side: int  # the longer one of the picture, px
    facts: NDArray[np.float64]  # empty where the model has no limits
    notes: tuple[str, ...]


class Predictor:
    """A model in memory, for any number of predictions.

    Many images go in batches of a fixed size, so that a row does not depend on the number of
    threads. On a CPU each thread decodes a batch and runs it through the network alone: threads
    that share one batch would wait for each other at every layer.
    """

    def __init__(self, model: Model, tta: bool | None = None, *, abstain: bool = True) -> None:
        self.info = model.info
        self.identity = model.identity
        self.exported_from = model.exported_from
        self.path = model.path
        self.members = len(model.temperatures)
        self.device = model.network.device
        self.threads = model.network.threads
        self.batch = CPU_BATCH if self.device == "cpu" else GPU_BATCH
        self.tta = model.info.tta if tta is None else tta
        self.abstain = abstain
        self._limits = model.limits if abstain else None
        self._band = model.info.uncertain if abstain else None
        self._temperatures = model.temperatures
        self._network = model.network

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        *,
        tta: bool | None = None,
        required: str | None = None,
        threads: int | None = None,
        abstain: bool = True,
    ) -> "Predictor":
        """Load a run folder, a bundle folder, an exported file, or a cross-validation's mean.

        Args:
            tta: average over eight orientations; by default as the model was calibrated.
            required: the identity that the model must have, 64 hexadecimal digits.
            threads: used on a CPU; by default one for each core.
            abstain: whether an image may be uncertain or out of domain.

        Raises:
            BundleError: no finished model there, another one, or one that fails its hashes.
            ConfigError: a device that is not there, or a library that is not installed.
        """
        return cls(load_model(Path(path), device, threads, required), tta, abstain=abstain)

    def predict(self, images: Images) -> list[Prediction]:
        """Return a prediction for each image, in order; a bad one is a row with its error.

        Args:
            images: a path, folder or glob, bytes, an open file, a PIL image, a uint8 array
                (H, W, 3) of RGB, or several of these.
        """
        return list(self.iterate(listed(images)))

    def iterate(self, images: Iterable[Path | Given]) -> Iterator[Prediction]:
        """Yield the rows of `predict` as they are ready, in bounded memory for any number."""
        batches = _batches(images, self.batch)
        first = list(islice(batches, 2))
        if len(first) < 2:  # nothing runs side by side, so the one batch has all threads
            for batch in first:
                yield from self._run(self._prepare(batch))
            return
        for rows in self._side_by_side(chain(first, batches)):
            yield from rows

    def predict_decoded(self, name: str, sha256: str, decoded: Decoded) -> Prediction:
        """Return the prediction for one picture that another process has read and decoded."""
        return self._run([self._picture(name, sha256, decoded)])[0]

    def predict_pictures(self, pictures: Iterable[Pixels]) -> NDArray[np.float64]:
        """Return P(blast), (n,), of decoded pictures, RGB uint8 (H, W, 3) of any shapes."""
        batches = _batches(map(self._seen, map(self.square, pictures)), self.batch)
        return np.concatenate([np.zeros(0), *(self._look(batch)[1] for batch in batches)])

    def features(self, pictures: Iterable[Pixels]) -> Features:
        """Return the pooled features, (n, F), of decoded pictures as of `predict_pictures`.

        The head keeps little of them but the verdict; stains and microscopes still show here.
        """
        batches = _batches(map(self._seen, map(self.square, pictures)), self.batch)
        found = [self._look(batch)[0] for batch in batches]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def evidence(self, squares: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return (B, h, w) for squares (S, S, 3); see `alld.model.explain.evidence`."""
        return self._network.evidence(self._images(map(self._seen, squares)), tta=self.tta)

    def square(self, pixels: Pixels) -> Pixels:
        """Return a picture padded and resized for the network: RGB (H, W, 3) to (S, S, 3)."""
        return to_square(pixels, self.info.image_size, self.info.unsharp)

    def _seen(self, square: Pixels) -> Pixels:
        return seen(square, self.info.view)

    def _side_by_side(self, batches: Iterable[list[Path | Given]]) -> Iterator[list[Prediction]]:
        ahead = self.threads + 2
        with self._network.workers() as pool:
            if self.device == "cpu":
                yield from map_ahead(pool, lambda b: self._run(self._prepare(b)), batches, ahead)
            else:
                yield from map(self._run, map_ahead(pool, self._prepare, batches, 2 * ahead))

    def _prepare(self, batch: Sequence[Path | Given]) -> list[_Picture | Prediction]:
        return [self._read(image) for image in batch]

    def _read(self, image: Path | Given) -> _Picture | Prediction:
        """Return the picture in a file or in memory, or the row that says why there is none."""
        name = image.name if isinstance(image, Given) else plain_path(str(image))
        sha256, model = None, (self.info.threshold, self.identity)
        try:
            if isinstance(image, Given):
                return self._picture(name, *read_given(image))
            data = read_image_bytes(image)
            sha256 = sha256_hex(data)
            return self._picture(name, sha256, decode(data, name))
        except ImageError as error:
            return Prediction(name, sha256, None, None, *model, error=str(error))

    def _picture(self, name: str, sha256: str | None, decoded: Decoded) -> _Picture:
        square = self.square(decoded.pixels)
        side = max(decoded.pixels.shape[:2])
        facts = np.zeros(0) if self._limits is None else picture_facts(square, side, self.info.view)
        notes = decoded.conversions + decoded.warnings
        return _Picture(
            name, sha256, pixels_hash(decoded.pixels), self._seen(square), side, facts, notes
        )

    def _run(self, batch: Sequence[_Picture | Prediction]) -> list[Prediction]:
        """Put predictions in the places of pictures."""
        pictures = [one for one in batch if isinstance(one, _Picture)]
        if not pictures:
            return [one for one in batch if isinstance(one, Prediction)]
        features, probabilities = self._look([picture.seen for picture in pictures])
        scores = np.full(len(pictures), -np.inf)
        if self._limits is not None:
            scores = self._limits.scores(features, np.stack([one.facts for one in pictures]))
        found = map(self._row, pictures, probabilities.tolist(), scores.tolist())
        return [one if isinstance(one, Prediction) else next(found) for one in batch]

    def _row(self, picture: _Picture, probability: float, score: float) -> Prediction:
        threshold, limits, band = self.info.threshold, self._limits, self._band
        verdict, reason = called(probability, threshold), None
        if limits is not None and score > limits.limit:
            verdict, reason = OUT_OF_DOMAIN, limits.refusal(picture.facts, picture.side)
        elif band is not None and band.low < probability < band.high:
            reason = f"leans {verdict}; P(blast) between {shown(band.low)} and {shown(band.high)}"
            verdict, reason = UNCERTAIN, f"{reason}: {band.how}"
        name = (picture.path, picture.sha256, verdict, probability, threshold, self.identity)
        pixels = picture.pixels_sha256
        return Prediction(*name, reason=reason, notes=picture.notes, pixels_sha256=pixels)

    def _images(self, views: Iterable[Pixels]) -> NDArray[np.float32]:
        return normalise(np.stack(list(views)), self.info.mean, self.info.std)  # (B, 3, S, S)

    def _look(self, views: Sequence[Pixels]) -> tuple[Features, NDArray[np.float64]]:
        """Return pooled features (B, F) and P(blast) (B,) of what the network sees (S, S, 3)."""
        features, logits = self._network.look(self._images(views), tta=self.tta)
        if not (np.isfinite(features).all() and np.isfinite(logits).all()):
            raise BundleError(f"{self.path}: gives NaN or infinity for a picture; train it anew")
        return features, blast_probability(logits, self._temperatures)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch
