"""Read settings from a YAML file, `--set section.key=value` and named options, in this order.

Later ones win over earlier ones, and all win over the defaults.
"""

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from alld.config.schema import Config, nearest, parse_config
from alld.errors import ConfigError
from alld.runtime.reading import read_text

# Raised also by deep nesting, integers of thousands of digits, and impossible dates.
_NO_YAML = (OSError, ValueError, RecursionError, yaml.YAMLError)
_MOST_BYTES, _MOST_VALUES = 2**20, 10_000  # of a file of settings, which has a hundred values


def load_config(
    file: str | Path | None = None,
    assignments: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Config:
    """Build the settings of a run.

    Args:
        file: a YAML file, or the bare name of a shipped one ("quick").
        assignments: `section.key=value` texts, later ones win; values are read as YAML.
        options: dotted keys to values that win over everything, such as {"train.epochs": 3}.

    Raises:
        ConfigError: an unknown file, key or value, named with what was seen.
    """
    settings: dict[str, Any] = {}
    if file is not None:
        path = find_config(file)
        settings = read_yaml(path)
        parse_config(settings, str(path))  # report its own faults under its name
    for text in assignments:
        key, value = _parse_assignment(text)
        _assign(settings, key, value)
    for key, value in (options or {}).items():
        _assign(settings, key, value)
    return parse_config(settings, "settings")


def find_config(name: str | Path) -> Path:
    """Return the file itself, or the shipped configuration of that name."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = shipped_configs()
    if str(name) in shipped:
        return shipped[str(name)]
    raise ConfigError(
        f"--config {name}: no such file, and no shipped configuration of that name"
        f"{nearest(str(name), shipped)}; shipped: {', '.join(shipped)}"
    )


def shipped_configs() -> dict[str, Path]:
    """Return every configuration that comes with ALLD, its file by its name."""
    package = Path(str(resources.files("alld")))
    # Inside a wheel they lie in the package, in a source checkout beside it.
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the unchecked settings of a file; an empty file has none.

    Raises:
        ConfigError: there is no such file, or it is not YAML with sections.
    """
    try:
        content = _parse_yaml(read_text(path, _MOST_BYTES))
    except _NO_YAML as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected sections such as 'train:', found {content!r:.60}")
    return content


def _parse_yaml(text: str) -> Any:
    """Raise ValueError for more values than settings need: aliases of aliases can name millions."""
    content = yaml.safe_load(text)
    waiting, values = [content], 0
    while waiting:
        one, values = waiting.pop(), values + 1
        if values > _MOST_VALUES:
            raise ValueError(f"over {_MOST_VALUES} values")
        waiting += [*one, *one.values()] if isinstance(one, dict) else []
        waiting += one if isinstance(one, list | tuple | set) else []
    return content


def _parse_assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: expected section.key=value, such as train.max_lr=3e-4")
    try:
        return key.strip(), _parse_yaml(value)
    except _NO_YAML as error:
        raise ConfigError(f"--set {text}: the value cannot be read as YAML") from error


def _assign(settings: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place = settings
    for section in sections:
        inner = place.setdefault(section, {})
        if inner is None:  # an empty `train:` in a file
            inner = place[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: {section} is a single value, not a section")
        place = inner
    place[last] = value
