"""uvicorn around the application: one process, no log, an end at once."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from alld.serve.app import create_app
from alld.serve.connections import IDLE_SECONDS, PatientProtocol
from alld.serve.door import Door
from alld.serve.judge import Judge

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


def run(
    judge: Judge,
    door: Door,
    listening: socket.socket,
    on_ready: Callable[["Predictor"], object],
    on_fault: Callable[[Exception], object],
) -> None:
    """Answer until a signal comes, which is raised again when all is closed.

    Raises:
        AlldError: the model cannot be loaded.
    """
    failure: list[BaseException] = []

    def loaded(model: "asyncio.Future[Predictor]") -> None:
        error = None if model.cancelled() else model.exception()
        if error is not None:
            failure.append(error)
            server.should_exit = True
        elif not model.cancelled():
            on_ready(model.result())

    server = uvicorn.Server(
        uvicorn.Config(
            create_app(judge, door, loaded, on_fault),
            http=PatientProtocol,
            loop="asyncio",
            ws="none",
            lifespan="on",
            # Names of files are in addresses: nothing of a request is logged.
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=0,
        )
    )
    server.run(sockets=[listening])
    if failure:
        raise failure[0]
