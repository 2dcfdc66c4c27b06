"""The trained model on disk: weights, limits, `alld.json`, and the `SHA256SUMS` over them.

Nothing is parsed before its hash was verified, nothing is unpickled, and a bundle never changes
once it is written. Its identity is the SHA-256 of `SHA256SUMS`.
"""

import json
import stat
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from alld import NOTICE
from alld.config import Unsharp
from alld.data.preprocess import RESIZE_POLICY
from alld.errors import BundleError, ConfigError
from alld.files import new_folder, sha256_hex, write_bytes
from alld.model.abstain import Limits
from alld.model.backbones import Body, create_model
from alld.model.place import no_bundle

WEIGHTS, INFO, SUMS = "model.safetensors", "alld.json", "SHA256SUMS"
LIMITS = "limits.safetensors"  # only in the bundle of a model that has limits
MAX_BYTES = {WEIGHTS: 8 * 2**30, LIMITS: 2**28, INFO: 2**22, SUMS: 2**12}
SCHEMA_VERSION = 3
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainedOn(_Strict):
    """The images behind a model, and how they were divided."""

    name: str
    fingerprint: Sha256
    images: int = Field(ge=1)
    synthetic: bool
    split: str
    split_seed: int
    split_sha256: Sha256
    groups: str


class TemperatureFit(_Strict):
    """Where the temperature comes from: its interval on `n` validation images, or why it is 1."""

    ci_low: float | None
    ci_high: float | None
    n: int = Field(ge=0)
    method: str | None
    reason: str | None


class ThresholdChoice(_Strict):
    """How the threshold was chosen, and what to hold against it."""

    how: str
    warning: str | None


class UncertainBand(_Strict):
    """P(blast) between the two ends is no verdict; `how` says where they are from."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    how: str


class DomainLimits(_Strict):
    """A picture that scores above `limit` is out of domain; see `model.abstain` for the score.

    The limit lies `deviations` robust standard deviations above the median of `images` validation
    images. Without one there is the reason.
    """

    limit: float | None
    deviations: float = Field(gt=0)
    images: int = Field(ge=0)
    reason: str | None


class BundleInfo(_Strict):
    """Everything about a model but its tensors; the content of `alld.json`."""

    schema_version: Literal[3] = 3
    arch: str
    initial_weights: str
    classes: tuple[Literal["healthy"], Literal["blast"]] = ("healthy", "blast")
    image_size: int = Field(ge=32, le=1024)
    resize: str = RESIZE_POLICY
    mean: tuple[float, ...] = Field(min_length=3, max_length=3)
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=3, max_length=3)
    threshold: float = Field(ge=0, le=1)
    threshold_choice: ThresholdChoice
    temperature: float = Field(gt=0)
    temperature_fit: TemperatureFit
    tta: bool = False
    unsharp: Unsharp = "none"
    limits: DomainLimits
    uncertain: UncertainBand | None
    data: TrainedOn
    validation: dict[str, dict[str, Any]]
    validation_note: str
    versions: dict[str, str]
    notice: str = NOTICE

    @property
    def preparation(self) -> str:
        """In words, what is done to a decoded image before it is normalised."""
        return (
            self.resize if self.unsharp == "none" else f"{self.unsharp} unsharping, {self.resize}"
        )

    @field_validator("resize")
    @classmethod
    def _known_resize(cls, policy: str) -> str:
        if policy != RESIZE_POLICY:
            raise ValueError(f"this ALLD resizes by {RESIZE_POLICY!r}, found {policy!r}")
        return policy


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: facts, network in evaluation mode, identity (64 hex digits)."""

    path: Path
    info: BundleInfo
    model: nn.Sequential
    identity: str
    limits: Limits | None = None


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
    sums = "".join(f"{sha256_hex(data)}  {name}\n" for name, data in sorted(contents.items()))
    with new_folder(path) as folder:
        for name, data in {**contents, SUMS: sums.encode()}.items():
            write_bytes(folder / name, data)
    return sha256_hex(sums.encode())


def read_bundle(path: Path, required: str | None = None) -> Bundle:
    """Verify a bundle and build its network.

    Args:
        path: the bundle's folder.
        required: the identity that it must have, compared before anything else is read.

    Raises:
        BundleError: files missing, altered or added, facts this version does not understand, or
            another model than the required one.
    """
    contents, identity = _verified_contents(path, required)
    info = _parse_info(path, contents[INFO])
    try:
        model = create_model(info.arch, pretrained=False)
    except ConfigError as error:
        raise BundleError(f"{path / INFO}: {error}") from error
    _load_weights(path, model, contents[WEIGHTS])
    limits = _load_limits(path, info, contents.get(LIMITS), model)
    return Bundle(path, info, model.eval(), identity, limits)


def bundle_identity(path: Path) -> str:
    """The identity of a bundle without reading its weights."""
    return sha256_hex(_read(path / SUMS))


def read_info(path: Path) -> BundleInfo:
    """The facts of a bundle without its weights, verified against `SHA256SUMS`."""
    data = _read(path / INFO)
    if _parse_sums(path, _read(path / SUMS))[INFO] != sha256_hex(data):
        raise BundleError(_altered(path / INFO))
    return _parse_info(path, data)


def library_versions() -> dict[str, str]:
    """The versions that made a model or a run, by distribution name."""
    names = ("alld", "torch", "torchvision", "timm", "fastai", "numpy", "pillow", "safetensors")
    return {"python": python_version(), **{name: metadata.version(name) for name in names}}


def _verified_contents(path: Path, required: str | None) -> tuple[dict[str, bytes], str]:
    if not path.is_dir():
        raise no_bundle(path)
    present = {entry.name for entry in path.iterdir()}
    expected = {WEIGHTS, INFO, SUMS}
    if present - {LIMITS} != expected:
        odd = sorted((present - {LIMITS}) ^ expected)[0]
        what = "is missing" if odd in expected else "does not belong there"
        raise BundleError(f"{path}: {odd} {what}; a bundle holds {', '.join(sorted(expected))}")
    sums_data = _read(path / SUMS)
    identity = sha256_hex(sums_data)
    if required is not None and identity != required:
        raise BundleError(f"{path}: is model {identity}, not the required {required}")
    sums = _parse_sums(path, sums_data)
    if sums.keys() != present - {SUMS}:
        odd = sorted(sums.keys() ^ (present - {SUMS}))[0]
        raise BundleError(f"{path}: {odd} is not as {SUMS} says; copy the bundle anew")
    contents = {name: _read(path / name) for name in sums}
    for name, data in contents.items():
        if sha256_hex(data) != sums[name]:
            raise BundleError(_altered(path / name))
    return contents, identity


def _altered(file: Path) -> str:
    return (
        f"{file}: not what was written after training (its SHA-256 differs); copy the bundle anew"
    )


def _read(file: Path) -> bytes:
    most = MAX_BYTES[file.name]
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{file}: not a regular file; a bundle holds no links")
        with file.open("rb") as opened:
            data = opened.read(most + 1) if status.st_size <= most else b""
        if max(len(data), status.st_size) > most:
            raise BundleError(f"{file}: larger than {most} bytes; copy the bundle anew")
        return data
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "too large for the memory"
        raise BundleError(f"{file}: cannot be read: {reason}") from error


def _parse_sums(path: Path, data: bytes) -> dict[str, str]:
    try:
        pairs = [line.split("  ") for line in data.decode("ascii").splitlines()]
        sums = {name: sha256 for sha256, name in pairs}
    except ValueError as error:
        raise BundleError(_altered(path / SUMS)) from error
    if set(sums) - {LIMITS} != {WEIGHTS, INFO} or len(pairs) != len(sums):
        raise BundleError(_altered(path / SUMS))
    return sums


def _parse_info(path: Path, data: bytes) -> BundleInfo:
    try:
        content = json.loads(data)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{path / INFO}: schema version {version!r}; this ALLD reads {SCHEMA_VERSION}; "
                "train the model anew, or install the version that wrote it"
            )
        return BundleInfo.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{path / INFO}: {place}: {first['msg']}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{path / INFO}: not the JSON of a bundle") from error


def _load_weights(path: Path, model: nn.Module, data: bytes) -> None:
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(data)
        # torch fills in a batch norm's missing counter by itself: compare the names here.
        if tensors.keys() != model.state_dict().keys():
            odd = sorted(tensors.keys() ^ model.state_dict().keys())[0]
            raise ValueError(f"tensor {odd} is missing or unknown")
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"tensor {name} is not finite")
        model.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise BundleError(f"{path / WEIGHTS}: does not fit the model: {first_line}") from error


def _load_limits(
    path: Path, info: BundleInfo, data: bytes | None, model: nn.Sequential
) -> Limits | None:
    limit = info.limits.limit
    if (data is None) != (limit is None):
        raise BundleError(f"{path}: {LIMITS} and the limit in {INFO} do not go together")
    if data is None or limit is None:
        return None
    try:
        limits = Limits.from_arrays(load_arrays(data), limit)
        body = model[0]
        assert isinstance(body, Body)
        features = 2 * body.channels  # maximum and mean of each
        if limits.reference.shape[1] != features:
            raise ValueError(f"reference has {limits.reference.shape[1]} features, not {features}")
    except (SafetensorError, KeyError, ValueError) as error:
        first_line = str(error).splitlines()[0]
        raise BundleError(f"{path / LIMITS}: does not fit the model: {first_line}") from error
    return limits
