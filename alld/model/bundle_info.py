"""What a bundle says of its model: the strict schema of `alld.json`."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from alld import NOTICE
from alld.data.preprocess import RESIZE_POLICY
from alld.errors import BundleError
from alld.runtime.files import one_line

SCHEMA_VERSION = 3
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Facts that are read back: no key too many, no number that is none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TrainedOn(Strict):
    """The images behind a model, and how they were divided."""

    name: str
    fingerprint: Sha256
    images: int = Field(ge=1)
    synthetic: bool
    split: str
    split_seed: int
    split_sha256: Sha256
    groups: str


class TemperatureFit(Strict):
    """Where the temperature comes from: its interval on `n` validation images, or why it is 1."""

    ci_low: float | None
    ci_high: float | None
    n: int = Field(ge=0)
    method: str | None
    reason: str | None


class ThresholdChoice(Strict):
    """How the threshold was chosen, and what to hold against it."""

    how: str
    warning: str | None


class UncertainBand(Strict):
    """P(blast) between the two ends is no verdict; `how` says where they are from."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    how: str


class DomainLimits(Strict):
    """A picture that scores above `limit` is out of domain; see `model.abstain` for the score.

    The limit lies `deviations` robust standard deviations above the median of `images` validation
    images. Without one there is the reason.
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
    unsharp: Literal["none", "adaptive"] = (
        "none"  # of alld.config.schema, whose import takes a while
    )
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


Facts = TypeVar("Facts", bound=Strict)


def parse_info(place: Path | str, data: bytes) -> BundleInfo:
    """The facts in the bytes of `alld.json`.

    Raises:
        BundleError: no such JSON, another version, a key too many, too few or twice, a value out of
            range.
    """
    return parse_facts(place, data, BundleInfo, SCHEMA_VERSION)


def parse_facts(place: Path | str, data: bytes, kind: type[Facts], version: int) -> Facts:
    """The facts of that kind in strict JSON; `place` is where it stood, for errors like those of
    `parse_info`."""
    try:
        content = json.loads(data, object_pairs_hook=_once)
        seen = content.get("schema_version")
        if seen != version:
            raise BundleError(
                f"{place}: schema version {seen!r}; this ALLD reads {version}; "
                "train the model anew, or install the version that wrote it"
            )
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(str(part) for part in first["loc"]))
        raise BundleError(f"{place}: {key}: {first['msg']}") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise BundleError(f"{place}: not the JSON of a model") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A reader of the file would see the first of two equal keys, and the program the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands there twice")
    return content
