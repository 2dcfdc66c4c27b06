"""`alld export`: a trained model for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alld import NOTICE, display
from alld.commands.options import JsonOption, VerboseOption, newest_run, print_json
from alld.errors import ConfigError
from alld.runtime.files import well_formed


class ExportFormat(StrEnum):
    """What `alld export` writes."""

    onnx = "onnx"
    hub = "hub"


def export(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run or bundle (default: the newest run on real data under ./runs)."),
    ] = None,
    kind: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="onnx: one file for onnxruntime. hub: a folder for the Hugging Face Hub.",
        ),
    ] = ExportFormat.onnx,
    out: Annotated[
        Path | None, typer.Option(help="What is written (default: model.onnx or hub in the run).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's images lie now, if they were moved.")
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a trained model for other programs, compared with the original before it is there.

    Example: [bold]alld export runs/resnet50-20260101-120000 --out cells.onnx[/]

    Then, without torch: [bold]alld predict --model cells.onnx cell.tif[/]

    To be published: [bold]alld export runs/resnet50-20260101-120000 --format hub --out cells[/]
    """
    source = run or newest_run()
    if kind is ExportFormat.hub:
        if data is not None:
            raise ConfigError("--data goes with --format onnx: no image is read for the Hub")
        _hub(source, out, as_json)
    else:
        _onnx(source, out, data, as_json)


def _onnx(source: Path, out: Path | None, data: Path | None, as_json: bool) -> None:
    from alld.evaluation.export import export_onnx

    steps = display.Steps()
    try:
        file, exported = export_onnx(source, out, steps, data=data)
    finally:
        steps.close()
    facts, synthetic = exported.facts, exported.info.data.synthetic
    if as_json:
        parity = facts.parity.model_dump()
        print_json({**_facts(file, exported.identity, facts.bundle, synthetic), "parity": parity})
        return
    display.say(f"compared: {facts.parity.words}")
    display.say(f"model {exported.identity}, exported from {facts.bundle}")
    _say_where(file, synthetic, f"alld predict --model {file} cell.tif")


def _hub(source: Path, out: Path | None, as_json: bool) -> None:
    from alld.evaluation.hub import export_hub

    folder, identity, info = export_hub(source, out)
    if as_json:
        print_json(_facts(folder, identity, identity, info.data.synthetic))
        return
    display.say(f"model {identity}")
    display.say("its README.md names no licence: choose one before you publish it")
    _say_where(folder, info.data.synthetic, f"alld predict --model {folder} cell.tif")


def _facts(place: Path, identity: str, bundle: str, synthetic: bool) -> dict[str, Any]:
    return {
        "path": well_formed(str(place)),
        "identity": identity,
        "bundle": bundle,
        "synthetic": synthetic,
        "notice": NOTICE,
    }


def _say_where(place: Path, synthetic: bool, following: str) -> None:
    mark = "SYNTHETIC " if synthetic else ""
    display.output.print(f"{mark}exported: {place}", markup=False)
    display.say(f"next: {following}")
    display.say(NOTICE)
