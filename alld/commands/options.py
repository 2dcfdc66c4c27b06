"""The options that several commands share, and answers for programs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from alld import display

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or CSV table of labelled images (default: data/)."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps (default: auto).")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Machine-readable answer on standard output.")
]
VerboseOption = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Say more on the way.", callback=display.set_verbose),
]


def print_json(value: Any) -> None:
    """The answer of a command under `--json`, alone on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def newest_run() -> Path:
    """The folder of the newest finished run on real data, said on standard error."""
    from alld.runs import folder as run

    folder = run.newest_run().folder
    display.say(f"newest finished run: {folder}")
    return folder
