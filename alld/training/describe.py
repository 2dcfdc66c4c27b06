"""What a trained model's bundle says of it: calibration, validation, data, origin."""

import numpy as np
import torch
from fastai.learner import Learner
from numpy.typing import NDArray

from alld.config.schema import CalibrateConfig, Config
from alld.data.manifest import BLAST, HEALTHY, Manifest
from alld.data.splits import Split
from alld.errors import RunError
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
from alld.stats.metrics import all_metrics
from alld.stats.selective import uncertain_band


def validation_logits(learner: Learner, *, tta: bool = False) -> NDArray[np.float64]:
    """(n_valid, 2) logits of the validation images, by the training loop's own loader.

    Args:
        tta: the means over eight orientations.

    Raises:
        RunError: one that is not a number, of a network that diverged in its last steps.
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
    """The temperature that fits the validation images, and the threshold chosen after it.

    Args:
        truth: (n_valid,) 0 healthy or 1 blast.
        logits: (n_valid, 2) of the final weights.
    """
    temperature = Temperature(1.0, None, None, 0, None, "calibrate.temperature is false")
    if config.temperature:
        temperature = fit_temperature(truth, logits[:, BLAST] - logits[:, HEALTHY])
    asked = config.sensitivity if config.threshold == "sensitivity" else None
    prob = blast_probability(logits, temperature.value)
    return temperature, choose_threshold(truth, prob, config.threshold, sensitivity=asked)


def describe(
    run: Run,
    manifest: Manifest,
    split: Split,
    learner: Learner,
    config: Config,
    limits: DomainLimits,
) -> BundleInfo:
    """The facts of the bundle; calibration and metrics come from the validation images alone."""
    valid = split.indices("valid")
    mean, std = normalisation(config.model.arch)
    facts = run.info
    truth = np.array([manifest.records[index].label for index in valid])
    logits = validation_logits(learner, tta=config.model.tta)
    temperature, threshold = calibrate(truth, logits, config.calibrate)
    prob = blast_probability(logits, temperature.value)
    validation = all_metrics(
        truth,
        prob,
        threshold=threshold.value,
        groups=[split.groups[index] for index in valid],
        draws=config.evaluate.bootstrap_draws,
    )
    return BundleInfo(
        arch=config.model.arch,
        initial_weights=_initial_weights(config),
        image_size=config.data.image_size,
        mean=mean,
        std=std,
        threshold=threshold.value,
        threshold_choice=ThresholdChoice(how=threshold.how, warning=threshold.warning),
        temperature=temperature.value,
        tta=config.model.tta,
        unsharp=config.augment.unsharp,
        temperature_fit=TemperatureFit(
            ci_low=temperature.ci_low,
            ci_high=temperature.ci_high,
            n=temperature.n,
            method=temperature.method,
            reason=temperature.reason,
        ),
        limits=limits,
        uncertain=_uncertain(truth, prob, threshold.value, config),
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
        validation_note=_validation_note(config, len(valid)),
        versions=facts["versions"],
    )


def _uncertain(
    truth: NDArray[np.int64], prob: NDArray[np.float64], threshold: float, config: Config
) -> UncertainBand | None:
    if config.abstain.uncertain is None:
        return None
    band = uncertain_band(truth, prob, threshold, error=config.abstain.uncertain)
    low, high = band.ends(threshold)
    return UncertainBand(low=low, high=high, how=band.how)


def calibration_warnings(info: BundleInfo) -> list[str]:
    """What whoever trained this model should know of its temperature and threshold."""
    warnings = []
    if info.temperature >= WARMEST:
        warnings.append(
            f"temperature {info.temperature:g}, its upper limit: the model is sure and wrong on "
            f"{info.temperature_fit.n} validation images; look at its training"
        )
    if info.threshold_choice.warning:
        choice = info.threshold_choice
        warnings.append(f"threshold {info.threshold:.3g} ({choice.how}): {choice.warning}")
    return warnings


def _validation_note(config: Config, images: int) -> str:
    """By what these images were used for: numbers of images that chose something flatter."""
    chosen = {
        "epoch": config.train.select == "best",
        "temperature": config.calibrate.temperature,
        "threshold": config.calibrate.threshold != "fixed",
    }
    names = [name for name, by_these in chosen.items() if by_these]
    if not names:
        return f"measured on {images} images that chose nothing of this model"
    return f"measured on the {images} images that chose its {' and '.join(names)}: they flatter"


def _initial_weights(config: Config) -> str:
    if config.model.weights is not None:
        return origin_of(config.model.weights)
    return "ImageNet" if config.model.pretrained else "random"
