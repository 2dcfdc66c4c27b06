"""Export a trained model as one ONNX file, and compare its predictions with the original's."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from alld.data.manifest import Pictures
from alld.errors import ConfigError, DataError, RunError
from alld.evaluation.measure import Step
from alld.images.decode import decode, read_image_bytes
from alld.model.bundle import read_bundle
from alld.model.onnx.export import write_onnx
from alld.model.onnx.file import Exported
from alld.model.place import find_bundle
from alld.runs.folder import open_run, read_manifest, read_split
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe

MOST_PICTURES = 64  # compared; all of a large set would take minutes
DRAWN = 20


def export_onnx(
    source: Path,
    out: Path | None = None,
    step: Step = lambda _step, _done, _total: None,
    *,
    data: Path | None = None,
) -> tuple[Path, Exported]:
    """Write the model of a run or a bundle as an ONNX file, by default `model.onnx` beside it.

    Args:
        step: called with the name of each step, how far it is, of how much.
        data: the folder of the run's images, if they were moved.

    Returns:
        The file, and its facts.

    Raises:
        BundleError: no verified model at `source`, or one whose export predicts differently.
        ConfigError: another suffix, a path that is taken, or a library that is not installed.
        DataError, RunError: no images of the run at `data`.
    """
    place = find_bundle(source)
    out = check_out(place, out or place.parent / "model.onnx")
    bundle = read_bundle(place)
    pictures, words = _pictures(place, data, step)
    step("exporting", 0, 1)
    return out, write_onnx(bundle, out, pictures, words)


def check_out(bundle: Path, out: Path) -> Path:
    """Return the path of the export, unless it would damage something."""
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {out}: end it in .onnx, by which the file is known")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    if out.parent.resolve() == bundle.resolve():
        raise ConfigError(f"--out {out}: inside a bundle, which never changes; name another place")
    return out


def _pictures(
    bundle: Path, data: Path | None, step: Step
) -> tuple[Sequence[NDArray[np.uint8]], str]:
    """Validation images of the run, or drawn ones where these are missing, and their description.

    Test images are read by the test alone.
    """
    try:
        run = open_run(bundle.parent)
        manifest = read_manifest(run, data, partial(step, "reading images"))
        valid = read_split(run, manifest).indices("valid")
    except (DataError, RunError):
        if data is not None:
            raise
        return _drawn(), "drawn cells, as the images of the training are not there"
    some = valid[:: -(-len(valid) // MOST_PICTURES)]
    records = tuple(manifest.records[index] for index in some)
    mark = "SYNTHETIC " if manifest.synthetic else ""
    return Pictures(replace(manifest, records=records)), f"{mark}validation images of the run"


def _drawn() -> Sequence[NDArray[np.uint8]]:
    with TemporaryDirectory(prefix="alld-") as folder:
        files = draw_set(Path(folder) / "drawn", Recipe(n=DRAWN))
        return [decode(read_image_bytes(file), file.name).pixels for file in files]
