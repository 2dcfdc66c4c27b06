"""Describe a trained model for its bundle: limits, calibration, validation, data, origin."""

from collections.abc import Sequence

import numpy as np
import torch
from fastai.learner import Learner
from numpy.typing import NDArray
from torch import nn

from alld.cells.facts import picture_facts
from alld.cells.view import seen
from alld.config.schema import CalibrateConfig, Config, ModelConfig
from alld.data.manifest import BLAST, HEALTHY, Manifest, Progress
from alld.data.preprocess import normalise, to_square
from alld.data.splits import Split
from alld.errors import RunError
from alld.inference.prediction import shown
from alld.model.abstain import FEWEST, Limits, fit_limits, spread_out
from alld.model.architectures import normalisation
from alld.model.bundle_info import (
    BundleInfo,
    DomainLimits,
    TemperatureFit,
    ThresholdChoice,
    TrainedOn,
    UncertainBand,
)
from alld.model.network import blast_probability
from alld.model.torch_network import features_and_logits
from alld.model.weights import origin_of
from alld.runs.folder import Run
from alld.stats.calibration import (
    WARMEST,
    Temperature,
    Threshold,
    choose_threshold,
    fit_temperature,
)
from alld.stats.metrics import all_metrics, proportion
from alld.stats.selective import uncertain_band

LEAST_COVERAGE = 0.75  # of the validation images that get a verdict; with fewer a warning says so
_BATCH = 16  # images of one step of learn_limits


def validation_logits(learner: Learner, *, tta: bool = False) -> NDArray[np.float64]:
    """Return (n_valid, 2) logits of the validation images, from the training loop's own loader.

    Args:
        tta: return means over eight orientations.

    Raises:
        RunError: a logit is not finite: the network diverged in its last steps.
    """
    learner.model.eval()
    with torch.inference_mode():
        batches = [
            features_and_logits(learner.model, images, tta=tta)[1]
            for images, _ in learner.dls.valid
        ]
    logits: NDArray[np.float64] = torch.cat(batches).double().cpu().numpy()
    if not np.isfinite(logits).all():
        raise RunError("the trained network's answers are not numbers; lower train.max_lr")
    return logits


def calibrate(
    truth: NDArray[np.int64], logits: NDArray[np.float64], config: CalibrateConfig
) -> tuple[Temperature, Threshold]:
    """Fit the temperature to the validation images, and choose the threshold after it.

    Args:
        truth: (n_valid,) 0 healthy or 1 blast.
        logits: (n_valid, 2) of the final weights.
    """
    temperature = Temperature(1.0, None, None, 0, None, "calibrate.temperature is false")
    if config.temperature:
        temperature = fit_temperature(truth, logits[:, BLAST] - logits[:, HEALTHY])
    sensitivity = config.sensitivity if config.threshold == "sensitivity" else None
    prob = blast_probability(logits, temperature.value)
    return temperature, choose_threshold(truth, prob, config.threshold, sensitivity=sensitivity)


def describe(
    run: Run,
    manifest: Manifest,
    split: Split,
    learner: Learner,
    config: Config,
    limits: DomainLimits,
) -> BundleInfo:
    """Return the facts of the bundle; calibration and metrics use the validation images alone."""
    valid = split.indices("valid")
    mean, std = normalisation(config.model.arch)
    facts = run.info
    truth = np.array([manifest.records[index].label for index in valid])
    logits = validation_logits(learner, tta=config.model.tta)
    temperature, threshold = calibrate(truth, logits, config.calibrate)
    prob = blast_probability(logits, temperature.value)
    band = _uncertain(truth, prob, threshold.value, config.abstain.uncertain)
    validation = all_metrics(
        truth,
        prob,
        threshold=threshold.value,
        groups=[split.groups[index] for index in valid],
        draws=config.evaluate.bootstrap_draws,
    )
    judged = sum(band is None or not band.low < one < band.high for one in prob)
    validation["coverage"] = proportion(judged, len(prob), "no validation images")
    return BundleInfo(
        arch=config.model.arch,
        initial_weights=initial_weights(config.model),
        image_size=config.data.image_size,
        mean=mean,
        std=std,
        threshold=threshold.value,
        threshold_choice=ThresholdChoice(how=threshold.how, warning=threshold.warning),
        temperature=temperature.value,
        tta=config.model.tta,
        unsharp=config.augment.unsharp,
        view=config.data.view,
        temperature_fit=TemperatureFit.model_validate(temperature, from_attributes=True),
        limits=limits,
        uncertain=band,
        data=TrainedOn(
            name=manifest.kind,
            fingerprint=manifest.fingerprint,
            images=len(manifest),
            synthetic=manifest.synthetic,
            split=split.kind,
            split_seed=split.seed,
            split_sha256=facts["split"]["sha256"],
            groups=split.groups_source,
            crop=config.data.crop if manifest.kind == "fields" else None,
        ),
        validation={name: metric.as_dict() for name, metric in validation.items()},
        validation_note=_validation_note(config, len(valid)),
        versions=facts["versions"],
    )


def _uncertain(
    truth: NDArray[np.int64], prob: NDArray[np.float64], threshold: float, error: float | None
) -> UncertainBand | None:
    if error is None:
        return None
    band = uncertain_band(truth, prob, threshold, error=error)
    if band.width == 0:
        return None
    low, high = band.ends(threshold)
    return UncertainBand(low=low, high=high, how=band.how)


def calibration_warnings(info: BundleInfo) -> list[str]:
    """Return warnings about the temperature and the threshold, for the user who trained."""
    warnings = []
    if info.temperature >= WARMEST:
        warnings.append(
            f"temperature {info.temperature:g}, its upper limit: the model is sure and wrong on "
            f"{info.temperature_fit.n} validation images; look at its training"
        )
    if info.threshold_choice.warning:
        choice = info.threshold_choice
        warnings.append(f"threshold {shown(info.threshold)} ({choice.how}): {choice.warning}")
    judged = info.validation["coverage"]
    if judged["value"] < LEAST_COVERAGE:
        warnings.append(
            f"uncertain: {judged['n'] - judged['k']} of {judged['n']} validation images get no "
            "verdict; train longer or on more images, or use `alld predict --no-abstain`"
        )
    return warnings


def _validation_note(config: Config, images: int) -> str:
    """Say what these images were used to choose: metrics on them are then too good."""
    chosen = {
        "epoch": config.train.select == "best",
        "temperature": config.calibrate.temperature,
        "threshold": config.calibrate.threshold != "fixed",
    }
    names = [name for name, by_these in chosen.items() if by_these]
    if not names:
        return f"measured on {images} images that were not used to choose any setting"
    used = "calibration" if names == ["temperature"] else f"choosing its {' and '.join(names)}"
    return f"optimistic: the same {images} images were used for {used}"


def initial_weights(config: ModelConfig) -> str:
    """Return where the initial weights of a training come from, as reports name it."""
    if config.weights is not None:
        return origin_of(config.weights)
    return "ImageNet" if config.pretrained else "random"


def learn_limits(
    manifest: Manifest,
    split: Split,
    model: nn.Sequential,
    config: Config,
    progress: Progress | None = None,
) -> tuple[Limits | None, DomainLimits]:
    """Return the limits of the model's domain, and how they were found.

    They come from the features of training and validation images. With too few validation images
    the limits are None, and the second part gives the reason.
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
    features, facts = _features_and_facts(manifest, [*train, *valid], model, config, progress)
    n = len(train)
    limits = fit_limits((features[:n], facts[:n]), (features[n:], facts[n:]), settings.deviations)
    return limits, DomainLimits(
        limit=limits.limit, deviations=settings.deviations, images=len(valid), reason=None
    )


def _features_and_facts(
    manifest: Manifest,
    indices: Sequence[int],
    model: nn.Sequential,
    config: Config,
    progress: Progress | None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return (n, F) features and (n, K) picture facts of images without augmentation."""
    size, (mean, std) = config.data.image_size, normalisation(config.model.arch)
    device = next(model.parameters()).device
    features, facts = [], []
    model.eval()
    for start in range(0, len(indices), _BATCH):
        pictures = [manifest.decode(index).pixels for index in indices[start : start + _BATCH]]
        squares = [to_square(pixels, size, config.augment.unsharp) for pixels in pictures]
        images = torch.from_numpy(
            normalise(np.stack([seen(one, config.data.view) for one in squares]), mean, std)
        ).to(device)
        with torch.inference_mode():
            pooled, _ = features_and_logits(model, images.to(memory_format=torch.channels_last))
        features.append(pooled.float().cpu().numpy())
        facts += [
            picture_facts(square, max(pixels.shape[:2]), config.data.view)
            for square, pixels in zip(squares, pictures, strict=True)
        ]
        if progress:
            progress(len(facts), len(indices))
    return np.concatenate(features), np.stack(facts)
