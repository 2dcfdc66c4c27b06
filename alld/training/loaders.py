"""Manifest, split and settings to fastai DataLoaders that serve whole batches from memory.

Every image is decoded once into uint8. Training images lie in memory a little larger than the
network sees them, for the random crops; validation images exactly as `preprocess` makes them.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastcore.foundation import L
from fasttransform import Transform
from torch import Tensor

from alld.config import Config
from alld.data.manifest import Manifest, Progress
from alld.data.preprocess import resize, to_square
from alld.data.splits import Split
from alld.model.backbones import normalisation
from alld.training import augment

# A crop of 80 % of the side still has the network's resolution at this enlargement.
CANVAS = 1.25


class BatchSource(Protocol):
    """Where a loader takes its batches from: memory today, a stream for sets that do not fit."""

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Manifest numbers to ((B, 3, h, w) uint8, (B,) int64)."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """One part, decoded: `pixels` (N, 3, h, w) uint8, `position` by manifest number."""

    pixels: Tensor
    labels: Tensor
    position: dict[int, int]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = torch.tensor([self.position[index] for index in indices], device=self.labels.device)
        return self.pixels[rows], self.labels[rows]


class WholeBatchDL(TfmdDL):  # type: ignore[misc]
    """A fastai loader that asks its source for a whole batch instead of collating single items."""

    def __init__(self, dataset: Any, *, sources: Sequence[BatchSource], **kwargs: Any) -> None:
        self.sources = sources
        super().__init__(dataset, **kwargs)

    @property
    def indices(self) -> list[int]:
        """The manifest numbers of this loader's images."""
        return [int(index) for index in self.dataset.items]

    def create_batches(self, samps: Iterable[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of one epoch; `samps` are positions among this loader's images."""
        indices, source = self.indices, self.sources[self.dataset.split_idx]
        positions = list(samps)
        for start in range(0, len(positions), self.bs):
            chosen = positions[start : start + self.bs]
            if not (self._trains and len(chosen) == 1):
                yield source.batch([indices[position] for position in chosen])

    def __len__(self) -> int:
        # Batch norm cannot be trained on a last batch of one image: it is left out.
        full, rest = divmod(len(self.indices), int(self.bs))
        return full + int(rest > (1 if self._trains else 0))

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> "WholeBatchDL":
        """Another loader of the same kind; fastai makes the validation loader this way."""
        return super().new(dataset, cls, **{"sources": self.sources, **kwargs})  # type: ignore[no-any-return]

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
    size = config.data.image_size
    parts = (split.indices("train"), split.indices("valid"))
    sources = _decode(manifest, parts, size, device, progress)
    mean, std = normalisation(config.model.arch)
    block = DataBlock(
        blocks=[TransformBlock(dl_type=WholeBatchDL, dls_kwargs={"sources": sources})],
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


def _decode(
    manifest: Manifest,
    parts: Sequence[Sequence[int]],
    size: int,
    device: torch.device,
    progress: Progress | None,
) -> tuple[MemorySource, MemorySource]:
    total, done = sum(map(len, parts)), 0
    squares: list[list[np.ndarray[Any, np.dtype[np.uint8]]]] = [[], []]
    for part, indices in enumerate(parts):
        for index in indices:
            pixels = manifest.decode(index).pixels
            # Validation at the network's size; a training canvas is never larger than the picture.
            side = size if part else min(round(CANVAS * size), max(pixels.shape[:2]))
            squares[part].append(to_square(pixels, side))
            done += 1
            if progress:
                progress(done, total)
    common = int(np.median([len(square) for square in squares[0]]))
    squares[0] = [resize(square, common) for square in squares[0]]
    train, valid = (
        MemorySource(
            torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous().to(device),
            torch.tensor([manifest.records[index].label for index in indices], device=device),
            {index: position for position, index in enumerate(indices)},
        )
        for pictures, indices in zip(squares, parts, strict=True)
    )
    return train, valid
