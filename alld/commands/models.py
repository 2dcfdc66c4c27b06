"""`alld models` and `alld export`: networks to train, and trained models, here and for others."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from alld import NOTICE, display
from alld.commands.options import JsonOption, VerboseOption, newest_run
from alld.errors import ConfigError
from alld.runtime.files import well_formed


def models(
    trained: Annotated[
        bool,
        typer.Option("--trained", help="List the trained models that were fetched, in the cache."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the networks and whether their pretrained weights are on this machine.

    Example: alld models
    """
    if trained:
        _list_cached(as_json=as_json)
        return
    from alld.model.architectures import list_architectures

    infos = list_architectures()
    if as_json:
        display.print_json([vars(info) for info in infos])
        return
    rows = [
        (
            info.name,
            info.weights,
            info.source,
            "" if info.parameters is None else f"{info.parameters / 1e6:.1f} M",
            "yes" if info.weights_present else "no: fetched at first use",
        )
        for info in infos
    ]
    display.write_list(("arch", "weights", "from", "parameters", "here"), rows)


def _list_cached(*, as_json: bool) -> None:
    """List the trained models in the cache."""
    from alld.model.hub.cache import cached_models

    found = cached_models()
    if as_json:
        display.print_json(
            [
                {
                    "identity": model.identity,
                    "arch": model.info.arch,
                    "trained_on": model.info.data.name,
                    "synthetic": model.info.data.synthetic,
                    "models": model.bundles,
                    "bytes": model.bytes,
                    "path": well_formed(str(model.path)),
                    "sources": [dict(source) for source in model.sources],
                }
                for model in found
            ]
        )
        return
    rows = [
        (
            model.sources[-1]["address"],
            model.identity[:12],
            model.info.arch if model.bundles == 1 else f"{model.bundles} x {model.info.arch}",
            f"{'SYNTHETIC ' if model.info.data.synthetic else ''}{model.info.data.name}",
            f"{model.bytes / 1e6:.1f} MB",
            model.sources[-1]["fetched"],
        )
        for model in found
    ]
    display.write_list(("model", "identity", "arch", "trained on", "size", "fetched"), rows)


def place_of(model: str | None, usage: str, required: str | None = None) -> tuple[Path, str | None]:
    """Return the folder or file that `--model` names, and the identity that it must have.

    A model at an address is fetched into the cache; without a name it is the newest run.

    Args:
        usage: what to type instead, where there is no run.
        required: the identity that `--require-sha256` demands.
    """
    from alld.model.hub.address import is_address

    if model is None:
        return newest_run(usage), required
    if not is_address(model):
        return Path(os.path.expanduser(model)), required
    from alld.model.hub.cache import fetch

    with display.Steps() as steps:
        fetched = fetch(model, required, steps)
    if fetched.note:
        display.warn(fetched.note)
    return fetched.path, fetched.identity


def export(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run, cross-validation or bundle (default: the newest run on real data in ./runs)."
        ),
    ] = None,
    kind: Annotated[
        Literal["onnx", "hub"],
        typer.Option(
            "--format",
            help="onnx: one file for onnxruntime. hub: a folder for the Hugging Face Hub.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            help="File or folder to write (default: model.onnx or hub in the run's folder)."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's images are now, if they were moved.")
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Export a trained model, and compare its predictions with the original's.

    Example: alld export runs/resnet50-20260101-120000 --out cells.onnx

    Example: alld predict --model cells.onnx cell.tif

    Example: alld export runs/resnet50-20260101-120000 --format hub --out cells
    """
    source = run or newest_run("alld export RUN")
    facts: dict[str, Any] = {}
    if kind == "onnx":
        from alld.evaluation.export import export_onnx

        with display.Steps() as steps:
            place, exported = export_onnx(source, out, steps, data=data)
        identity, bundle = exported.identity, exported.facts.bundle
        synthetic = exported.members[0][0].data.synthetic
        facts["parity"] = exported.facts.parity.model_dump()
        lines = [
            f"compared: {exported.facts.parity.words}",
            f"model {identity}, exported from {bundle}",
        ]
    else:
        if data is not None:
            raise ConfigError("--data goes with --format onnx: no image is read for the Hub")
        from alld.evaluation.export import export_hub

        place, identity, info = export_hub(source, out)
        bundle, synthetic = identity, info.data.synthetic
        lines = [
            f"model {identity}",
            "its README.md names no licence: choose one before you publish it",
        ]
    if as_json:
        facts |= {"path": well_formed(str(place)), "identity": identity, "bundle": bundle}
        display.print_json({**facts, "synthetic": synthetic, "notice": NOTICE})
        return
    for line in lines:
        display.say(line)
    display.write(f"{'SYNTHETIC ' if synthetic else ''}exported: {place}")
    display.say(f"next: alld predict --model {place} cell.tif")
    display.say(NOTICE)
