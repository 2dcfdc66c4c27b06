"""Export a tested run as a folder for the Hugging Face Hub: model card, config and bundle.

The bundle has a folder of its own, apart from the files that the Hub adds (`.git`,
`.gitattributes`), so `alld predict --model` reads the folder before and after the upload.
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from alld import NOTICE
from alld.errors import ConfigError, RunError
from alld.evaluation.result import METRICS, Result, read_result
from alld.model.bundle import bundle_identity, read_bundle
from alld.model.bundle_info import BundleInfo
from alld.model.place import find_bundle
from alld.report.metric_text import TITLES
from alld.runs.folder import open_run
from alld.runtime.files import new_folder, one_line, write_json, write_text
from alld.stats.metrics import Metric

CARD, CONFIG, BUNDLE = "README.md", "config.json", "model.alld"
_KINDS = {"sensitivity": "recall"}  # as the Hub calls it
_USE = """
## How to use it
With ALLD installed, and this folder saved as `{name}`:

    alld predict --model {name} --require-sha256 {identity} cell.tif

`model.alld/` is the model: safetensors, JSON, and hashes that are checked before anything is
read. It contains no code. `config.json` repeats its facts for other programs.
"""


def export_hub(source: Path, out: Path | None = None) -> tuple[Path, str, BundleInfo]:
    """Write the folder, by default `hub` in the run's folder.

    Returns:
        The folder, the model's identity, and its facts.

    Raises:
        BundleError: no verified model at `source`.
        RunError: a bundle without its run, or a run that was not evaluated.
        ConfigError: `out` holds something else.
    """
    place = find_bundle(source)
    run = open_run(place.parent)
    out = out or run.folder / "hub"
    _check_free(out, place)
    bundle = read_bundle(place)
    metadata = _metadata(run.folder, bundle.identity)
    card = (run.folder / "evaluation" / "model_card.md").read_text(encoding="utf-8")
    use = _USE.format(name=out.name, identity=bundle.identity)
    with new_folder(out) as folder:
        write_text(folder / CARD, f"---\n{metadata}---\n{card}{use}\n**{NOTICE}**\n")
        write_json(folder / CONFIG, _config(bundle.info, bundle.identity))
        shutil.copytree(place, folder / BUNDLE)
        copied = bundle_identity(folder / BUNDLE)
        if copied != bundle.identity:
            raise RunError(f"{place}: changed while it was copied; start again")
    return out, bundle.identity, bundle.info


def _check_free(out: Path, bundle: Path) -> None:
    if out.resolve() in (bundle.resolve(), *bundle.resolve().parents):
        raise ConfigError(f"--out {out}: holds the run itself; name a new folder")
    if bundle.resolve() in out.resolve().parents:
        raise ConfigError(f"--out {out}: inside a bundle, which never changes; name another place")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    other = {entry.name for entry in out.iterdir()} - {CARD, CONFIG, BUNDLE} if out.exists() else ()
    if other:
        raise ConfigError(f"--out {out}: holds more than an earlier export; name a new folder")


def _metadata(folder: Path, identity: str) -> str:
    """The YAML that the Hub reads, from the evaluation of this very model."""
    path = folder / "evaluation" / METRICS
    advice = f"first: alld evaluate {folder}"
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
    """What was tested, on what, with which result; the licence is the user's to choose."""
    data, model = result.data, result.model
    mark = ["synthetic"] if result.synthetic else []
    drawn = "SYNTHETIC " if result.synthetic else ""
    tested = {
        "type": data["name"].lower().replace(" ", "-"),
        "name": f"{drawn}{data['name']}, {data['split']} split, held-out cell images",
    }
    results = [
        {"type": _KINDS.get(name, name), "value": metric.value, "name": _named(name, metric)}
        for name, metric in result.metrics.items()
        if metric.value is not None and name in TITLES
    ]
    return {
        "library_name": "alld",
        "pipeline_tag": "image-classification",
        "tags": [
            "image-classification",
            "microscopy",
            "leukemia",
            "not-a-medical-device",
            model["arch"],
            *mark,
        ],
        "model-index": [
            {
                "name": f"{drawn}ALLD {result.title}",
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": tested,
                        "metrics": results,
                    }
                ],
            }
        ],
    }


def _named(name: str, metric: Metric) -> str:
    """`Accuracy (49 of 52, 0.844 to 0.980, Wilson 95 %)`."""
    count = f"{metric.k} of {metric.n}" if metric.k is not None else f"n {metric.n}"
    if metric.ci_low is None:
        return f"{TITLES[name]} ({count})"
    ends = f"{metric.ci_low:.3f} to {metric.ci_high:.3f}"
    return f"{TITLES[name]} ({count}, {ends}, {metric.method})"


def _config(info: BundleInfo, identity: str) -> dict[str, Any]:
    """The classes and the input, for programs that do not read the bundle."""
    names = dict(enumerate(info.classes))
    return {
        "model_type": "alld",
        "architectures": [info.arch],
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
        "identity": identity,
        **info.model_dump(mode="json"),
    }
