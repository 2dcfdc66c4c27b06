"""Compute a bundle's network with torch, upright or in all eight orientations."""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alld.model.bundle import Bundle, bundle_identity, read_bundle
from alld.model.bundle_info import check_identity
from alld.model.joint import join, joint_identity
from alld.model.network import ORIENTATIONS, Features, Images, Logits, Model, Network
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.runtime.threads import usable_cores

_POOLED = 2  # layers of the head that only pool: see `create_head`
_TOLERANCE = 1e-4  # of logits; folding changes them by some 1e-6


def load_bundles(
    path: Path,
    places: Sequence[Path],
    device: str = "auto",
    threads: int | None = None,
    required: str | None = None,
) -> Model:
    """Load one bundle, or the mean of several below `path`; see `alld.inference.load`."""
    bundles = read_bundles(path, places, required)
    network = TorchNetwork(
        [one.model for one in bundles], bundles[0].info.image_size, device, threads
    )
    return join_bundles(path, bundles, network)


def read_bundles(path: Path, places: Sequence[Path], required: str | None = None) -> list[Bundle]:
    """Verify one bundle, or those at `path`; `required` is compared before anything is parsed."""
    if len(places) == 1:
        return [read_bundle(places[0], required)]
    identities = list(map(bundle_identity, places))
    check_identity(path, joint_identity(identities), required)
    return list(map(read_bundle, places, identities))


def join_bundles(path: Path, bundles: Sequence[Bundle], network: Network) -> Model:
    """Return the model of one bundle, or the mean of those at `path`."""
    place = bundles[0].path if len(bundles) == 1 else path
    identity = joint_identity([bundle.identity for bundle in bundles])
    members = [(bundle.info, bundle.limits) for bundle in bundles]
    return join(place, members, identity, network)


class TorchNetwork:
    """Models of Sequential(body, head), batch norm folded, on a device; a `Network`."""

    def __init__(
        self,
        models: Sequence[nn.Sequential],
        image_size: int,
        device: str = "auto",
        threads: int | None = None,
    ) -> None:
        self._device = resolve_device(device)
        keep_freed_memory()
        self.device = str(self._device)
        self._on_cpu = self._device.type == "cpu"
        self.threads = set_threads(threads) if self._on_cpu else threads or usable_cores()
        folded = [fold_batch_norm(model, image_size) for model in models]
        self._models = [
            model.to(self._device).to(memory_format=torch.channels_last) for model in folded
        ]

    def look(self, images: Images, *, tta: bool) -> tuple[Features, Logits]:
        with torch.inference_mode():
            features, logits = joint_features_and_logits(self._models, self._batch(images), tta=tta)
        return features.float().cpu().numpy(), logits.double().cpu().numpy()

    def evidence(self, images: Images, *, tta: bool) -> NDArray[np.float32]:
        from alld.model.explain import evidence  # captum, which plain predictions do without

        batch = self._batch(images)
        found = [evidence(model, batch, tta=tta).float() for model in self._models]
        return torch.stack(found).mean(dim=0).cpu().numpy()

    @contextmanager
    def workers(self) -> Iterator[ThreadPoolExecutor]:
        alone = (lambda: torch.set_num_threads(1)) if self._on_cpu else None
        pool = ThreadPoolExecutor(self.threads, "alld-predict", initializer=alone)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(self.threads)

    def _batch(self, images: Images) -> Tensor:
        batch = torch.from_numpy(images).to(self._device)
        return batch.to(memory_format=torch.channels_last)


def features_and_logits(
    model: nn.Sequential, images: Tensor, *, tta: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the pooled features of images, (B, 2 * channels), and their logits, (B, 2).

    Args:
        model: Sequential(body, head) of `create_model`.
        images: (B, 3, S, S), normalised.
        tta: return the mean logits over four quarter turns, each plain and mirrored, at eight
            times the cost; a blood cell has no upright orientation. The features stay those of the
            upright image.
    """
    features, total = _look(model, images)
    if not tta:
        return features, total
    for orientation in range(1, ORIENTATIONS):
        total = total + _look(model, turned(images, orientation))[1]
    return features, total / ORIENTATIONS


def joint_features_and_logits(
    models: Sequence[nn.Sequential], images: Tensor, *, tta: bool = False
) -> tuple[Tensor, Tensor]:
    """Return what `features_and_logits` does of each model, side by side: (B, models * n)."""
    found = [features_and_logits(model, images, tta=tta) for model in models]
    features, logits = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return features, logits


def _look(model: nn.Sequential, images: Tensor) -> tuple[Tensor, Tensor]:
    body, head = model
    assert isinstance(head, nn.Sequential)
    features: Tensor = head[:_POOLED](body(images))
    logits: Tensor = head[_POOLED:](features)
    return features, logits


def turned(images: Tensor, orientation: int) -> Tensor:
    """Turn (B, C, S, S) to an orientation, 0 (upright) to 7, with channels last in memory."""
    quarters, mirrored = divmod(orientation, 2)
    view = torch.rot90(images, quarters, dims=(2, 3))
    view = view.flip(3) if mirrored else view
    return view.contiguous(memory_format=torch.channels_last)


def turned_back(maps: Tensor, orientation: int) -> Tensor:
    """Turn maps (B, h, w) of images in that orientation upright again."""
    quarters, mirrored = divmod(orientation, 2)
    upright = maps.flip(2) if mirrored else maps
    return torch.rot90(upright, -quarters, dims=(1, 2))


def fold_batch_norm(model: nn.Sequential, image_size: int) -> nn.Sequential:
    """Return a copy of `model`, in evaluation mode, that predicts faster.

    Each batch norm is folded into the convolution before it, so the copy can no longer be trained
    or saved. It is assumed that a batch norm follows the convolution registered right before it, as
    in ResNet, VGG and timm's networks. Where the logits of a noise image differ, `model` is
    returned.
    """
    model = model.eval()
    folded = copy.deepcopy(model)
    if not _fold_all(folded):
        return model
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        same = torch.allclose(folded(noise), model(noise), rtol=_TOLERANCE, atol=_TOLERANCE)
    return folded if same else model


def _fold_all(model: nn.Module) -> int:
    """Fold every pair in place and return their number."""
    pairs = 0
    before: nn.Module | None = None
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and _fits(before, module):
            _fold(before, module)  # type: ignore[arg-type]
            activation = getattr(module, "act", None)  # timm's batch norm holds the one after it
            remains = activation if isinstance(activation, nn.Module) else nn.Identity()
            model.set_submodule(name, remains)
            pairs += 1
        if not list(module.children()) and not isinstance(module, nn.Identity):
            before = module
    return pairs


def _fits(before: nn.Module | None, norm: nn.BatchNorm2d) -> bool:
    return (
        isinstance(before, nn.Conv2d)
        and before.out_channels == norm.num_features
        and norm.running_mean is not None
    )


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """w' = w · γ/σ and b' = (b - μ) · γ/σ + β, in double precision."""
    mean, variance = _double(norm.running_mean), _double(norm.running_var)
    scale = (variance + norm.eps).rsqrt()
    shift = torch.zeros_like(mean)
    if norm.affine:
        scale, shift = scale * _double(norm.weight), _double(norm.bias)
    bias = torch.zeros_like(mean) if convolution.bias is None else _double(convolution.bias)
    weight = convolution.weight
    folded = _double(weight) * scale[:, None, None, None]
    convolution.weight = nn.Parameter(folded.to(weight.dtype), requires_grad=False)
    offset = (bias - mean) * scale + shift
    convolution.bias = nn.Parameter(offset.to(weight.dtype), requires_grad=False)


def _double(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().double()
