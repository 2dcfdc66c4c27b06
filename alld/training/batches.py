"""Where a loader's batches come from: a part of a set in memory, or decoded anew in every epoch.

Images are uint8 squares: those of training a little larger than the network sees them, for the
random crops; those of validation exactly as `preprocess` makes them. A set within
`runtime.image_memory` is decoded once and lies on the device; a larger one is decoded again in
every epoch, by threads, some batches ahead. Both give the same batches to the bit.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alld.config.schema import Config, Unsharp
from alld.data.manifest import Manifest, Progress
from alld.data.preprocess import resize, to_square
from alld.errors import ConfigError, out_of_memory
from alld.runtime.threads import map_ahead, usable_cores

# A crop of 80 % of the side still has the network's resolution at this enlargement.
ENLARGED = 1.25
AHEAD = 3  # batches of a stream under way

Batch = tuple[Tensor, Tensor]
Square = NDArray[np.uint8]  # (side, side, 3)


@dataclass(frozen=True)
class Canvas:
    """The uint8 square that an image of one part becomes before a batch is made of it."""

    size: int  # of the network's input
    unsharp: Unsharp
    common: int | None = None  # side of every training square; None in validation

    def own_side(self, pixels: NDArray[np.uint8]) -> int:
        """A training canvas is never larger than the picture itself."""
        longer: int = max(pixels.shape[:2])
        return min(round(ENLARGED * self.size), longer)

    def square(self, pixels: NDArray[np.uint8]) -> Square:
        """(H, W, 3) to the square that is served."""
        if self.common is None:
            return to_square(pixels, self.size, self.unsharp)
        return resize(to_square(pixels, self.own_side(pixels), self.unsharp), self.common)


class BatchSource(Protocol):
    """Where a loader takes its batches from."""

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """Manifest numbers of each batch to ((B, 3, h, w) uint8, (B,) int64), on the device."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """One part, decoded: `pixels` (N, 3, h, w) uint8, `position` by manifest number."""

    pixels: Tensor
    labels: Tensor
    position: dict[int, int]

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        for indices in chosen:
            rows = torch.tensor([self.position[i] for i in indices], device=self.labels.device)
            yield self.pixels[rows], self.labels[rows]


@dataclass(frozen=True)
class StreamSource:
    """One part, decoded anew for every epoch; `pool` lives as long as the training."""

    manifest: Manifest
    canvas: Canvas
    device: torch.device
    pool: Executor

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        # A batch is one piece of work: with the next ones it is decoded while this one trains.
        for batch in map_ahead(self.pool, self._decode, chosen, AHEAD):
            pixels, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
            yield pixels, labels

    def _decode(self, indices: Sequence[int]) -> Batch:
        squares = [self.canvas.square(self.manifest.decode(index).pixels) for index in indices]
        pixels = _stack(squares)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels, torch.tensor([self.manifest.records[index].label for index in indices])


def fits_memory(parts: Sequence[Sequence[int]], config: Config) -> bool:
    """Whether the squares of both parts stay within `runtime.image_memory`, at their largest."""
    training, validation = map(len, parts)
    side = config.data.image_size
    size = 3 * (training * round(ENLARGED * side) ** 2 + validation * side**2)
    return size <= config.runtime.image_memory * 2**20


@contextmanager
def fitting(images: int, config: Config) -> Iterator[None]:
    """Raises ConfigError where so many images do not fit the memory that was to hold them."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error) or not config.runtime.image_memory:
            raise
        raise ConfigError(
            f"out of memory for {images} images of {config.data.image_size} px; with "
            "runtime.image_memory=0 they are read again in every epoch"
        ) from error


def make_sources(
    manifest: Manifest,
    parts: tuple[Sequence[int], Sequence[int]],
    config: Config,
    device: torch.device,
    progress: Progress | None,
) -> list[BatchSource]:
    """Training and validation; an image that cannot be read is named before anything is trained."""
    pool = ThreadPoolExecutor(config.runtime.workers or usable_cores())
    validation = Canvas(config.data.image_size, config.augment.unsharp)
    kept = fits_memory(parts, config)

    def decode(index: int) -> tuple[int, Square | None]:
        pixels = manifest.decode(index).pixels
        side = validation.size if index in held_out else validation.own_side(pixels)
        return side, to_square(pixels, side, validation.unsharp) if kept else None

    held_out, everything = set(parts[1]), [*parts[0], *parts[1]]
    sides, squares = [], []
    for side, square in map_ahead(pool, decode, everything, 4 * usable_cores()):
        sides.append(side)
        if square is not None:
            squares.append(square)
        if progress:
            progress(len(sides), len(everything))
    common = int(np.median(sides[: len(parts[0])]))
    if not kept:
        canvases = (replace(validation, common=common), validation)
        return [StreamSource(manifest, canvas, device, pool) for canvas in canvases]
    pool.shutdown()
    training = [resize(square, common) for square in squares[: len(parts[0])]]
    rest = squares[len(parts[0]) :]
    return [
        _in_memory(manifest, *part, device) for part in zip((training, rest), parts, strict=True)
    ]


def _in_memory(
    manifest: Manifest, squares: Sequence[Square], indices: Sequence[int], device: torch.device
) -> MemorySource:
    return MemorySource(
        _stack(squares).to(device),
        torch.tensor([manifest.records[index].label for index in indices], device=device),
        {index: position for position, index in enumerate(indices)},
    )


def _stack(squares: Sequence[Square]) -> Tensor:
    """(B, 3, side, side) uint8."""
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()
