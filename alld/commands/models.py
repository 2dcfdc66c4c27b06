"""`alld models` and `alld export`: networks to train, and trained models for other programs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from alld import NOTICE, display
from alld.commands.options import JsonOption, VerboseOption, newest_run
from alld.errors import ConfigError
from alld.runtime.files import well_formed


def models(as_json: JsonOption = False) -> None:
    """List the networks and whether their pretrained weights are on this machine.

    Example: alld models
    """
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


def export(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run or bundle (default: the newest run on real data in ./runs)."),
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
        typer.Option(help="File or folder to write (default: model.onnx or hub in the run)."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's images are now, if they were moved.")
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a trained model for other programs, and compare its predictions with the original's.

    Example: alld export runs/resnet50-20260101-120000 --out cells.onnx

    Example: alld predict --model cells.onnx cell.tif

    Example: alld export runs/resnet50-20260101-120000 --format hub --out cells
    """
    source = run or newest_run()
    if kind == "onnx":
        _export_onnx(source, out, data, as_json=as_json)
        return
    if data is not None:
        raise ConfigError("--data goes with --format onnx: no image is read for the Hub")
    _export_hub(source, out, as_json=as_json)


def _export_onnx(source: Path, out: Path | None, data: Path | None, *, as_json: bool) -> None:
    from alld.evaluation.export import export_onnx

    with display.Steps() as steps:
        file, exported = export_onnx(source, out, steps, data=data)
    facts, synthetic = exported.facts, exported.info.data.synthetic
    if as_json:
        parity = facts.parity.model_dump()
        written = _facts(file, exported.identity, facts.bundle, synthetic)
        display.print_json({**written, "parity": parity})
        return
    display.say(f"compared: {facts.parity.words}")
    display.say(f"model {exported.identity}, exported from {facts.bundle}")
    _print_place(file, synthetic=synthetic)


def _export_hub(source: Path, out: Path | None, *, as_json: bool) -> None:
    from alld.evaluation.export import export_hub

    folder, identity, info = export_hub(source, out)
    if as_json:
        display.print_json(_facts(folder, identity, identity, info.data.synthetic))
        return
    display.say(f"model {identity}")
    display.say("its README.md names no licence: choose one before you publish it")
    _print_place(folder, synthetic=info.data.synthetic)


def _facts(place: Path, identity: str, bundle: str, synthetic: bool) -> dict[str, Any]:
    return {
        "path": well_formed(str(place)),
        "identity": identity,
        "bundle": bundle,
        "synthetic": synthetic,
        "notice": NOTICE,
    }


def _print_place(place: Path, *, synthetic: bool) -> None:
    display.write(f"{'SYNTHETIC ' if synthetic else ''}exported: {place}")
    display.say(f"next: alld predict --model {place} cell.tif")
    display.say(NOTICE)
