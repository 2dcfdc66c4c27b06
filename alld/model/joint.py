"""Several models as one: the mean of a cross-validation's folds, each with its own limits."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from alld.errors import BundleError
from alld.model.abstain import JointLimits, Limits
from alld.model.bundle_info import (
    BundleInfo,
    DomainLimits,
    TemperatureFit,
    ThresholdChoice,
    UncertainBand,
)
from alld.model.network import Model, Network
from alld.runtime.files import sha256_hex

# What models must have in common to be averaged.
SHARED = ("arch", "image_size", "resize", "mean", "std", "unsharp", "view", "tta")


def join(
    path: Path,
    members: Sequence[tuple[BundleInfo, Limits | None]],
    identity: str,
    network: Network,
    exported_from: str | None = None,
) -> Model:
    """Return the model of these members: one as it is, or the mean of several.

    Raises:
        BundleError: they see an image in different ways.
    """
    infos = [info for info, _ in members]
    limits: Limits | JointLimits | None = members[0][1]
    if len(members) > 1:
        limits = JointLimits(tuple(own for _, own in members))
        limits = limits if any(limits.members) else None
    temperatures = tuple(info.temperature for info in infos)
    return Model(
        path, joint_info(path, infos), identity, limits, network, temperatures, exported_from
    )


def joint_identity(identities: Sequence[str]) -> str:
    """Return the identity of several models together, in any order; of one it is its own."""
    return (
        identities[0]
        if len(identities) == 1
        else sha256_hex("\n".join(sorted(identities)).encode())
    )


def joint_info(path: Path, infos: Sequence[BundleInfo]) -> BundleInfo:
    """Return the facts of the mean of several models; those of one are its own.

    Thresholds and the ends of uncertain bands are averaged as P(blast) is.
    """
    first, *others = infos
    if not others:
        return first
    for name in SHARED:
        if any(getattr(info, name) != getattr(first, name) for info in others):
            raise BundleError(f"{path}: its models differ in {name}, so they have no mean")
    count = len(infos)
    bands = [info.uncertain for info in infos]
    limits = [info.limits for info in infos if info.limits.limit is not None]
    temperatures = ", ".join(f"{info.temperature:.2f}" for info in infos)
    changed = {
        "threshold": fmean(info.threshold for info in infos),
        "threshold_choice": ThresholdChoice(
            how=f"the mean of {count} models; {first.threshold_choice.how}",
            warning=next((w for info in infos if (w := info.threshold_choice.warning)), None),
        ),
        "temperature": 1.0,
        "temperature_fit": TemperatureFit(
            ci_low=None,
            ci_high=None,
            n=0,
            method=None,
            reason=f"each of the {count} models has its own, {temperatures}",
        ),
        "uncertain": _joint_band(infos) if any(bands) else None,
        "limits": DomainLimits(
            limit=0.0,
            deviations=first.limits.deviations,
            images=min(own.images for own in limits),
            reason=f"each of the {count} models by its own; what most of them refuse",
        )
        if limits
        else first.limits,
        "data": first.data.model_copy(
            update={"split_sha256": joint_identity([info.data.split_sha256 for info in infos])}
        ),
        "validation": {},
        "validation_note": f"the mean of {count} models, which no image has tested: each was "
        "trained on images that test another; their own tests are in the cross-validation's report",
    }
    return first.model_copy(update=changed)


def _joint_band(infos: Sequence[BundleInfo]) -> UncertainBand:
    """Average the ends; a model without a band is uncertain of nothing but its threshold."""
    bands = [(b.low, b.high) if (b := info.uncertain) else (info.threshold,) * 2 for info in infos]
    how = next(info.uncertain.how for info in infos if info.uncertain)
    low, high = (fmean(ends) for ends in zip(*bands, strict=True))
    return UncertainBand(low=low, high=high, how=f"{how}; the mean of {len(infos)} models' ranges")
