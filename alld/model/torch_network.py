"""The network of a bundle, computed by torch."""

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
from alld.model.network import Features, Images, Logits, Model
from alld.model.orientations import features_and_logits
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.threads import usable_cores


def load_bundle(
    path: Path, device: str = "auto", threads: int | None = None, required: str | None = None
) -> Model:
    """The model of a bundle folder; arguments and errors are those of `load.load_model`."""
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
        on_cpu = self._device.type == "cpu"
        self.threads = set_threads(threads) if on_cpu else threads or usable_cores()
        folded = fold_batch_norm(model, image_size)
        self._model = folded.to(self._device).to(memory_format=torch.channels_last)

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        """See `Network.look`."""
        with torch.inference_mode():
            features, logits = features_and_logits(self._model, self._batch(images), tta=tta)
        return features.float().cpu().numpy(), logits.double().cpu().numpy()

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        """See `Network.evidence`."""
        from alld.model.explain import evidence  # captum: plain predictions do without it

        return evidence(self._model, self._batch(images), tta=tta).float().cpu().numpy()

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        """See `Network.workers`; torch's own number of threads is put back at the end."""
        alone = (lambda: torch.set_num_threads(1)) if self._device.type == "cpu" else None
        pool = ThreadPoolExecutor(self.threads, "alld-predict", initializer=alone)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self.threads)

    def _batch(self, images: Images) -> Tensor:
        batch = torch.from_numpy(images).to(self._device)
        return batch.to(memory_format=torch.channels_last)
