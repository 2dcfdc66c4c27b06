"""The options that become settings of a training, and the settings they make."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alld.errors import ConfigError

if TYPE_CHECKING:
    from alld.config.schema import Config

SETTINGS = "Settings"


class SplitKind(StrEnum):
    """What `--split` may say."""

    grouped = "grouped"
    random = "random"
    paper = "paper"
    blocks = "blocks"


class Tracker(StrEnum):
    """What `--log` may say."""

    tensorboard = "tensorboard"
    wandb = "wandb"


def complete_arch(incomplete: str) -> list[str]:
    """The architectures' names that begin so, for the shell's tab key."""
    from alld.model.architectures import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def complete_config(incomplete: str) -> list[str]:
    """The shipped configurations that begin so."""
    from alld.config.files import shipped_configs

    return [name for name in shipped_configs() if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """The dotted keys that begin so, up to their equals sign."""
    from alld.config.schema import setting_keys

    return [f"{key}=" for key in setting_keys() if key.startswith(incomplete)]


ArchOption = Annotated[
    str | None,
    typer.Option(
        help="Network; `alld models` lists them (default: resnet50).",
        autocompletion=complete_arch,
    ),
]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        help="Epochs with all layers (18 in the paper's recipe).", rich_help_panel=SETTINGS
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(help="Images a step (64 in the paper's recipe).", rich_help_panel=SETTINGS),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="Highest learning rate (1e-3 in the paper's recipe).", rich_help_panel=SETTINGS
    ),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels of the network's input (default: 224).", rich_help_panel=SETTINGS
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(help="Start from this .safetensors or .pth file.", rich_help_panel=SETTINGS),
]
GroupsOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV table path,group: which images belong together.", rich_help_panel=SETTINGS
    ),
]
PositiveOption = Annotated[
    str | None,
    typer.Option(
        help="Folder or label that means blast, in a set with names of its own.",
        rich_help_panel=SETTINGS,
    ),
]
PretrainedOption = Annotated[
    bool | None,
    typer.Option(
        "--pretrained/--no-pretrained",
        help="Start from ImageNet weights, or from random ones.",
        rich_help_panel=SETTINGS,
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        help="YAML file, or the name of a shipped one such as quick.",
        rich_help_panel=SETTINGS,
        autocompletion=complete_config,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting; may be repeated.",
        rich_help_panel=SETTINGS,
        autocompletion=complete_setting,
    ),
]


InexactOption = Annotated[
    bool,
    typer.Option(
        "--allow-inexact",
        help="With --resume: go on with other versions, threads or settings; it is recorded.",
    ),
]
LogOption = Annotated[
    Tracker | None,
    typer.Option(
        "--log",
        help="Log losses and rates: tensorboard into RUN/tensorboard, or wandb.",
        rich_help_panel=SETTINGS,
    ),
]
TtaOption = Annotated[
    bool | None,
    typer.Option(
        "--tta/--no-tta",
        help="Judge each image in its eight orientations and average: eight times the work.",
    ),
]


def read_settings(
    file: str | None, assignments: list[str] | None, given: Mapping[str, Any]
) -> "Config":
    """The settings of a training; `given` has dotted keys, and None for an option left out.

    What is known at once is said here, before fastai is imported, which takes seconds.

    Raises:
        ConfigError, DataError: an unknown key, value or network, or no data at that place.
    """
    from alld.config.files import load_config
    from alld.data.sources.find import check_place
    from alld.model.architectures import check_arch

    config = load_config(file, assignments or [], asked(given))
    check_arch(config.model.arch)
    check_place(config.data)
    return config


def check_inexact(allowed: bool) -> None:
    """A new training has nothing to differ from."""
    if allowed:
        raise ConfigError("--allow-inexact goes with --resume")


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the user gave."""
    return {key: value for key, value in given.items() if value is not None}
