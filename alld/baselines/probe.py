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
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from alld.config.schema import Config
from alld.data.manifest import Manifest, Pictures
from alld.data.preprocess import normalise, to_square
from alld.data.splits import Split
from alld.images.rgb import RGB
from alld.model.architectures import normalisation
from alld.model.backbones import create_model
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.threads import map_ahead

BATCH = 32


@dataclass(frozen=True)
class Probe:
    """The features of every image of a set, by one untouched body."""

    labels: NDArray[np.int_]  # (N,)
    features: NDArray[np.float32]  # (N, 2 * channels): the head's maxima and means

    def judge(self, split: Split) -> NDArray[np.float64]:
        """P(blast) of the test images, in their order, after a fit on the training images alone."""
        training, test = split.indices("train"), split.indices("test")
        reader = probe_model().fit(self.features[training], self.labels[training])
        return np.asarray(reader.predict_proba(self.features[test])[:, 1])


def probe_model() -> Pipeline:
    """Standardised features, L2 with C = 1: nothing is chosen, so validation is not needed."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))


def make_probe(manifest: Manifest, config: Config) -> Probe:
    """The probe of a whole set; it raises what `body_features` and decoding raise."""
    return Probe(np.array(manifest.labels), body_features(Pictures(manifest), config))


def body_features(pictures: Sequence[RGB], config: Config) -> NDArray[np.float32]:
    """Run pictures, RGB uint8 (H, W, 3), through the body once: (N, 2 * channels).

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
        size, unsharp = config.data.image_size, config.augment.unsharp
        squares = [to_square(pictures[index], size, unsharp) for index in indices]
        return normalise(np.stack(squares), mean, std)  # (B, 3, S, S)

    batches = [range(i, min(i + BATCH, len(pictures))) for i in range(0, len(pictures), BATCH)]
    found = []
    with ThreadPoolExecutor(threads) as pool, torch.inference_mode():
        for images in map_ahead(pool, read, batches, threads + 1):
            found.append(extract(torch.from_numpy(images).to(device)).float().cpu().numpy())
    return np.concatenate(found)
