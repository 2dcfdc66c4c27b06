"""Load a model once, predict many images: the one path of evaluate, predict and serve."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from alld.data.decode import Decoded, decode, read_image_bytes
from alld.data.manifest import BLAST, HEALTHY, LABEL_NAMES
from alld.data.preprocess import normalise, to_square
from alld.errors import BundleError, ImageError
from alld.files import plain_path, sha256_hex, well_formed
from alld.model.bundle import Bundle, BundleInfo, read_bundle
from alld.model.device import keep_freed_memory, resolve_device, set_threads
from alld.model.folding import fold_batch_norm
from alld.model.orientations import mean_logits
from alld.threads import map_ahead, usable_cores

# Images a batch. On a CPU each thread has its own; larger ones cost memory and are no faster.
CPU_BATCH, GPU_BATCH = 16, 128
COLUMNS = ("path", "sha256", "verdict", "probability", "threshold", "model", "reason", "error")
EXPLAINED = (*COLUMNS, "heat_map")  # where pictures of the evidence were asked for


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image file.

    `probability` is P(blast) after temperature, 0 to 1; `verdict` is blast when it is at or above
    `threshold`. Either `error` says why there is none, or both are set. `model` is the identity of
    the bundle. `notes` are what decoding converted or found odd. `heat_map` is the file of the
    picture that shows where the evidence lies, if one was drawn.
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
    heat_map: str | None = None

    def as_row(self, columns: Sequence[str] = COLUMNS) -> dict[str, str | float | None]:
        """The columns that every table of predictions has, in their order, or those asked for.

        A name that is no UTF-8 has its odd bytes spelt out: not every reader of JSON takes them.
        """
        row = {column: getattr(self, column) for column in columns}
        return {**row, "path": well_formed(self.path)}


@dataclass(frozen=True)
class _Ready:
    """A file on its way: its picture as a square, or the reason why there is none."""

    path: str
    sha256: str | None = None
    square: NDArray[np.uint8] | None = None  # (S, S, 3)
    error: str | None = None
    notes: tuple[str, ...] = ()


class Predictor:
    """A loaded model: it holds the network in memory; `predict` may be called again and again.

    Many images go in batches of a fixed size, so that a row does not depend on the number of
    threads. On a CPU each thread decodes a batch and runs it through the network alone: threads
    that share one batch would wait for each other at every layer.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str = "auto",
        threads: int | None = None,
        tta: bool | None = None,
    ) -> None:
        self.device = resolve_device(device)
        keep_freed_memory()
        self.threads = set_threads(threads) if self.device.type == "cpu" else usable_cores()
        self.info: BundleInfo = bundle.info
        self.identity = bundle.identity
        self.path = bundle.path
        self.tta = bundle.info.tta if tta is None else tta
        model = fold_batch_norm(bundle.model, bundle.info.image_size)
        self._model = model.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        *,
        tta: bool | None = None,
        required: str | None = None,
    ) -> "Predictor":
        """Load a run folder or a bundle folder.

        Args:
            tta: judge each image in its eight orientations, or in one; by default as the model was
                calibrated.
            required: the identity that the model must have, 64 hexadecimal digits.

        Raises:
            BundleError: no finished model there, another one, or one that fails its hashes.
        """
        return cls(read_bundle(find_bundle(Path(path)), required), device, tta=tta)

    @property
    def batch(self) -> int:
        """Images that go through the network together."""
        return CPU_BATCH if self.device.type == "cpu" else GPU_BATCH

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
        return self._run([self._ready(name, sha256, decoded)])[0]

    def judge(self, pictures: Iterable[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Decoded pictures, RGB uint8 (H, W, 3) of any shapes, to (n,) P(blast).

        What `iterate` does behind the decoder: the same square, the same normalising.
        """
        squares = (to_square(pixels, self.info.image_size) for pixels in pictures)
        found: list[NDArray[np.float64]] = [np.zeros(0)]
        while batch := list(islice(squares, self.batch)):
            found.append(self._judge(batch))
        return np.concatenate(found)

    def evidence(self, squares: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Squares, RGB uint8 (S, S, 3), to (B, h, w): see `alld.model.explain.evidence`."""
        from alld.model.explain import evidence  # captum: plain predictions do without it

        images = torch.from_numpy(normalise(np.stack(squares), self.info.mean, self.info.std))
        batch = images.to(self.device).to(memory_format=torch.channels_last)
        return evidence(self._model, batch, tta=self.tta).float().cpu().numpy()

    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """(B, 3, S, S) normalised images to (B,) P(blast), each 0 to 1."""
        batch = torch.from_numpy(images).to(self.device).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            judged = mean_logits(self._model, batch) if self.tta else self._model(batch)
        return blast_probability(judged.double().cpu().numpy(), self.info.temperature)

    def verdict(self, probability: float) -> str:
        """`blast` at or above the model's threshold, else `healthy`."""
        return LABEL_NAMES[BLAST if probability >= self.info.threshold else HEALTHY]

    def _side_by_side(self, batches: Iterable[list[Path]]) -> Iterator[list[Prediction]]:
        ahead = self.threads + 2
        with _workers(self.threads, self.device) as pool:
            if self.device.type == "cpu":
                yield from map_ahead(pool, self._predict_batch, batches, ahead)
            else:
                yield from map(self._run, map_ahead(pool, self._prepare, batches, 2 * ahead))

    def _predict_batch(self, batch: Sequence[Path]) -> list[Prediction]:
        return self._run(self._prepare(batch))

    def _prepare(self, batch: Sequence[Path]) -> list[_Ready]:
        return [self._read(path) for path in batch]

    def _read(self, path: Path) -> _Ready:
        name = plain_path(str(path))
        try:
            data = read_image_bytes(path)
        except ImageError as error:
            return _Ready(name, error=str(error))
        sha256 = sha256_hex(data)
        try:
            decoded = decode(data, name)
        except ImageError as error:
            return _Ready(name, sha256, error=str(error))
        return self._ready(name, sha256, decoded)

    def _ready(self, name: str, sha256: str, decoded: Decoded) -> _Ready:
        square = to_square(decoded.pixels, self.info.image_size)
        return _Ready(name, sha256, square, notes=decoded.conversions + decoded.warnings)

    def _run(self, batch: Sequence[_Ready]) -> list[Prediction]:
        squares = [ready.square for ready in batch if ready.square is not None]
        found: Iterator[float] = iter(())
        if squares:
            found = iter(self._judge(squares).tolist())
        return [self._row(ready, None if ready.square is None else next(found)) for ready in batch]

    def _judge(self, squares: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        images = normalise(np.stack(squares), self.info.mean, self.info.std)  # (B, 3, S, S)
        return self.probabilities(images)

    def _row(self, ready: _Ready, probability: float | None) -> Prediction:
        return Prediction(
            path=ready.path,
            sha256=ready.sha256,
            verdict=None if probability is None else self.verdict(probability),
            probability=probability,
            threshold=self.info.threshold,
            model=self.identity,
            error=ready.error,
            notes=ready.notes,
        )


def _batches(paths: Iterable[str | Path], size: int) -> Iterator[list[Path]]:
    waiting = map(Path, paths)
    while batch := list(islice(waiting, size)):
        yield batch


@contextmanager
def _workers(threads: int, device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute alone; torch's own number for the others is put back at the end."""
    alone = (lambda: torch.set_num_threads(1)) if device.type == "cpu" else None
    pool = ThreadPoolExecutor(threads, "alld-predict", initializer=alone)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


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
