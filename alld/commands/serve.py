"""`alld serve`: serve predictions as a web page and over HTTP."""

import os
import time
import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from alld import NOTICE, display
from alld.commands.models import place_of
from alld.commands.options import DeviceOption, ModelOption, TtaOption, VerboseOption
from alld.runtime.process import TERMINATED

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


def serve(
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs --token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="ALLD_TOKEN", help="Secret that a browser or program must present."),
    ] = None,
    public_name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Host name that a proxy uses for the server; may be given several times.",
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="URL prefix that a proxy sets, such as /cells.")
    ] = "",
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in this machine's browser.")
    ] = False,
    tta: TtaOption = None,
    device: DeviceOption = "auto",
    verbose: VerboseOption = False,
) -> None:
    """Serve a page that classifies the images dropped on it, and POST /predict for programs.

    Example: alld serve --open
    """
    from alld.model.place import find_bundles, is_exported
    from alld.serve import server
    from alld.serve.model_thread import ModelThread

    began = time.monotonic()
    place, required = place_of(model, "alld serve --model RUN")
    if not is_exported(place):
        find_bundles(place)  # raises before the page is there
    address = server.listen(host, port, token, public_names=public_name or (), root_path=root_path)
    display.say(NOTICE)
    if public_name and token is None:
        display.warn("--public-name without --token: whoever reaches the proxy may ask the model")
    display.say("the page is at this address; Ctrl-C ends it:")
    display.write(address.url)

    def say_ready(predictor: "Predictor") -> None:
        seconds = time.monotonic() - began
        display.say(f"{display.model_line(predictor)}, loaded after {seconds:.1f} s")

    if open_page:
        webbrowser.open(address.url)
    try:
        server.serve(
            ModelThread(place, device, tta, required), address, say_ready, display.report_bug
        )
    except (KeyboardInterrupt, SystemExit) as stopped:
        if isinstance(stopped, SystemExit) and stopped.code != TERMINATED:
            raise
        by_key = isinstance(stopped, KeyboardInterrupt)
        display.say("stopped by Ctrl-C" if by_key else "stopped by SIGTERM")
        # Python's own shutdown takes seconds after torch, waits for an import under way, and
        # complains of an event loop that the signal met half made.
        os._exit(130 if by_key else TERMINATED)
