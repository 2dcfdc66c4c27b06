"""Fold batch norm into the convolution before it, for faster predictions.

A folded network computes the same function, but can no longer be trained or saved.
"""

import copy

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4  # of logits; folding changes them by some 1e-6


def fold_batch_norm(model: nn.Sequential, image_size: int) -> nn.Sequential:
    """Return a copy of `model`, in evaluation mode, with batch norm folded.

    It is assumed that a batch norm follows the convolution registered right before it, as in
    ResNet, VGG and timm's networks. Where the logits of a noise image differ, `model` is returned.
    """
    model = model.eval()
    folded = copy.deepcopy(model)
    if not _fold_all(folded):
        return model
    noise = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        same = torch.allclose(folded(noise), model(noise), rtol=TOLERANCE, atol=TOLERANCE)
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
