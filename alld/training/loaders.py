"""Make fastai DataLoaders that serve whole batches of the images of a split."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders, TfmdDL
from fastcore.foundation import L
from fasttransform import Transform
from torch import Tensor

from alld.config.schema import AugmentConfig, Config
from alld.data.manifest import Manifest, Progress
from alld.data.splits import Split
from alld.errors import ConfigError, out_of_memory
from alld.model.architectures import normalisation
from alld.training import augment
from alld.training.batches import Batch, BatchSource, Canvas, make_sources

TRAINING = 0  # fastai's split_idx of the training loader


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
        self.served: list[list[int]] = []  # manifest numbers of each batch of this epoch
        # Batch norm cannot train on one image: a last batch that leaves so few is left out.
        self.smallest = 2 if dataset.split_idx == TRAINING else 1
        super().__init__(dataset, **kwargs)

    @property
    def indices(self) -> list[int]:
        """The manifest numbers of this loader's images."""
        return [int(index) for index in self.dataset.items]

    @property
    def targets(self) -> list[int]:
        """The labels of this loader's images."""
        return [self.labels[index] for index in self.indices]

    def create_batches(self, samps: Iterable[int]) -> Iterator[Batch]:
        """Yield the batches of one epoch; `samps` are positions among this loader's images."""
        source = self.sources[self.dataset.split_idx]
        self.served = []
        yield from source.batches(self._batches(list(samps)))

    def _batches(self, positions: Sequence[int]) -> Iterator[list[int]]:
        indices = self.indices
        for start in range(0, len(positions), self.bs):
            batch = [indices[position] for position in positions[start : start + self.bs]]
            if len(batch) >= self.smallest:
                self.served.append(batch)
                yield batch

    def shuffle_fn(self, idxs: Sequence[int]) -> list[int]:
        """Return the order of one epoch of training, as positions among this loader's images."""
        if self.balanced:
            return balanced_order(self.targets, self.rng)
        order: list[int] = super().shuffle_fn(idxs)
        return order

    def images_in(self, batch: int) -> int:
        """Return how many images a batch of this epoch has; batches count from 0."""
        return len(self.served[batch])

    def files_of(self, batch: int) -> list[str]:
        """Return the files of a batch of this epoch; batches count from 0."""
        return [self.paths[index] for index in self.served[batch]]

    def __len__(self) -> int:
        full, rest = divmod(len(self.indices), int(self.bs))
        return full + int(rest >= self.smallest)

    def new(self, dataset: Any = None, cls: Any = None, **kwargs: Any) -> "WholeBatchDL":
        """Return another loader of this kind; fastai makes the validation loader this way."""
        own = ("sources", "paths", "labels", "balanced")
        return super().new(dataset, cls, **{name: getattr(self, name) for name in own} | kwargs)  # type: ignore[no-any-return]

    def _one_pass(self) -> None:
        # fastai would collate one item here to learn the types; ours are fixed.
        self._n_inp, self._types = 1, {tuple: [Tensor, Tensor]}


class Prepare(Transform):  # type: ignore[misc]
    """Turn uint8 images and labels into normalised float32 and labels; augment in training.

    It overrides `__call__`: fastai's dispatch on type hints passes unknown types through unchanged.
    """

    def __init__(
        self, config: AugmentConfig, size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.config, self.size = config, size
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(self, batch: Batch, split_idx: int | None = None, **_: Any) -> Batch:
        pixels, labels = batch
        images = pixels.float().div_(255)  # (B, 3, h, w)
        if split_idx == TRAINING:
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
    """Return the training and validation loaders of one run.

    Raises:
        ConfigError: the set does not fit the memory.
        ImageError, DataError: an image that cannot be read, or has changed.
    """
    parts = (split.indices("train"), split.indices("valid"))
    size, runtime = config.data.image_size, config.runtime
    canvas = Canvas(size, config.augment.unsharp, config.data.view)
    try:
        sources = make_sources(manifest, parts, canvas, runtime, device, progress)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error) or not runtime.image_memory:
            raise
        raise ConfigError(
            f"out of memory for {sum(map(len, parts))} images of {size} px; with "
            "runtime.image_memory=0 they are read again in every epoch"
        ) from error
    served = {
        "sources": sources,
        "paths": [record.path for record in manifest],
        "labels": manifest.labels,
        "balanced": config.train.balance == "sampling",
    }
    block = DataBlock(
        blocks=[TransformBlock(dl_type=WholeBatchDL, dls_kwargs=served)],
        get_items=lambda manifest: L(range(len(manifest))),
        splitter=lambda _: parts,
        n_inp=1,
        batch_tfms=[Prepare(config.augment, size, *normalisation(config.model.arch))],
    )
    # fastai seeds its shuffle at construction; every epoch reseeds it again: see EpochSeed.
    random.seed(config.seed)
    return block.dataloaders(
        manifest, bs=config.train.batch_size, num_workers=0, drop_last=False, device=device
    )


def balanced_order(labels: Sequence[int], rng: random.Random) -> list[int]:
    """Return as many positions as `labels` has, an equal share of each class, in random order.

    Images of a rarer class are repeated, each as often as the others give or take one; of a
    commoner class a part is left out, another one in each epoch.
    """
    order: list[int] = []
    classes = sorted(set(labels))
    for number, label in enumerate(classes, start=1):
        size = len(labels) * number // len(classes) - len(order)
        members = [position for position, own in enumerate(labels) if own == label]
        times, rest = divmod(size, len(members))
        order += members * times + rng.sample(members, rest)
    rng.shuffle(order)
    return order
