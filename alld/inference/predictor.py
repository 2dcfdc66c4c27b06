"""Load a model once, predict many images: the one path of evaluate, predict and serve."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alld.data.decode import decode, read_image_bytes
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.data.preprocess import preprocess
from alld.errors import BundleError, ImageError
from alld.files import sha256_hex
from alld.model.bundle import Bundle, BundleInfo, read_bundle
from alld.model.device import resolve_device, set_threads

BATCH_SIZE = 32
COLUMNS = ("path", "sha256", "verdict", "probability", "threshold", "model", "reason", "error")


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image file.

    `probability` is P(blast) after temperature, 0 to 1; `verdict` is blast when it is at or above
    `threshold`. Either `error` says why there is none, or both are set. `model` is the identity of
    the bundle. `notes` are what decoding converted or found odd.
    """

    path: str
    sha256: str | None
    verdict: str | None
    probability: float | None
    threshold: float
    model: str
    reason: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    def as_row(self) -> dict[str, str | float | None]:
        """The columns that every table of predictions has, in their order."""
        return {column: getattr(self, column) for column in COLUMNS}


@dataclass(frozen=True)
class _Ready:
    """A file on its way: its picture as the network takes it, or the reason why there is none."""

    path: str
    sha256: str | None = None
    pixels: NDArray[np.float32] | None = None  # (3, S, S)
    error: str | None = None
    notes: tuple[str, ...] = ()


class Predictor:
    """A loaded model: it holds the network in memory; `predict` may be called again and again."""

    def __init__(self, bundle: Bundle, device: str = "auto", threads: int | None = None) -> None:
        self.device = resolve_device(device)
        if self.device.type == "cpu":
            set_threads(threads)
        self.info: BundleInfo = bundle.info
        self.identity = bundle.identity
        self.path = bundle.path
        self._model = bundle.model.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> "Predictor":
        """Load a run folder or a bundle folder.

        Raises:
            BundleError: no finished model there, or one that fails its hashes.
        """
        return cls(read_bundle(find_bundle(Path(path))), device)

    def predict(self, paths: Iterable[str | Path]) -> list[Prediction]:
        """One prediction for each path, in the order given; a bad file is a row with its error."""
        return list(self.iterate(paths))

    def iterate(self, paths: Iterable[str | Path]) -> Iterator[Prediction]:
        """Like `predict`, a batch at a time, for any number of paths."""
        waiting = iter(paths)
        while batch := list(islice(waiting, BATCH_SIZE)):
            yield from self._predict_batch([self._prepare(Path(path)) for path in batch])

    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B, 3, S, S) normalised images to (B,) P(blast), each 0 to 1."""
        batch = torch.from_numpy(images).to(self.device).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            logits = self._model(batch).double().cpu().numpy()  # (B, 2)
        return blast_probability(logits, self.info.temperature)

    def verdict(self, probability: float) -> str:
        """`blast` at or above the model's threshold, else `healthy`."""
        return LABEL_NAMES[BLAST if probability >= self.info.threshold else HEALTHY]

    def _prepare(self, path: Path) -> _Ready:
        try:
            data = read_image_bytes(path)
        except ImageError as error:
            return _Ready(str(path), error=str(error))
        sha256 = sha256_hex(data)
        try:
            decoded = decode(data, str(path))
        except ImageError as error:
            return _Ready(str(path), sha256, error=str(error))
        info = self.info
        pixels = preprocess(decoded.pixels, info.image_size, info.mean, info.std)
        return _Ready(str(path), sha256, pixels, notes=decoded.conversions + decoded.warnings)

    def _predict_batch(self, batch: Sequence[_Ready]) -> Iterator[Prediction]:
        pictures = [ready.pixels for ready in batch if ready.pixels is not None]
        found = iter(self.probabilities(np.stack(pictures)) if pictures else ())
        for ready in batch:
            probability = float(next(found)) if ready.pixels is not None else None
            yield Prediction(
                path=ready.path,
                sha256=ready.sha256,
                verdict=None if probability is None else self.verdict(probability),
                probability=probability,
                threshold=self.info.threshold,
                model=self.identity,
                error=ready.error,
                notes=ready.notes,
            )


def blast_probability(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """(B, 2) logits to (B,) P(blast): softmax(logits / temperature) (Guo et al. 2017, eq. 9)."""
    margin = (logits[:, BLAST] - logits[:, HEALTHY]) / temperature
    # Both branches of the logistic function are written so that exp never overflows.
    small = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1 / (1 + small), small / (1 + small))


def find_bundle(path: Path) -> Path:
    """The bundle in a run folder, or the bundle itself.

    Raises:
        BundleError: neither; a run that has not finished has no bundle yet.
    """
    if (path / "model.alld").is_dir():
        return path / "model.alld"
    if (path / "run.json").is_file():
        raise BundleError(f"{path}: no model yet; finish it with `alld train --resume {path}`")
    return path
