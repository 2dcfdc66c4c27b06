"""Compute a bundle's network with torch, upright or in all eight orientations."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alld.model.bundle import read_bundle
from alld.model.folding import fold_batch_norm
from alld.model.network import ORIENTATIONS, Features, Images, Logits, Model
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.threads import usable_cores

_POOLED = 2  # layers of the head that only pool: see `create_head`


def load_bundle(
    path: Path, device: str = "auto", threads: int | None = None, required: str | None = None
) -> Model:
    """Load the model of a bundle folder; see `alld.inference.load.load_model`."""
    bundle = read_bundle(path, required)
    network = TorchNetwork(bundle.model, bundle.info.image_size, device, threads)
    return Model(bundle.path, bundle.info, bundle.identity, bundle.limits, network)


class TorchNetwork:
    """Sequential(body, head) in evaluation mode, batch norm folded, on a device; a `Network`."""

    def __init__(
        self,
        model: nn.Sequential,
        image_size: int,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._device = resolve_device(device)
        keep_freed_memory()
        self.device = str(self._device)
        self._on_cpu = self._device.type == "cpu"
        self.threads = set_threads(threads) if self._on_cpu else threads or usable_cores()
        folded = fold_batch_norm(model, image_size)
        self._model = folded.to(self._device).to(memory_format=torch.channels_last)

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        with torch.inference_mode():
            features, logits = features_and_logits(self._model, self._batch(images), tta=tta)
        return features.float().cpu().numpy(), logits.double().cpu().numpy()

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        from alld.model.explain import evidence  # captum, which plain predictions do without

        return evidence(self._model, self._batch(images), tta=tta).float().cpu().numpy()

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        alone = (lambda: torch.set_num_threads(1)) if self._on_cpu else None
        pool = ThreadPoolExecutor(self.threads, "alld-predict", initializer=alone)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self.threads)

    def _batch(self, images: Images) -> Tensor:
        batch = torch.from_numpy(images).to(self._device)
        return batch.to(memory_format=torch.channels_last)


def features_and_logits(
    model: nn.Sequential, images: Tensor, *, tta: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the pooled features of images, (B, 2 * channels), and their logits, (B, 2).

    Args:
        model: Sequential(body, head) of `create_model`.
        images: (B, 3, S, S), normalised.
        tta: return the mean logits over four quarter turns, each plain and mirrored, at eight
            times the cost; a blood cell has no upright orientation. The features stay those of the
            upright image.
    """
    features, total = _look(model, images)
    if not tta:
        return features, total
    for orientation in range(1, ORIENTATIONS):
        total = total + _look(model, turned(images, orientation))[1]
    return features, total / ORIENTATIONS


def _look(model: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor]:
    body, head = model
    assert isinstance(head, nn.Sequential)
    features: Tensor = head[:_POOLED](body(images))
    logits: Tensor = head[_POOLED:](features)
    return features, logits


def turned(images: Tensor, orientation: int) -> Tensor:
    """Turn (B, C, S, S) to an orientation, 0 (upright) to 7, with channels last in memory."""
    quarters, mirrored = divmod(orientation, 2)
    view = torch.rot90(images, quarters, dims=(2, 3))
    view = view.flip(3) if mirrored else view
    return view.contiguous(memory_format=torch.channels_last)


def turned_back(maps: Tensor, orientation: int) -> Tensor:
    """Turn maps (B, h, w) of images in that orientation upright again."""
    quarters, mirrored = divmod(orientation, 2)
    upright = maps.flip(2) if mirrored else maps
    return torch.rot90(upright, -quarters, dims=(1, 2))
