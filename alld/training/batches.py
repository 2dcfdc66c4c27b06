"""Serve the batches of a loader from memory, or decode them anew in every epoch.

Images are uint8 squares: those of training a little larger than the network's input, for the
random crops; those of validation exactly as `preprocess` makes them. A set within
`runtime.image_memory` is decoded once and lies on the device; a larger one is decoded in every
epoch by threads, some batches ahead. Both give bitwise the same batches.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alld.cells.view import seen
from alld.config.schema import RuntimeConfig, Unsharp, View
from alld.data.manifest import Manifest, Progress
from alld.data.preprocess import resize, to_square
from alld.runtime.threads import map_ahead, usable_cores

# A crop of 80 % of the side still has the network's resolution at this enlargement.
ENLARGED = 1.25
AHEAD = 3  # batches of a stream under way

Batch = tuple[Tensor, Tensor]
Square = NDArray[np.uint8]  # (side, side, 3)


@dataclass(frozen=True)
class Canvas:
    """How an image of one part becomes a uint8 square of a batch."""

    size: int  # of the network's input
    unsharp: Unsharp
    view: View
    common: int | None = None  # side of every training square; None in validation

    def own_side(self, pixels: NDArray[np.uint8]) -> int:
        """Return the side of a training square; it is never larger than the picture itself.

        A cell is redrawn in training at the very size at which it is redrawn in prediction.
        """
        longer: int = max(pixels.shape[:2])
        return min(round(ENLARGED * self.size), longer) if self.view == "image" else self.size

    def square(self, pixels: NDArray[np.uint8]) -> Square:
        """Return the square of an image (H, W, 3)."""
        if self.common is None:
            return self.of_side(pixels, self.size)
        return resize(self.of_side(pixels, self.own_side(pixels)), self.common)

    def of_side(self, pixels: NDArray[np.uint8], side: int) -> Square:
        """Return the square of that side, as the network sees it."""
        return seen(to_square(pixels, side, self.unsharp), self.view)


class BatchSource(Protocol):
    """What a loader takes its batches from."""

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        """Yield ((B, 3, h, w) uint8, (B,) int64) on the device for the numbers of each batch."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """One decoded part: `pixels` (N, 3, h, w) uint8, `position` by manifest number."""

    pixels: Tensor
    labels: Tensor
    position: dict[int, int]

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        for indices in chosen:
            rows = torch.tensor([self.position[i] for i in indices], device=self.labels.device)
            yield self.pixels[rows], self.labels[rows]


@dataclass(frozen=True)
class StreamSource:
    """One part that is decoded in every epoch; `pool` lives as long as the training."""

    manifest: Manifest
    canvas: Canvas
    device: torch.device
    pool: Executor

    def batches(self, chosen: Iterable[Sequence[int]]) -> Iterator[Batch]:
        # The next batches are decoded while this one trains.
        for batch in map_ahead(self.pool, self._decode, chosen, AHEAD):
            pixels, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
            yield pixels, labels

    def _decode(self, indices: Sequence[int]) -> Batch:
        squares = [self.canvas.square(self.manifest.decode(index).pixels) for index in indices]
        pixels = _stack(squares)
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels, torch.tensor([self.manifest.records[index].label for index in indices])


def make_sources(
    manifest: Manifest,
    parts: tuple[Sequence[int], Sequence[int]],
    validation: Canvas,
    config: RuntimeConfig,
    device: torch.device,
    progress: Progress | None,
) -> list[BatchSource]:
    """Return the sources of training and validation images; decode every image once.

    Raises:
        ImageError, DataError: an image that cannot be read, or has changed.
    """
    pool = ThreadPoolExecutor(config.workers or usable_cores())
    largest = round(ENLARGED * validation.size)  # side of a training square
    needed = 3 * (len(parts[0]) * largest**2 + len(parts[1]) * validation.size**2)  # bytes
    kept = needed <= config.image_memory * 2**20

    def decode(index: int) -> tuple[int, Square | None]:
        pixels = manifest.decode(index).pixels
        side = validation.size if index in held_out else validation.own_side(pixels)
        return side, validation.of_side(pixels, side) if kept else None

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
