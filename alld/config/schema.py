"""Define every setting of a run: its type, default and range. Unknown keys are rejected.

`configs/resnet50.yaml` lists them all with the reason for each default; a test compares both.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from alld.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
SplitKind = Literal["grouped", "session", "random", "paper", "blocks", "given"]
Unsharp = Literal["none", "adaptive"]
View = Literal["image", "cell"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Where the images are, what their classes are called, and what the network sees of them."""

    root: Path = Path("data")
    more: list[Path] = []  # further sets; then each one is a domain
    positive: list[str] = []  # folders or labels that mean blast
    healthy: list[str] = []  # folders or labels that mean healthy
    image_size: int = Field(224, ge=32, le=1024)  # pixels; ImageNet weights have seen 224
    view: View = "image"  # cell: outlines and chromatin alone; see alld.cells.view
    crop: int = Field(257, ge=32)  # px, side of the square cut out around a cell of a field
    session_gap: float = Field(8.0, gt=0)  # minutes between two pictures that part sessions

    @field_validator("positive", "healthy", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        """One name stands for a list of one; older settings have null for none."""
        return [] if value is None else [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _names_one_class_each(self) -> Self:
        both = {name.casefold() for name in self.positive} & {n.casefold() for n in self.healthy}
        if both:
            raise ValueError(f"{min(both)} cannot mean blast and healthy: name it once")
        return self


class SplitConfig(_Section):
    """Which images train, validate and test."""

    kind: SplitKind = "grouped"
    seed: int | None = Field(None, ge=0)
    test_fraction: float = Field(0.2, gt=0, lt=1)  # of all images, as in the paper
    valid_fraction: float = Field(0.16, gt=0, lt=1)  # of all images: a fifth of the rest
    block: int = Field(10, ge=1)  # neighbouring images kept together by `blocks`
    groups: Path | None = None  # CSV table path,group that overrules ALLD's
    fields: bool = True  # crops of one field form one group, where it is known
    folds: int | None = Field(None, ge=2)
    fold: int | None = Field(None, ge=1)

    @property
    def joins_fields(self) -> bool:
        """Whether crops of one field form one group: not beside blocks, which all would meet."""
        return self.fields and self.kind != "blocks"

    @model_validator(mode="after")
    def _leaves_training_images(self) -> Self:
        if self.test_fraction + self.valid_fraction >= 1:
            raise ValueError("test_fraction and valid_fraction together must stay below 1")
        return self

    @model_validator(mode="after")
    def _names_one_of_the_folds(self) -> Self:
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold go together: fold 2 of folds 5")
        if self.folds is not None and self.fold is not None:
            if self.fold > self.folds:
                raise ValueError(f"there is no fold {self.fold} among {self.folds}")
            if self.kind in ("paper", "given"):
                whose = "the paper's split" if self.kind == "paper" else "a set's own split"
                raise ValueError(f"{whose} has no folds; use grouped, blocks or random")
        return self


class ModelConfig(_Section):
    """The network, its initial weights, and whether it predicts with test-time augmentation."""

    arch: str = "resnet50"
    pretrained: bool = True
    weights: Path | None = None
    weights_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    tta: bool = False  # average over eight orientations

    @model_validator(mode="after")
    def _hash_needs_file(self) -> Self:
        if self.weights_sha256 is not None and self.weights is None:
            raise ValueError("weights_sha256 is of a file: give weights too")
        return self


class AugmentConfig(_Section):
    """The paper's random transforms, for which it gives no range.

    `unsharp` is not random: it changes every image, in validation and prediction too.
    """

    probability: Fraction = 0.75  # of each transform
    crop_min: float = Field(0.9, gt=0, le=1)  # side of the crop / side of the image
    crop_max: float = Field(1.1, ge=1, le=2)
    rotation: float = Field(180.0, ge=0, le=180)  # degrees
    horizontal_flip: Fraction = 0.5
    vertical_flip: Fraction = 0.5
    shear: float = Field(10.0, ge=0, le=45)  # degrees
    brightness: float = Field(0.2, ge=0, le=1)  # of the full range
    contrast: float = Field(0.2, ge=0, lt=1)  # factors 0.8 to 1.2
    unsharp: Unsharp = "none"


class TrainConfig(_Section):
    """The paper's two-phase one-cycle training."""

    recipe: Literal["paper", "fine_tune"] = "paper"
    frozen_epochs: int = Field(2, ge=0)
    epochs: int = Field(18, ge=0)
    batch_size: int = Field(64, ge=2)
    max_lr: float = Field(1e-3, gt=0, le=1)
    lr_span: float = Field(100.0, ge=1)  # rate of the head / rate of the first layers
    weight_decay: float = Field(0.01, ge=0, lt=1)
    balance: Literal["none", "weights", "sampling"] = "none"
    select: Literal["last", "best"] = "last"

    @model_validator(mode="after")
    def _trains_at_all(self) -> Self:
        if self.frozen_epochs + self.epochs == 0:
            raise ValueError("frozen_epochs and epochs are both 0: nothing would be trained")
        return self


class CalibrateConfig(_Section):
    """What is fitted to the validation images after the last epoch; test images are not used."""

    temperature: bool = True
    threshold: Literal["fixed", "youden", "sensitivity"] = "fixed"
    sensitivity: float = Field(0.95, gt=0, le=1)  # that `threshold: sensitivity` reaches


class AbstainConfig(_Section):
    """When a model abstains; fitted to training and validation images alone."""

    out_of_domain: bool = True
    deviations: float = Field(2.5, gt=0, le=100)  # robust standard deviations above the median
    uncertain: float | None = Field(0.2, gt=0, lt=0.5)  # error rate from which on it abstains


class EvaluateConfig(_Section):
    """How an evaluation computes its metrics."""

    bootstrap_draws: int = Field(2000, ge=100, le=100_000)
    prevalence: float | None = Field(None, gt=0, lt=1)
    background: bool = True
    heat_maps: bool = True


class RuntimeConfig(_Section):
    """The machine; it affects the speed, and the last bits of the weights."""

    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    threads: int | None = Field(None, ge=1)
    workers: int | None = Field(None, ge=1, le=256)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    image_memory: int = Field(4096, ge=0)  # MB; larger sets are decoded in every epoch
    keep_memory: bool = True  # see keep_freed_memory
    log: Literal["none", "tensorboard", "wandb"] = "none"


class Config(_Section):
    """All settings of one run, as config.yaml of its folder keeps them."""

    seed: int = Field(0, ge=0, lt=2**32)
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    calibrate: CalibrateConfig = CalibrateConfig()
    abstain: AbstainConfig = AbstainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @property
    def split_seed(self) -> int:
        """The seed that draws the split: `split.seed`, or the run's own."""
        return self.seed if self.split.seed is None else self.split.seed


def parse_config(settings: Mapping[str, Any], place: str) -> Config:
    """Check nested settings; raise ConfigError, which names `place`, for wrong ones."""
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_explain(error)}") from error


def dump_config(config: Config) -> str:
    """Return settings as YAML that `load_config` reads back to equal settings."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean a or b?` with the known names close to `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f", did you mean {' or '.join(close)}?" if close else ""


def setting_keys() -> list[str]:
    """Return every dotted key, such as `train.max_lr`."""
    keys = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            keys += [f"{name}.{key}" for key in section.model_fields]
        else:
            keys.append(name)
    return keys


def _explain(error: ValidationError) -> str:
    """Return the first fault in one line, with the nearest key for an unknown one."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        close = nearest(key, setting_keys())
        return f"unknown key {key}{close}; configs/resnet50.yaml lists every key"
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    found = "" if isinstance(first["input"], dict) else f", found {first['input']!r}"
    return f"{key}: {message}{found}"
