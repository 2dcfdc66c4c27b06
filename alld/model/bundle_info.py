"""What a bundle says of its model: the strict schema of `alld.json`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alld import NOTICE
from alld.config import Unsharp
from alld.data.preprocess import RESIZE_POLICY
from alld.errors import BundleError
from alld.files import one_line

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
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=3, max_length=3)
    std: tuple[Annotated[float, Field(ge=1e-3, le=1)], ...] = Field(min_length=3, max_length=3)
    threshold: float = Field(ge=0, le=1)
    threshold_choice: ThresholdChoice
    temperature: float = Field(ge=1e-2, le=1e2)
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


def parse_info(file: Path, data: bytes) -> BundleInfo:
    """The facts in the bytes of `alld.json`.

    Raises:
        BundleError: no such JSON, another version, a key too many, too few or twice, a value out of
            range.
    """
    try:
        content = json.loads(data, object_pairs_hook=_once)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{file}: schema version {version!r}; this ALLD reads {SCHEMA_VERSION}; "
                "train the model anew, or install the version that wrote it"
            )
        return BundleInfo.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = one_line(".".join(str(part) for part in first["loc"]))
        raise BundleError(f"{file}: {place}: {first['msg']}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{file}: not the JSON of a bundle") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A reader of the file would see the first of two equal keys, and the program the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content
