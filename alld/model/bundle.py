"""The trained model on disk: weights, limits, `alld.json`, and the `SHA256SUMS` over them.

A member is parsed only after its hash was verified, nothing is unpickled, and a bundle never
changes once it is written. Its identity is the SHA-256 of `SHA256SUMS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version

import torch
from safetensors import SafetensorError
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from alld.errors import BundleError, ConfigError
from alld.model.abstain import Limits
from alld.model.backbones import Body, create_model
from alld.model.bundle_info import (
    INFO,
    LIMITS,
    BundleInfo,
    check_identity,
    parse_info,
    parse_limits,
    read_whole,
)
from alld.model.place import no_bundle
from alld.runtime.files import new_folder, one_line, sha256_hex, sums_of, write_bytes

WEIGHTS, SUMS = "model.safetensors", "SHA256SUMS"
MAX_BYTES = {LIMITS: 2**28, INFO: 2**22, SUMS: 2**12}
MAX_HEADER_BYTES = 2**24  # of the weights, beside their tensors

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: facts, network in evaluation mode, identity (64 hex digits)."""

    path: Path
    info: BundleInfo
    model: nn.Sequential
    identity: str
    limits: Limits | None = None  # of the pictures that the model can predict


def write_bundle(
    path: Path, model: nn.Module, info: BundleInfo, limits: Limits | None = None
) -> str:
    """Write a bundle folder in one step and return its identity."""
    # safetensors refuses channels_last tensors.
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    contents = {
        WEIGHTS: save_tensors(tensors),
        INFO: (info.model_dump_json(indent=2) + "\n").encode(),
    }
    if limits is not None:
        contents[LIMITS] = save_arrays(limits.arrays())
    sums = sums_of(contents).encode()
    with new_folder(path) as folder:
        for name, data in {**contents, SUMS: sums}.items():
            write_bytes(folder / name, data)
    return sha256_hex(sums)


def read_bundle(path: Path, required: str | None = None) -> Bundle:
    """Verify a bundle and build its network.

    Args:
        path: the bundle's folder.
        required: the identity that it must have, compared before anything else is read.

    Raises:
        BundleError: files missing, altered or added, facts that this version does not understand,
            or another model than the required one.
    """
    sums, identity = _verified_sums(path, required)
    info = parse_info(path / INFO, _verified(path / INFO, sums))
    empty = _empty_model(path / INFO, info)
    most = sum(tensor.numel() * tensor.element_size() for tensor in empty.state_dict().values())
    weights = _verified(path / WEIGHTS, sums, most + MAX_HEADER_BYTES)
    model = _with_weights(path / WEIGHTS, empty, info, weights).eval()
    body = model[0]
    assert isinstance(body, Body)
    features = 2 * body.channels  # the head pools the maximum and the mean of each
    arrays = _verified(path / LIMITS, sums) if LIMITS in sums else None
    return Bundle(path, info, model, identity, parse_limits(path, arrays, info, features))


def bundle_identity(path: Path) -> str:
    """Return the identity of a bundle without reading its weights."""
    return sha256_hex(_read(path / SUMS))


def read_info(path: Path) -> BundleInfo:
    """Return the facts of a bundle, verified against `SHA256SUMS`, without reading its weights."""
    sums = _parse_sums(path / SUMS, _read(path / SUMS))
    return parse_info(path / INFO, _verified(path / INFO, sums))


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the main packages, by distribution name."""
    names = ("alld", "torch", "torchvision", "timm", "fastai", "numpy", "pillow", "safetensors")
    return {"python": python_version(), **{name: metadata.version(name) for name in names}}


def _verified_sums(path: Path, required: str | None) -> tuple[dict[str, str], str]:
    """Return the SHA-256 of every member by its name, and the identity of the bundle."""
    if not path.is_dir():
        raise no_bundle(path)
    present = {entry.name for entry in path.iterdir()}
    expected = {WEIGHTS, INFO, SUMS}
    if present - {LIMITS} != expected:
        odd = sorted((present - {LIMITS}) ^ expected)[0]
        what = "is missing" if odd in expected else "does not belong there"
        raise BundleError(
            f"{path}: {one_line(odd)} {what}; a bundle holds {', '.join(sorted(expected))}"
        )
    data = _read(path / SUMS)
    identity = sha256_hex(data)
    check_identity(path, identity, required)
    sums = _parse_sums(path / SUMS, data)
    if sums.keys() != present - {SUMS}:
        odd = sorted(sums.keys() ^ (present - {SUMS}))[0]
        raise BundleError(f"{path}: {odd} is not both there and in {SUMS}; copy the bundle anew")
    return sums, identity


def _parse_sums(file: Path, data: bytes) -> dict[str, str]:
    try:
        pairs = [line.split("  ") for line in data.decode("ascii").splitlines()]
        sums = {name: sha256 for sha256, name in pairs}
    except ValueError as error:
        raise _altered(file) from error
    if set(sums) - {LIMITS} != {WEIGHTS, INFO} or len(pairs) != len(sums):
        raise _altered(file)
    return sums


def _verified(file: Path, sums: Mapping[str, str], most: int | None = None) -> bytes:
    data = _read(file, most)
    if sha256_hex(data) != sums[file.name]:
        raise _altered(file)
    return data


def _read(file: Path, most: int | None = None) -> bytes:
    return read_whole(file, MAX_BYTES[file.name] if most is None else most)


def _altered(file: Path) -> BundleError:
    return BundleError(
        f"{file}: not what was written after training (its SHA-256 differs); copy the bundle anew"
    )


def _empty_model(file: Path, info: BundleInfo) -> nn.Sequential:
    """Build the network without memory for its tensors: a bundle may name one that is too large."""
    try:
        with torch.device("meta"):
            return create_model(info.arch, pretrained=False)
    except ConfigError as error:
        raise BundleError(f"{file}: {error}") from error


def _with_weights(file: Path, empty: nn.Sequential, info: BundleInfo, data: bytes) -> nn.Sequential:
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(data)
        _check_tensors(tensors, empty.state_dict())
    except (SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BundleError(f"{file}: does not fit the model: {reason}") from error
    empty.load_state_dict(tensors, assign=True)
    if not any(tensor.is_meta for tensor in empty.buffers()):
        return empty
    model = create_model(info.arch, pretrained=False)  # it computes tensors that no file holds
    model.load_state_dict(tensors)
    return model


def _check_tensors(tensors: Tensors, wanted: Tensors) -> None:
    if tensors.keys() != wanted.keys():
        odd = sorted(tensors.keys() ^ wanted.keys())[0]
        raise ValueError(f"tensor {one_line(odd)} is missing or unknown")
    for name, tensor in tensors.items():
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            found = f"{list(tensor.shape)} of {tensor.dtype}"
            raise ValueError(f"tensor {name} is {found}, not {list(like.shape)} of {like.dtype}")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} is not finite")
