"""Manifest, split and settings to fastai DataLoaders that serve whole batches.

Images are uint8 squares: those of training a little larger than the network sees them, for the
random crops; those of validation exactly as `preprocess` makes them. A set within
`runtime.image_memory` is decoded once and lies on the device; a larger one is decoded again in
every epoch, by threads, some batches ahead. Both give the same batches to the bit.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastcore.foundation import L
from fasttransform import Transform
from numpy.typing import NDArray
from torch import Tensor

from alld.config import Config, Unsharp
from alld.data.manifest import Manifest, Progress
from alld.data.preprocess import resize, to_square
from alld.data.splits import Split
from alld.model.backbones import normalisation
from alld.threads import map_ahead, usable_cores
from alld.training import augment
from alld.training.balance import balanced_order

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


class WholeBatchDL(TfmdDL):  # type: ignore[misc]
    """A fastai loader that asks its source for a whole batch instead of collating single items."""

    def __init__(
        self,
        dataset: Any,
        *,
        sources: Sequence[BatchSource],
        paths: Sequence[str],
        labels: Sequence[int],
        balanced: bool,
        **kwargs: Any,
    ) -> None:
        self.sources, self.paths, self.labels = sources, paths, labels  # by manifest number
        self.balanced = balanced  # both classes come equally often in an epoch of training
        self.served: list[list[int]] = []  # the manifest numbers of each batch of this epoch
        super().__init__(dataset, **kwargs)

    @property
    def indices(self) -> list[int]:
        """The manifest numbers of this loader's images."""
        return [int(index) for index in self.dataset.items]

    @property
    def targets(self) -> list[int]:
        """The labels of this loader's images."""
        return [self.labels[index] for index in self.indices]

    def create_batches(self, samps: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch; `samps` are positions among this loader's images."""
        source: BatchSource = self.sources[self.dataset.split_idx]
        self.served = []
        return source.batches(self._chosen(list(samps)))

    def _chosen(self, positions: Sequence[int]) -> Iterator[list[int]]:
        indices = self.indices
        for start in range(0, len(positions), self.bs):
            chosen = positions[start : start + self.bs]
            if not (self._trains and len(chosen) == 1):
                self.served.append([indices[position] for position in chosen])
                yield self.served[-1]

    def shuffle_fn(self, idxs: Sequence[int]) -> list[int]:
        """The order of one epoch of training, as positions among this loader's images."""
        if self.balanced:
            return balanced_order(self.targets, self.rng)
        order: list[int] = super().shuffle_fn(idxs)
        return order

    def files(self, number: int) -> list[str]:
        """The files of the batch of that number, from 1, in this epoch."""
        return [self.paths[index] for index in self.served[number - 1]]

    def __len__(self) -> int:
        # Batch norm cannot be trained on a last batch of one image: it is left out.
        full, rest = divmod(len(self.indices), int(self.bs))
        return full + int(rest > (1 if self._trains else 0))

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> "WholeBatchDL":
        """Another loader of the same kind; fastai makes the validation loader this way."""
        own = ("sources", "paths", "labels", "balanced")
        return super().new(dataset, cls, **{name: getattr(self, name) for name in own} | kwargs)  # type: ignore[no-any-return]

    @property
    def _trains(self) -> bool:
        return bool(self.dataset.split_idx == 0)

    def _one_pass(self) -> None:
        # fastai would collate one item here to learn the types; ours are fixed.
        self._n_inp, self._types = 1, {tuple: [Tensor, Tensor]}


class Prepare(Transform):  # type: ignore[misc]
    """(uint8 images, labels) to (normalised float32, labels): augmented in training, else as is.

    It overrides `__call__`: fastai's dispatch on type hints lets what it does not know pass as is.
    """

    TRAINING = 0  # fastai's split_idx of the training loader

    def __init__(self, config: Config, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.config, self.size = config.augment, config.data.image_size
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(
        self, batch: tuple[Tensor, Tensor], split_idx: int | None = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        pixels, labels = batch
        images = pixels.float().div_(255)  # (B, 3, h, w)
        if split_idx == self.TRAINING:
            parameters = augment.draw(len(images), self.config)
            images = augment.apply(images, parameters, self.size)  # (B, 3, S, S)
        images = images.sub_(self.mean.to(images.device)).div_(self.std.to(images.device))
        return images.contiguous(memory_format=torch.channels_last), labels


def make_loaders(
    manifest: Manifest,
    split: Split,
    config: Config,
    device: torch.device,
    progress: Progress | None = None,
) -> DataLoaders:
    """Training and validation loaders of one run.

    Raises:
        ImageError, DataError: an image that cannot be read, named.
    """
    parts = (split.indices("train"), split.indices("valid"))
    sources = _sources(manifest, parts, config, device, progress)
    served = {
        "sources": sources,
        "paths": [record.path for record in manifest],
        "labels": manifest.labels,
        "balanced": config.train.balance == "sampling",
    }
    mean, std = normalisation(config.model.arch)
    block = DataBlock(
        blocks=[TransformBlock(dl_type=WholeBatchDL, dls_kwargs=served)],
        get_items=lambda manifest: L(range(len(manifest))),
        splitter=lambda _: parts,
        n_inp=1,
        batch_tfms=[Prepare(config, mean, std)],
    )
    # fastai seeds its shuffle at construction; every epoch reseeds it again (see train.py).
    random.seed(config.seed)
    return block.dataloaders(
        manifest, bs=config.train.batch_size, num_workers=0, drop_last=False, device=device
    )


def fits_memory(parts: Sequence[Sequence[int]], config: Config) -> bool:
    """Whether the squares of both parts stay within `runtime.image_memory`, at their largest."""
    training, validation = map(len, parts)
    side = config.data.image_size
    size = 3 * (training * round(ENLARGED * side) ** 2 + validation * side**2)
    return size <= config.runtime.image_memory * 2**20


def _sources(
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
