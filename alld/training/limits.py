"""What the trained network is at home with: its limits, from the run's own images."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alld.cells.facts import picture_facts
from alld.config.schema import Config
from alld.data.manifest import Manifest, Progress
from alld.data.preprocess import normalise, to_square
from alld.data.splits import Split
from alld.model.abstain import FEWEST, Limits, fit_limits, spread_out
from alld.model.architectures import normalisation
from alld.model.bundle_info import DomainLimits
from alld.model.torch_network import features_and_logits

_BATCH = 16

Seen = tuple[NDArray[np.float32], NDArray[np.float64]]  # (n, F) features, (n, K) picture facts


def learn_limits(
    manifest: Manifest,
    split: Split,
    model: nn.Sequential,
    config: Config,
    progress: Progress | None = None,
) -> tuple[Limits | None, DomainLimits]:
    """Limits from one more look at training and validation images, and how they were found.

    Without validation images enough there are none, and the second part says why.
    """
    settings = config.abstain
    valid = split.indices("valid")
    reason = None
    if not settings.out_of_domain:
        reason = "abstain.out_of_domain is false"
    elif len(valid) < FEWEST:
        reason = f"{len(valid)} validation images are too few for a limit, {FEWEST} at least"
    if reason is not None:
        none = DomainLimits(limit=None, deviations=settings.deviations, images=0, reason=reason)
        return None, none
    train = spread_out(split.indices("train"))
    features, facts = _look(manifest, [*train, *valid], model, config, progress)
    training, validation = (
        (features[part], facts[part]) for part in (slice(len(train)), slice(len(train), None))
    )
    limits = fit_limits(training, validation, settings.deviations)
    return limits, DomainLimits(
        limit=limits.limit, deviations=settings.deviations, images=len(valid), reason=None
    )


def _look(
    manifest: Manifest,
    indices: Sequence[int],
    model: nn.Sequential,
    config: Config,
    progress: Progress | None,
) -> Seen:
    """What network and picture facts say of images that no augmentation has touched."""
    size, (mean, std) = config.data.image_size, normalisation(config.model.arch)
    device = next(model.parameters()).device
    features, facts = [], []
    model.eval()
    for start in range(0, len(indices), _BATCH):
        pictures = [manifest.decode(index).pixels for index in indices[start : start + _BATCH]]
        squares = [to_square(pixels, size, config.augment.unsharp) for pixels in pictures]
        images = torch.from_numpy(normalise(np.stack(squares), mean, std)).to(device)
        with torch.inference_mode():
            pooled, _ = features_and_logits(model, images.to(memory_format=torch.channels_last))
        features.append(pooled.float().cpu().numpy())
        facts += [
            picture_facts(square, max(pixels.shape[:2]))
            for square, pixels in zip(squares, pictures, strict=True)
        ]
        if progress:
            progress(len(facts), len(indices))
    return np.concatenate(features), np.stack(facts)
