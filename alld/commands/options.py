"""The options of the commands: one table of settings, and options that several commands share."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from alld import display
from alld.config.files import load_config, shipped_configs
from alld.config.schema import Config, setting_keys
from alld.errors import ConfigError
from alld.runtime.launch import launched
from alld.runtime.threads import usable_cores

if TYPE_CHECKING:
    from alld.runtime.cluster import Cluster

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print more details.", callback=display.set_verbose)
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Run, bundle, .onnx, cross-validation, whose models are averaged, or an address: "
        "hf://owner/name[@revision] or https://host/folder, with @sha256:HEX pinned to an identity "
        "(default: the newest run on real data in ./runs).",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", show_default=True)
]
TtaOption = Annotated[
    bool | None,
    typer.Option(
        "--tta/--no-tta",
        help="Average the predictions for the eight orientations of each image; takes eight times "
        "as long (default: as the model was calibrated).",
    ),
]
InexactOption = Annotated[
    bool,
    typer.Option(
        "--allow-inexact",
        help="With --resume: continue even if versions, threads or settings have changed; the run "
        "records the change.",
    ),
]


class Engine(StrEnum):
    """The values of `--engine`."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine,
    typer.Option(help="Where to do the work: on this machine, or in tasks on a Ray cluster."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Address of the cluster's head, or auto (default: a cluster of this machine alone).",
    ),
]
PositiveOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Folder or label that means blast; repeatable."),
]
HealthyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Folder or label that means healthy; repeatable."),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="GPUs per cluster task; at 0.5 two tasks share one (default: 1 if there are any).",
    ),
]


class Setting(NamedTuple):
    """An option for one setting; `config/schema.py` has its type and default."""

    key: str
    help: str
    panel: str | None = None


_MORE = "Settings"
# Each option by its name.
SETTINGS = {
    "arch": Setting("model.arch", "Network; `alld models` lists them"),
    "data": Setting(
        "data.root",
        "Folder or CSV table of labelled images, or of fields with marked cells; repeatable, each "
        "is a domain",
    ),
    "split": Setting("split.kind", "How images are divided into training, validation and test"),
    "seed": Setting("seed", "Seed of the split and of the training"),
    "device": Setting("runtime.device", "auto, cpu, cuda, cuda:N or mps"),
    "epochs": Setting("train.epochs", "Epochs in which all layers are trained", _MORE),
    "batch_size": Setting("train.batch_size", "Images per training step", _MORE),
    "lr": Setting("train.max_lr", "Highest learning rate", _MORE),
    "image_size": Setting("data.image_size", "Side of the network's input in pixels", _MORE),
    "pretrained": Setting("model.pretrained", "Start from ImageNet weights", _MORE),
    "tta": Setting("model.tta", "Average the predictions for eight orientations per image", _MORE),
    "weights": Setting("model.weights", "Start from this .safetensors or .pth file", _MORE),
    "groups": Setting("split.groups", "CSV table with columns path and group", _MORE),
    "positive": Setting("data.positive", "Folder or label that means blast; repeatable", _MORE),
    "healthy": Setting("data.healthy", "Folder or label that means healthy; repeatable", _MORE),
    "log": Setting("runtime.log", "Where to log losses and learning rates", _MORE),
}

# The settings of a whole training, of one model or of a cross-validation.
TRAINING = tuple(SETTINGS)


@dataclass(frozen=True)
class GivenSettings:
    """The settings on a command line: `options` maps dotted keys to the values given."""

    file: str | None
    assignments: list[str]
    options: dict[str, Any]

    def are_none(self) -> bool:
        """Whether the command line names no setting at all."""
        return not (self.file or self.assignments or self.options)

    def read(self) -> Config:
        """Return the complete settings.

        What can be checked at once is checked here, before the seconds that fastai's import takes.
        Of several processes of one training the first one reports what is wrong.

        Raises:
            ConfigError, DataError: an unknown key, value or network, or no data at that place.
        """
        if launched().world_size == 1:
            return self._read()
        from alld.training.distributed import distributed, together

        with distributed(), together():
            return self._read()

    def _read(self) -> Config:
        from alld.data.sources.find import check_place
        from alld.model.architectures import check_arch

        config = load_config(self.file, self.assignments, self.options)
        check_arch(config.model.arch)
        check_place(config.data)
        return config


def takes_settings(*names: str, base: str | None = None) -> Callable[[Callable[..., None]], Any]:
    """Give a command the options `names` of `SETTINGS`, `--config` and `--set`.

    The command receives all of them as one `GivenSettings`, its first argument.

    Args:
        base: the shipped configuration that `--config` names by default; None: the defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_settings(**values: Any) -> None:
            file, assignments = values.pop("config"), values.pop("assignments") or []
            given = {SETTINGS[name].key: values.pop(name) for name in names}
            options = {key: value for key, value in given.items() if value not in (None, [])}
            if roots := options.get("data.root"):
                options |= {"data.root": roots[0], **({"data.more": m} if (m := roots[1:]) else {})}
            command(GivenSettings(file, assignments, options), **values)

        defaults = load_config(base)
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        parameters = [
            *(_option(name, defaults) for name in names),
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            _keyword("config", _CONFIG, base),
            _keyword("assignments", _SET, None),
        ]
        # typer reads the options from these two.
        with_settings.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_settings.__annotations__ = {one.name: one.annotation for one in parameters}
        return with_settings

    return decorate


def newest_run(usage: str) -> Path:
    """Return the folder of the newest finished run on real data, and print it."""
    from alld.runs import folder as run

    folder = run.newest_run(usage).folder
    display.say(f"newest finished run: {folder}")
    return folder


def check_engine(engine: Engine, address: str | None, gpus: float | None) -> None:
    """Raise ConfigError for options of a cluster without a cluster."""
    if engine is Engine.local and (address is not None or gpus is not None):
        raise ConfigError("--address and --gpus are a cluster's; add --engine ray")


@contextmanager
def cluster_for(
    engine: Engine, address: str | None, gpus: float | None, threads: int | None
) -> Iterator["Cluster | None"]:
    """Connect to the cluster, or yield None where this computer does the work.

    Handle signals inside the block: Ray sets handlers of its own when it connects.

    Args:
        threads: of each task; None: as many as this computer has cores, as without a cluster.

    Raises:
        ConfigError: options that do not fit, no such cluster, or it has too little.
    """
    check_engine(engine, address, gpus)
    if engine is Engine.local:
        yield None
        return
    from alld.runtime.cluster import LOCAL, connected

    with connected(address or LOCAL, threads or usable_cores(), gpus) as cluster:
        tasks = f"{cluster.places} {'task' if cluster.places == 1 else 'tasks side by side'}"
        display.say(f"Ray: {tasks}, {cluster.each}")
        yield cluster


def _option(name: str, defaults: Config) -> inspect.Parameter:
    setting = SETTINGS[name]
    *section, last = setting.key.split(".")
    place = getattr(defaults, *section) if section else defaults
    kind: Any = type(place).model_fields[last].annotation
    if name == "data":  # the first is `data.root`, the others are `data.more`
        kind = list[Path]
    text = _default_text(getattr(place, last))
    info = typer.Option(
        help=f"{setting.help}{text}.",
        rich_help_panel=setting.panel,
        autocompletion=_complete_arch if name == "arch" else None,
    )
    return _keyword(name, Annotated[kind | None, info], None)


def _default_text(value: Any) -> str:
    if value is None or value == []:
        return ""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    return f" (default: {value})"


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _complete_arch(incomplete: str) -> list[str]:
    from alld.model.architectures import NAMES

    return [name for name in NAMES if name.startswith(incomplete)]


def _complete_config(incomplete: str) -> list[str]:
    return [name for name in shipped_configs() if name.startswith(incomplete)]


def _complete_setting(incomplete: str) -> list[str]:
    return [f"{key}=" for key in setting_keys() if key.startswith(incomplete)]


_CONFIG = Annotated[
    str | None,
    typer.Option(
        help="YAML file of settings, or the name of a shipped one such as quick.",
        rich_help_panel=_MORE,
        autocompletion=_complete_config,
    ),
]
_SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting, such as train.max_lr=3e-4; may be repeated.",
        rich_help_panel=_MORE,
        autocompletion=_complete_setting,
    ),
]
