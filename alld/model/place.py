"""Where a model lies: in a run folder, as a bundle, or exported. Asked before torch is there."""

from pathlib import Path

from alld.errors import BundleError, ConfigError


def find_model(path: Path) -> Path:
    """The exported file itself, or the bundle as `find_bundle` finds it.

    Raises:
        BundleError: nothing there, or a run that has not finished and has no bundle yet.
    """
    return path if is_exported(path) else find_bundle(path)


def find_bundle(path: Path) -> Path:
    """The bundle in a run folder, or the bundle itself.

    Raises:
        BundleError: nothing there, or a run that has not finished and has no bundle yet.
    """
    if (path / "model.alld").is_dir():
        return path / "model.alld"
    if (path / "run.json").is_file():
        raise BundleError(f"{path}: no model yet; finish it with `alld train --resume {path}`")
    if not path.is_dir():
        raise no_bundle(path)
    return path


def is_exported(path: Path) -> bool:
    """Whether this is the name of an exported model: `alld export` writes `.onnx`."""
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def no_heat_map(path: Path | str) -> ConfigError:
    """The error of a wish that an exported model cannot fulfil."""
    return ConfigError(
        f"heat map: {path} is an exported model, without the gradients that a map is made of; "
        "give the run that it came from"
    )


def no_bundle(path: Path) -> BundleError:
    """The error of a folder that is not there."""
    return BundleError(
        f"{path}: no model bundle there; give a run folder, its model.alld or an exported .onnx"
    )
