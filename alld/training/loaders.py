"""Manifest, split and settings to fastai DataLoaders that serve whole batches.

Of several processes each serves its own rows of every batch of training, and its own part of the
validation images; which images make a batch, and how they are transformed, is as in one.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastcore.foundation import L
from fasttransform import Transform
from torch import Tensor

from alld.config.schema import Config
from alld.data.manifest import Manifest, Progress
from alld.data.splits import Split
from alld.model.architectures import normalisation
from alld.training import augment
from alld.training.balance import balanced_order
from alld.training.batches import BatchSource, fitting, make_sources
from alld.training.ranks import rank, rows, size, smallest_batch

Served = tuple[Tensor, Tensor, int]  # uint8 images, labels, images of the whole batch


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
        self.served: list[list[int]] = []  # the manifest numbers of each whole batch of this epoch
        super().__init__(dataset, **kwargs)

    @property
    def indices(self) -> list[int]:
        """The manifest numbers of this loader's images."""
        return [int(index) for index in self.dataset.items]

    @property
    def targets(self) -> list[int]:
        """The labels of this loader's images."""
        return [self.labels[index] for index in self.indices]

    def create_batches(self, samps: Iterable[int]) -> Iterator[Served]:
        """Yield the batches of one epoch; `samps` are positions among this loader's images."""
        source: BatchSource = self.sources[self.dataset.split_idx]
        self.served = []
        batches = source.batches(self._own(list(samps)))
        for number, (pixels, labels) in enumerate(batches):
            yield pixels, labels, self.images_of(number)

    def _own(self, positions: Sequence[int]) -> Iterator[list[int]]:
        """The manifest numbers of this process's rows of each batch."""
        indices = self.indices
        if not self._trains:
            positions = positions[rank() :: size()]
        for start in range(0, len(positions), self.bs):
            chosen = [indices[position] for position in positions[start : start + self.bs]]
            if len(chosen) >= self._smallest:
                self.served.append(chosen)
                yield chosen[rows(len(chosen))] if self._trains else chosen

    def shuffle_fn(self, idxs: Sequence[int]) -> list[int]:
        """The order of one epoch of training, as positions among this loader's images."""
        if self.balanced:
            return balanced_order(self.targets, self.rng)
        order: list[int] = super().shuffle_fn(idxs)
        return order

    def images_of(self, number: int) -> int:
        """How many images the whole batch of that number has, from 0, in this epoch."""
        return len(self.served[number])

    def files(self, number: int) -> list[str]:
        """The files of the whole batch of that number, from 1, in this epoch."""
        return [self.paths[index] for index in self.served[number - 1]]

    def __len__(self) -> int:
        own = self.indices if self._trains else self.indices[rank() :: size()]
        full, rest = divmod(len(own), int(self.bs))
        return full + int(rest >= self._smallest)

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> "WholeBatchDL":
        """Another loader of the same kind; fastai makes the validation loader this way."""
        own = ("sources", "paths", "labels", "balanced")
        return super().new(dataset, cls, **{name: getattr(self, name) for name in own} | kwargs)  # type: ignore[no-any-return]

    @property
    def _trains(self) -> bool:
        return bool(self.dataset.split_idx == 0)

    @property
    def _smallest(self) -> int:
        # Batch norm cannot be trained on one image: a last batch that leaves so few is left out.
        return smallest_batch() if self._trains else 1

    def _one_pass(self) -> None:
        # fastai would collate one item here to learn the types; ours are fixed.
        self._n_inp, self._types = 1, {tuple: [Tensor, Tensor]}


class Prepare(Transform):  # type: ignore[misc]
    """What a loader serves to (normalised float32, labels): augmented in training, else as is.

    It overrides `__call__`: fastai's dispatch on type hints lets what it does not know pass as is.
    """

    TRAINING = 0  # fastai's split_idx of the training loader

    def __init__(self, config: Config, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.config, self.size = config.augment, config.data.image_size
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(
        self, batch: Served, split_idx: int | None = None, **_: Any
    ) -> tuple[Tensor, Tensor]:
        pixels, labels, whole = batch
        images = pixels.float().div_(255)  # (B, 3, h, w)
        if split_idx == self.TRAINING:
            parameters = augment.draw(whole, self.config).of(rows(whole))
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
        ConfigError: the set does not fit the memory.
        ImageError, DataError: an image that cannot be read, or has changed.
    """
    parts = (split.indices("train"), split.indices("valid"))
    with fitting(sum(map(len, parts)), config):
        sources = make_sources(manifest, parts, config, device, progress)
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
