"""The facts of a model on disk, and the checks that every file format of a model shares."""

import json
import stat
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays

from alld import NOTICE
from alld.cells.view import VIEW_POLICY
from alld.data.preprocess import RESIZE_POLICY
from alld.errors import BundleError
from alld.model.abstain import Limits
from alld.runtime.files import one_line

INFO, LIMITS = "alld.json", "limits.safetensors"
SCHEMA_VERSION = 3
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Facts that are read back: unknown keys, NaN and infinity are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainedOn(Strict):
    """The images that a model was trained on, and how they were split."""

    name: str
    fingerprint: Sha256
    images: int = Field(ge=1)
    synthetic: bool
    split: str
    split_seed: int
    split_sha256: Sha256
    groups: str
    crop: int | None = Field(None, ge=1)  # px of a field cut out around a cell; None: not by ALLD


class TemperatureFit(Strict):
    """The interval of the temperature, fitted on `n` validation images, or why it is 1."""

    ci_low: float | None
    ci_high: float | None
    n: int = Field(ge=0)
    method: str | None
    reason: str | None


class ThresholdChoice(Strict):
    """How the threshold was chosen, and a warning about that choice, if any."""

    how: str
    warning: str | None


class UncertainBand(Strict):
    """P(blast) between `low` and `high` gives no verdict; `how` says how they were chosen."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    how: str


class DomainLimits(Strict):
    """A picture that scores above `limit` is out of domain; see `model.abstain` for the score.

    The limit lies `deviations` robust standard deviations above the median of `images` validation
    images. `reason` says why there is none.
    """

    limit: float | None
    deviations: float = Field(gt=0)
    images: int = Field(ge=0)
    reason: str | None


class BundleInfo(Strict):
    """Everything about a model but its tensors; the content of `alld.json`."""

    schema_version: Literal[3] = 3
    arch: str
    initial_weights: str
    classes: tuple[Literal["healthy"], Literal["blast"]] = ("healthy", "blast")
    image_size: int = Field(ge=32, le=1024)
    resize: str = RESIZE_POLICY
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=3, max_length=3)
    std: tuple[Annotated[float, Field(ge=1e-3, le=1)], ...] = Field(min_length=3, max_length=3)
    threshold: float = Field(ge=0, le=1)
    threshold_choice: ThresholdChoice
    temperature: float = Field(ge=1e-2, le=1e2)
    temperature_fit: TemperatureFit
    tta: bool = False
    unsharp: Literal["none", "adaptive"] = "none"  # as in alld.config.schema, which is slow to load
    view: Literal["image", "cell"] = "image"  # likewise
    limits: DomainLimits
    uncertain: UncertainBand | None
    data: TrainedOn
    validation: dict[str, dict[str, Any]]
    validation_note: str
    versions: dict[str, str]
    notice: str = NOTICE

    @property
    def preparation(self) -> str:
        """Describe what is done to a decoded image before it is normalised."""
        unsharping = "" if self.unsharp == "none" else f"{self.unsharp} unsharping, "
        drawing = "" if self.view == "image" else f", {VIEW_POLICY}"
        return unsharping + self.resize + drawing

    @field_validator("resize")
    @classmethod
    def _known_resize(cls, policy: str) -> str:
        if policy != RESIZE_POLICY:
            raise ValueError(f"this ALLD resizes by {RESIZE_POLICY!r}, found {policy!r}")
        return policy


Facts = TypeVar("Facts", bound=Strict)


def parse_info(place: Path | str, data: bytes) -> BundleInfo:
    """Parse the bytes of `alld.json`; see `parse_facts`."""
    return parse_facts(place, data, BundleInfo, SCHEMA_VERSION)


def parse_facts(place: Path | str, data: bytes, kind: type[Facts], version: int) -> Facts:
    """Parse facts from strict JSON; errors name `place`.

    Raises:
        BundleError: not JSON, another schema version, a key that is unknown, missing or repeated,
            or a value out of range.
    """
    try:
        content = json.loads(data, object_pairs_hook=_unique)
        found = content.get("schema_version")
        if found != version:
            raise BundleError(
                f"{place}: schema version {found!r}; this ALLD reads {version}; "
                "train the model anew, or install the version that wrote it"
            )
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(str(part) for part in first["loc"]))
        raise BundleError(f"{place}: {key}: {first['msg']}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{place}: not the JSON of a model") from error


def parse_limits(place: Path, data: bytes | None, info: BundleInfo, features: int) -> Limits | None:
    """Parse the arrays of a model's limits, or return None for a model without limits.

    Args:
        data: in the format of safetensors.
        features: how many the network has.

    Raises:
        BundleError: they do not fit the facts or the network.
    """
    limit = info.limits.limit
    if (data is None) != (limit is None):
        raise BundleError(f"{place}: {LIMITS} and the limit in {INFO} do not go together")
    if data is None or limit is None:
        return None
    try:
        limits = Limits.from_arrays(load_arrays(data), limit)
        if limits.reference.shape[1] != features:
            raise ValueError(f"reference has {limits.reference.shape[1]} features, not {features}")
        return limits
    except (SafetensorError, KeyError, ValueError) as error:
        reason = one_line(str(error).splitlines()[0])
        raise BundleError(f"{place}: {LIMITS}: does not fit the model: {reason}") from error


def read_whole(file: Path, most: int, *, follow_links: bool = False) -> bytes:
    """Read a regular file of at most `most` bytes; raise BundleError for anything else."""
    try:
        status = file.stat() if follow_links else file.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{file}: not a regular file{'' if follow_links else ', or a link'}")
        with file.open("rb") as opened:
            data = opened.read(most + 1) if status.st_size <= most else b""
        if max(len(data), status.st_size) > most:
            raise BundleError(f"{file}: larger than {most} bytes; copy the model anew")
        return data
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "too large for the memory"
        raise BundleError(f"{file}: cannot be read: {reason}") from error


def check_identity(path: Path, identity: str, required: str | None) -> None:
    """Raise BundleError for another model than the required one."""
    if required not in (None, identity):
        raise BundleError(f"{path}: is model {identity}, not the required {required}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject a repeated key: a person would read the first value, and the program the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content
