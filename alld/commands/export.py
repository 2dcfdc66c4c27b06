"""`alld export`: a trained model for other programs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from alld import NOTICE, display
from alld.commands.options import JsonOption, VerboseOption, newest_run, print_json
from alld.files import well_formed


class ExportFormat(StrEnum):
    """What `alld export` writes."""

    onnx = "onnx"


def export(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run or bundle (default: the newest run on real data under ./runs)."),
    ] = None,
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="onnx: one file for onnxruntime.")
    ] = ExportFormat.onnx,
    out: Annotated[
        Path | None, typer.Option(help="What is written (default: model.onnx in the run).")
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
    """
    from alld.evaluation.export import export_onnx

    steps = display.Steps()
    try:
        file, exported = export_onnx(run or newest_run(), out, steps, data=data)
    finally:
        steps.close()
    if as_json:
        facts = exported.facts
        print_json(
            {
                "file": well_formed(str(file)),
                "identity": exported.identity,
                "bundle": facts.bundle,
                "synthetic": exported.info.data.synthetic,
                "parity": facts.parity.model_dump(),
                "notice": NOTICE,
            }
        )
        return
    drawn = "SYNTHETIC, " if exported.info.data.synthetic else ""
    display.say(f"compared: {exported.facts.parity.words}")
    display.say(f"model {exported.identity}, {drawn}exported from {exported.facts.bundle}")
    display.output.print(f"exported: {file}", markup=False)
    display.say(f"next: alld predict --model {file} cell.tif")
    display.say(NOTICE)
