"""Find a model on disk: in a run folder, as a bundle, or exported; needs no torch."""

from pathlib import Path

from alld.errors import BundleError, ConfigError


def find_model(path: Path) -> Path:
    """Return the exported file itself, or the bundle as `find_bundle` finds it."""
    return path if is_exported(path) else find_bundle(path)


def find_bundle(path: Path) -> Path:
    """Return the bundle in a run folder, or the bundle itself.

    Raises:
        BundleError: nothing is there, a cross-validation, or an unfinished run without a bundle.
    """
    if (path / "model.alld").is_dir():
        return path / "model.alld"
    if (path / "run.json").is_file():
        raise BundleError(f"{path}: no model yet; finish it with `alld train --resume {path}`")
    if folds := sorted(path.glob("repeat-*/fold-*/model.alld")):
        of = (
            f"a cross-validation of {len(folds)} models" if len(folds) > 1 else "a cross-validation"
        )
        raise BundleError(f"{path}: {of}; give one of them, such as {folds[0].parent}")
    if not path.is_dir():
        raise no_bundle(path)
    return path


def is_exported(path: Path) -> bool:
    """Return whether this names an exported model, which ends in `.onnx`."""
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def no_heat_map(path: Path | str) -> ConfigError:
    """Return the error for a heat map of an exported model."""
    return ConfigError(
        f"heat map: {path} is an exported model, without the gradients that a map is made of; "
        "give the run that it came from"
    )


def no_bundle(path: Path) -> BundleError:
    """Return the error for a folder that is not there."""
    return BundleError(
        f"{path}: no model bundle there; give a run folder, its model.alld or an exported .onnx"
    )
