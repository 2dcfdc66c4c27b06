"""Load a model once, predict many images: the one path of evaluate, predict and serve."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alld.cells.facts import picture_facts
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ImageError
from alld.images.decode import Decoded, decode, read_image_bytes
from alld.inference.load import load_model
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, Prediction, called
from alld.model.abstain import refusal
from alld.model.bundle_info import BundleInfo
from alld.model.network import Features, Model, blast_probability
from alld.runtime.files import plain_path, sha256_hex
from alld.runtime.threads import map_ahead

# Images a batch. On a CPU each thread has its own; larger ones cost memory and are no faster.
CPU_BATCH, GPU_BATCH = 16, 128


@dataclass(frozen=True)
class _Picture:
    """A decoded file on its way into the network."""

    path: str
    sha256: str
    square: NDArray[np.uint8]  # (S, S, 3)
    side: int  # the longer one of the picture, px
    facts: NDArray[np.float64]  # of the picture; empty where the model has no limits
    notes: tuple[str, ...]


class Predictor:
    """A loaded model: it holds the network in memory; `predict` may be called again and again.

    Many images go in batches of a fixed size, so that a row does not depend on the number of
    threads. On a CPU each thread decodes a batch and runs it through the network alone: threads
    that share one batch would wait for each other at every layer.
    """

    def __init__(self, model: Model, tta: bool | None = None) -> None:
        self.info: BundleInfo = model.info
        self.identity = model.identity
        self.exported_from = model.exported_from
        self.path = model.path
        self.device = model.network.device
        self.threads = model.network.threads
        self.tta = model.info.tta if tta is None else tta
        self._limits = model.limits
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
    ) -> "Predictor":
        """Load a run folder, a bundle folder or an exported `.onnx`.

        Args:
            tta: judge each image in its eight orientations, or in one; by default as the model was
                calibrated.
            required: the identity that the model must have, 64 hexadecimal digits.
            threads: to compute with on a CPU; by default one for each core.

        Raises:
            BundleError: no finished model there, another one, or one that fails its hashes.
            ConfigError: a device that is not there, or a library that is not installed.
        """
        return cls(load_model(Path(path), device, threads, required), tta)

    @property
    def batch(self) -> int:
        """Images that go through the network together."""
        return CPU_BATCH if self.device == "cpu" else GPU_BATCH

    def predict(self, paths: Iterable[str | Path]) -> list[Prediction]:
        """One prediction for each path, in the order given; a bad file is a row with its error."""
        return list(self.iterate(paths))

    def iterate(self, paths: Iterable[str | Path]) -> Iterator[Prediction]:
        """Like `predict`, in bounded memory for any number of paths, rows as they are ready."""
        batches = _batches(paths, self.batch)
        first = list(islice(batches, 2))
        if len(first) < 2:  # nothing to do side by side: all threads to the one batch
            for batch in first:
                yield from self._predict_batch(batch)
            return
        for rows in self._side_by_side(chain(first, batches)):
            yield from rows

    def predict_decoded(self, name: str, sha256: str, decoded: Decoded) -> Prediction:
        """The prediction for one picture that another process has read and decoded."""
        return self._run([self._picture(name, sha256, decoded)])[0]

    def judge(self, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Decoded pictures, RGB uint8 (H, W, 3) of any shapes, to (n,) P(blast).

        What `iterate` does behind the decoder: the same square, the same normalising.
        """
        squares = (self.square(pixels) for pixels in pictures)
        found: list[NDArray[np.float64]] = [np.zeros(0)]
        while batch := list(islice(squares, self.batch)):
            found.append(self._look(batch)[1])
        return np.concatenate(found)

    def features(self, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Decoded pictures, as for `judge`, to (n, F): what the body sees, pooled.

        The head keeps little but the verdict of it; here other stains and microscopes still show.
        """
        squares = (self.square(pixels) for pixels in pictures)
        found: list[NDArray[np.float32]] = []
        while batch := list(islice(squares, self.batch)):
            found.append(self._look(batch)[0])
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    def evidence(self, squares: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Squares, RGB uint8 (S, S, 3), to (B, h, w): see `alld.model.explain.evidence`."""
        images = normalise(np.stack(squares), self.info.mean, self.info.std)
        return self._network.evidence(images, tta=self.tta)

    def _side_by_side(self, batches: Iterable[list[Path]]) -> Iterator[list[Prediction]]:
        ahead = self.threads + 2
        with self._network.workers() as pool:
            if self.device == "cpu":
                yield from map_ahead(pool, self._predict_batch, batches, ahead)
            else:
                yield from map(self._run, map_ahead(pool, self._prepare, batches, 2 * ahead))

    def _predict_batch(self, batch: Sequence[Path]) -> list[Prediction]:
        return self._run(self._prepare(batch))

    def _prepare(self, batch: Sequence[Path]) -> list[_Picture | Prediction]:
        return [self._read(path) for path in batch]

    def _read(self, path: Path) -> _Picture | Prediction:
        """The picture in a file, or the row that says why there is none."""
        name = plain_path(str(path))
        failed = Prediction(name, None, None, None, self.info.threshold, self.identity)
        try:
            data = read_image_bytes(path)
        except ImageError as error:
            return replace(failed, error=str(error))
        sha256 = sha256_hex(data)
        try:
            return self._picture(name, sha256, decode(data, name))
        except ImageError as error:
            return replace(failed, sha256=sha256, error=str(error))

    def _picture(self, name: str, sha256: str, decoded: Decoded) -> _Picture:
        square = self.square(decoded.pixels)
        side = max(decoded.pixels.shape[:2])
        facts = np.zeros(0) if self._limits is None else picture_facts(square, side)
        return _Picture(name, sha256, square, side, facts, decoded.conversions + decoded.warnings)

    def square(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3) to (S, S, 3): what the network sees of a picture."""
        return to_square(pixels, self.info.image_size, self.info.unsharp)

    def _run(self, batch: Sequence[_Picture | Prediction]) -> list[Prediction]:
        judged = iter(self._judge_all([one for one in batch if isinstance(one, _Picture)]))
        return [one if isinstance(one, Prediction) else next(judged) for one in batch]

    def _judge_all(self, pictures: Sequence[_Picture]) -> list[Prediction]:
        if not pictures:
            return []
        features, probabilities = self._look([picture.square for picture in pictures])
        scores = np.full(len(pictures), -np.inf)
        if self._limits is not None:
            scores = self._limits.scores(features, np.stack([one.facts for one in pictures]))
        return list(map(self._row, pictures, probabilities.tolist(), scores.tolist()))

    def _row(self, picture: _Picture, probability: float, score: float) -> Prediction:
        verdict, reason = self._verdict(picture, probability, score)
        return Prediction(
            path=picture.path,
            sha256=picture.sha256,
            verdict=verdict,
            probability=probability,
            threshold=self.info.threshold,
            model=self.identity,
            reason=reason,
            notes=picture.notes,
        )

    def _verdict(
        self, picture: _Picture, probability: float, score: float
    ) -> tuple[str, str | None]:
        """One of VERDICTS, and the reason for the last two."""
        limits, band = self._limits, self.info.uncertain
        if limits is not None and score > limits.limit:
            return OUT_OF_DOMAIN, refusal(limits, picture.facts, picture.side)
        if band is not None and band.low < probability < band.high:
            return UNCERTAIN, f"P(blast) between {band.low:.2g} and {band.high:.2g}, {band.how}"
        return called(probability, self.info.threshold), None

    def _look(self, squares: Sequence[NDArray[np.uint8]]) -> tuple[Features, NDArray[np.float64]]:
        """Squares (S, S, 3) to pooled features (B, F) and P(blast) (B,)."""
        images = normalise(np.stack(squares), self.info.mean, self.info.std)  # (B, 3, S, S)
        features, logits = self._network.look(images, tta=self.tta)
        if not (np.isfinite(features).all() and np.isfinite(logits).all()):
            raise BundleError(f"{self.path}: says no number of a picture; train the model anew")
        return features, blast_probability(logits, self.info.temperature)


def _batches(paths: Iterable[str | Path], size: int) -> Iterator[list[Path]]:
    waiting = map(Path, paths)
    while batch := list(islice(waiting, size)):
        yield batch
