"""Where a model lies: in a run folder, or as a bundle. Light, to be asked before torch is there."""

from pathlib import Path

from alld.errors import BundleError


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


def no_bundle(path: Path) -> BundleError:
    """The error of a folder that is not there."""
    return BundleError(f"{path}: no model bundle there; give a run folder or its model.alld")
