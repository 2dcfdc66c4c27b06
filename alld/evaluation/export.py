"""Export a trained model for other programs: as an ONNX file, or as a folder for the Hub.

The ONNX file is compared with the original on images. In the folder for the Hugging Face Hub the
bundle has a folder of its own, apart from the files that the Hub adds (`.git`, `.gitattributes`),
so `alld predict --model` reads the folder before and after the upload.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from alld import NOTICE
from alld.data.manifest import Pictures
from alld.errors import ConfigError, DataError, RunError
from alld.evaluation.measure import Step
from alld.evaluation.result import METRICS, Result, read_result
from alld.images.decode import decode, read_image_bytes
from alld.model.bundle import bundle_identity
from alld.model.bundle_info import BundleInfo
from alld.model.joint import joint_identity, joint_info
from alld.model.onnx.export import write_onnx
from alld.model.onnx.file import Exported
from alld.model.place import find_bundles
from alld.model.torch_network import read_bundles
from alld.report.text import TITLES
from alld.runs.folder import open_run, read_manifest, read_split
from alld.runtime.files import check_writable, new_folder, one_line, write_json, write_text
from alld.stats.metrics import Metric
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe

MOST_PICTURES = 64  # compared; all of a large set would take minutes
DRAWN = 20
CARD, CONFIG = "README.md", "config.json"
_KINDS = {"sensitivity": "recall"}  # as the Hub calls it
_USE = """
## How to use it
With ALLD installed, and this folder published as OWNER/NAME on the Hugging Face Hub:

    alld predict cell.tif --model hf://OWNER/NAME@sha256:{identity}

or, where there is no network, saved as `{name}`:

    alld predict cell.tif --model {name} --require-sha256 {identity}

The model is {models}: safetensors, JSON, and hashes that are checked before anything is
read. There is no code in it. `config.json` repeats its facts for other programs.
"""


def export_onnx(
    source: Path,
    out: Path | None = None,
    step: Step = lambda _step, _done, _total: None,
    *,
    data: Path | None = None,
) -> tuple[Path, Exported]:
    """Write the model of a run, a cross-validation or a bundle as an ONNX file.

    By default it is `model.onnx` in the folder of the run or cross-validation.

    Args:
        step: called with the name of each step, the units done, and all units.
        data: the folder of the run's images, if they were moved.

    Returns:
        The file, and its facts.

    Raises:
        BundleError: no verified model at `source`, or one whose export predicts differently.
        ConfigError: another suffix, a path that is taken, or a library that is not installed.
        DataError, RunError: no images of the run at `data`.
    """
    places = find_bundles(source)
    out = check_out(places, out or _home(source, places) / "model.onnx")
    bundles = read_bundles(source, places)
    pictures, words = _pictures(places[0], data, step)
    step("exporting", 0, 1)
    return out, write_onnx(source, bundles, out, pictures, words)


def _home(source: Path, bundles: Sequence[Path]) -> Path:
    """Return the folder of the run or cross-validation that holds these bundles."""
    return bundles[0].parent if len(bundles) == 1 else source


def check_out(bundles: Sequence[Path], out: Path) -> Path:
    """Return the path of the export, unless it would damage something."""
    if out.suffix.lower() != ".onnx":
        raise ConfigError(f"--out {out}: end it in .onnx, by which the file is known")
    if out.is_dir():
        raise ConfigError(f"--out {out}: is a folder; name a file")
    if out.parent.resolve() in [bundle.resolve() for bundle in bundles]:
        raise ConfigError(f"--out {out}: inside a bundle, which never changes; name another place")
    check_writable(out.parent)
    return out


def _pictures(
    bundle: Path, data: Path | None, step: Step
) -> tuple[Sequence[NDArray[np.uint8]], str]:
    """Validation images of a bundle's run, or drawn ones where these are missing, and their name.

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


def export_hub(source: Path, out: Path | None = None) -> tuple[Path, str, BundleInfo]:
    """Write the folder, by default `hub` in that of the run or cross-validation.

    Returns:
        The folder, the model's identity, and its facts.

    Raises:
        BundleError: no verified model at `source`.
        RunError: a bundle without its run, or one that was not evaluated.
        ConfigError: `out` holds something else.
    """
    places = find_bundles(source)
    home = _home(source, places)
    if len(places) == 1:
        open_run(home)  # raises for a bundle without its run
    out = out or home / "hub"
    copies = [place.relative_to(home) for place in places]
    _check_free(out, places, {CARD, CONFIG, *(copy.parts[0] for copy in copies)})
    bundles = read_bundles(source, places)
    identity = joint_identity([bundle.identity for bundle in bundles])
    info = joint_info(source, [bundle.info for bundle in bundles])
    again = f"alld evaluate {home}" if len(places) == 1 else f"alld crossval --resume {home}"
    metadata = _metadata(home, identity, f"first: {again}")
    card = (home / "evaluation" / "model_card.md").read_text(encoding="utf-8")
    models = " and ".join(f"`{copy}/`" for copy in copies)
    use = _USE.format(name=out.name, identity=identity, models=models)
    with new_folder(out) as folder:
        write_text(folder / CARD, f"---\n{metadata}---\n{card}{use}\n**{NOTICE}**\n")
        write_json(folder / CONFIG, _config(info, identity, [copy.as_posix() for copy in copies]))
        for place, copy, bundle in zip(places, copies, bundles, strict=True):
            shutil.copytree(place, folder / copy)
            if bundle_identity(folder / copy) != bundle.identity:
                raise RunError(f"{place}: changed while it was copied; start again")
    return out, identity, info


def _check_free(out: Path, bundles: Sequence[Path], own: set[str]) -> None:
    """Refuse a place that holds anything but an earlier export, whose names are `own`."""
    for bundle in (place.resolve() for place in bundles):
        if out.resolve() in (bundle, *bundle.parents):
            raise ConfigError(f"--out {out}: holds the run itself; name a new folder")
        if bundle in out.resolve().parents:
            raise ConfigError(
                f"--out {out}: inside a bundle, which never changes; name another place"
            )
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    other = {entry.name for entry in out.iterdir()} - own if out.exists() else ()
    check_writable(out.parent)
    if other:
        raise ConfigError(f"--out {out}: holds more than an earlier export; name a new folder")


def _metadata(folder: Path, identity: str, advice: str) -> str:
    """The YAML that the Hub reads, from the evaluation of this model; `advice` where it lacks."""
    path = folder / "evaluation" / METRICS
    if not path.is_file():
        raise RunError(f"{folder}: not evaluated yet, its card would be empty; {advice}")
    try:
        result = read_result(path.parent)
        known, content = result.model["identity"], _described(result)
    except (RunError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: not what an evaluation writes; {advice}") from error
    if known != identity:
        raise RunError(f"{path}: of another model, {one_line(str(known))}; {advice}")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _described(result: Result) -> dict[str, Any]:
    """The Hub's description of the test; it has no licence, which is the user's to choose."""
    data, model = result.data, result.model
    mark = ["synthetic"] if result.synthetic else []
    drawn = "SYNTHETIC " if result.synthetic else ""
    images = (
        f"{data['split']} split, held-out cell images"
        if result.plan is None
        else "out-of-fold cell images, each tested by one of the models and not by their mean"
    )
    tested = {
        "type": data["name"].lower().replace(" ", "-"),
        "name": f"{drawn}{data['name']}, {images}",
    }
    results = [
        {"type": _KINDS.get(name, name), "value": metric.value, "name": _named(name, metric)}
        for name, metric in result.metrics.items()
        if metric.value is not None and name in TITLES
    ]
    task = "image-classification"
    test = {"task": {"type": task}, "dataset": tested, "metrics": results}
    return {
        "library_name": "alld",
        "pipeline_tag": task,
        "tags": [task, "microscopy", "leukemia", "not-a-medical-device", model["arch"], *mark],
        "model-index": [{"name": f"{drawn}ALLD {result.title}", "results": [test]}],
    }


def _named(name: str, metric: Metric) -> str:
    """`Accuracy (49 of 52, 0.844 to 0.980, Wilson 95 %)`."""
    count = f"{metric.k} of {metric.n}" if metric.k is not None else f"n {metric.n}"
    if metric.ci_low is None:
        return f"{TITLES[name]} ({count})"
    ends = f"{metric.ci_low:.3f} to {metric.ci_high:.3f}"
    return f"{TITLES[name]} ({count}, {ends}, {metric.method})"


def _config(info: BundleInfo, identity: str, bundles: Sequence[str]) -> dict[str, Any]:
    """The classes and the input, for programs that do not read the bundle, and where it is."""
    return {
        "model_type": "alld",
        "architectures": [info.arch],
        "id2label": {str(number): name for number, name in enumerate(info.classes)},
        "label2id": {name: number for number, name in enumerate(info.classes)},
        "identity": identity,
        "bundles": list(bundles),
        **info.model_dump(mode="json"),
    }
