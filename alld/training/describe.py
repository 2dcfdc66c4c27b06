"""What a trained model's bundle says of it: its validation, its data, its origin."""

import numpy as np
import torch
from fastai.learner import Learner

from alld.config import Config
from alld.data.manifest import Manifest
from alld.data.splits import Split
from alld.inference.predictor import blast_probability
from alld.model.backbones import normalisation
from alld.model.bundle import BundleInfo, TrainedOn
from alld.stats.metrics import all_metrics
from alld.training.run import Run


def validation_probabilities(learner: Learner, temperature: float = 1.0) -> np.ndarray:
    """(n_valid,) P(blast) of the validation images, by the training loop's own loader."""
    learner.model.eval()
    with torch.inference_mode():
        logits = [learner.model(images) for images, _ in learner.dls.valid]
    return blast_probability(torch.cat(logits).double().cpu().numpy(), temperature)


def describe(
    run: Run, manifest: Manifest, split: Split, learner: Learner, config: Config
) -> BundleInfo:
    valid = split.indices("valid")
    mean, std = normalisation(config.model.arch)
    facts = run.info
    validation = all_metrics(
        np.array([manifest.records[index].label for index in valid]),
        validation_probabilities(learner),
        threshold=0.5,
        groups=[split.groups[index] for index in valid],
    )
    return BundleInfo(
        arch=config.model.arch,
        initial_weights=_initial_weights(config),
        image_size=config.data.image_size,
        mean=mean,
        std=std,
        data=TrainedOn(
            name=manifest.kind,
            fingerprint=manifest.fingerprint,
            images=len(manifest),
            synthetic=manifest.synthetic,
            split=split.kind,
            split_seed=split.seed,
            split_sha256=facts["split"]["sha256"],
            groups=split.groups_source,
        ),
        validation={name: metric.as_dict() for name, metric in validation.items()},
        versions=facts["versions"],
    )


def _initial_weights(config: Config) -> str:
    if config.model.weights is not None:
        return f"file {config.model.weights.name}"
    return "ImageNet" if config.model.pretrained else "random"
