"""Write a model bundle without any training, in a second."""

from pathlib import Path


def write_untrained(
    folder: Path,
    image_size: int = 32,
    arch: str = "timm:test_resnet",
    synthetic: bool = True,
    crop: int | None = None,
) -> Path:
    """Write random weights, marked as synthetic because they mean nothing."""
    import torch  # here, as processes that tests start import this file too

    from alld.model import bundle_info as facts
    from alld.model.backbones import create_model
    from alld.model.bundle import write_bundle

    torch.manual_seed(0)
    info = facts.BundleInfo(
        arch=arch,
        initial_weights="random",
        image_size=image_size,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        threshold=0.5,
        threshold_choice=facts.ThresholdChoice(how="default", warning=None),
        temperature=1.0,
        temperature_fit=facts.TemperatureFit(
            ci_low=None, ci_high=None, n=0, method=None, reason="nothing was fitted"
        ),
        limits=facts.DomainLimits(limit=None, deviations=2.5, images=0, reason="never trained"),
        uncertain=None,
        data=facts.TrainedOn(
            name="none",
            fingerprint="0" * 64,
            images=1,
            synthetic=synthetic,
            split="none",
            split_seed=0,
            split_sha256="0" * 64,
            groups="none",
            crop=crop,
        ),
        validation={},
        validation_note="never trained",
        versions={},
    )
    write_bundle(folder, create_model(info.arch, pretrained=False), info)
    return folder
