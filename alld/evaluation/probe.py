"""A linear probe: the body stays as it came, a logistic regression reads its features.

What fine-tuning is worth shows against it, on the same splits and images.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from alld.config import Config
from alld.data.manifest import Manifest
from alld.data.preprocess import normalise, to_square
from alld.data.splits import Split
from alld.evaluation.out_of_fold import HeldOut
from alld.model.backbones import create_model, normalisation
from alld.model.device import keep_freed_memory, resolve_device, set_threads
from alld.threads import map_ahead

BATCH = 32


@dataclass(frozen=True)
class Probe:
    """The features of every image of a set, by one untouched body."""

    manifest: Manifest
    features: NDArray[np.float32]  # (N, 2 * channels): the head's maxima and means

    def test(self, split: Split, repeat: int = 1, fold: int = 1) -> list[HeldOut]:
        """Fit on the training images alone and judge the test images.

        Standardised features, L2 with C = 1: nothing is chosen, so validation is not needed.
        """
        training, test = split.indices("train"), split.indices("test")
        labels = np.array(self.manifest.labels)
        reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        reader.fit(self.features[training], labels[training])
        found = reader.predict_proba(self.features[test])[:, 1]
        return [self._row(i, p, split, repeat, fold) for i, p in zip(test, found, strict=True)]

    def _row(self, index: int, probability: float, split: Split, repeat: int, fold: int) -> HeldOut:
        record = self.manifest.records[index]
        return HeldOut(
            repeat=repeat,
            fold=fold,
            path=record.path,
            sha256=record.sha256,
            group=split.groups[index],
            label=record.label,
            probability=float(probability),
            threshold=0.5,
        )


def make_probe(manifest: Manifest, config: Config) -> Probe:
    """Run every image of the set through the body once, without augmentation.

    Raises:
        ConfigError: the first weights cannot be had.
    """
    device = resolve_device(config.runtime.device)
    keep_freed_memory()
    torch.manual_seed(config.seed)  # where the weights are random ones
    threads = set_threads(config.runtime.threads)
    model = create_model(
        config.model.arch, pretrained=config.model.pretrained, weights=config.model.weights
    )
    pooled, flattened = list(model[1].children())[:2]
    extract = torch.nn.Sequential(model[0], pooled, flattened).eval().to(device)
    extract = extract.to(memory_format=torch.channels_last)
    mean, std = normalisation(config.model.arch)

    def read(indices: Sequence[int]) -> NDArray[np.float32]:
        pixels = (manifest.decode(index).pixels for index in indices)
        squares = [to_square(picture, config.data.image_size) for picture in pixels]
        return normalise(np.stack(squares), mean, std)  # (B, 3, S, S)

    batches = [range(i, min(i + BATCH, len(manifest))) for i in range(0, len(manifest), BATCH)]
    found = []
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for images in map_ahead(pool, read, batches, threads + 1):
            found.append(extract(torch.from_numpy(images).to(device)).float().cpu().numpy())
    return Probe(manifest, np.concatenate(found))
