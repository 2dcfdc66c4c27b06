"""Find a model on disk: in a run or cross-validation, a bundle, or exported; needs no torch."""

from pathlib import Path

from alld.errors import BundleError, ConfigError
from alld.runtime.reading import read_json

# Of a cross-validation; a copy for others may lack the plan.
PLAN, FOLDS = "crossval.json", "repeat-*/fold-*/model.alld"


def find_bundles(path: Path) -> list[Path]:
    """Return the bundle in a run folder, the bundle itself, or those of a cross-validation.

    Raises:
        BundleError: nothing is there, or a run or cross-validation that is not finished.
    """
    if (path / "model.alld").is_dir():
        return [path / "model.alld"]
    if (path / "run.json").is_file():
        raise BundleError(f"{path}: no model yet; finish it with `alld train --resume {path}`")
    folds = sorted(path.glob(FOLDS))
    if (path / PLAN).is_file() and len(folds) != (wanted := _folds(path / PLAN)):
        raise BundleError(
            f"{path}: a cross-validation with {len(folds)} of {wanted} models; "
            f"finish it with `alld crossval --resume {path}`"
        )
    if not path.is_dir():
        raise no_bundle(path)
    return folds or [path]


def _folds(plan: Path) -> int:
    try:
        facts = read_json(plan)
        return int(facts["folds"]) * int(facts["repeats"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{plan}: damaged ({error}); copy the cross-validation anew") from error


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
        f"{path}: no model there; give the folder of a run or cross-validation, a model.alld or an "
        "exported .onnx"
    )
