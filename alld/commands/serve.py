"""`alld serve`: the page, and the interface for programs."""

import os
import time
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alld import NOTICE, display
from alld.commands.options import DeviceOption, VerboseOption, newest_run
from alld.commands.settings import TtaOption

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


def serve(
    model: Annotated[
        Path | None,
        typer.Option(
            help="Run, bundle or .onnx (default: the newest run on real data under ./runs)."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's need --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="ALLD_TOKEN", help="What a browser or program has to know."),
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser of this machine.")
    ] = False,
    tta: TtaOption = None,
    device: DeviceOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Serve a page that judges the images you drop on it, and `POST /predict` for programs.

    Example: [bold]alld serve --open[/]
    """
    from alld.model.place import find_model
    from alld.serve.address import listen
    from alld.serve.judge import Judge
    from alld.serve.server import run

    began = time.monotonic()
    place = find_model(model or newest_run())
    address = listen(host, port, token)
    display.say(NOTICE)
    display.say("the page is at this address; Ctrl-C ends it:")
    display.output.print(address.url, markup=False)

    def ready(predictor: "Predictor") -> None:
        drawn = " SYNTHETIC" if predictor.info.data.synthetic else ""
        facts = f"{predictor.info.arch}, {predictor.identity[:12]}"
        seconds = time.monotonic() - began
        display.say(f"model: {predictor.path}{drawn} ({facts}), loaded after {seconds:.1f} s")

    judge = Judge(place, device or "auto", tta)
    if open_page:
        webbrowser.open(address.url)
    try:
        run(judge, address.door, address.listening, ready, display.fault)
    except KeyboardInterrupt:
        display.say("stopped by Ctrl-C")
        # At once: Python's own end takes seconds after torch, and would wait for it while it loads.
        os._exit(130)
