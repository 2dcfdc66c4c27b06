"""uvicorn around the application: one process, no log, an end at once."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from alld.serve.app import create_app
from alld.serve.connections import IDLE_SECONDS, PatientProtocol
from alld.serve.door import Door
from alld.serve.judge import Judge

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor


Ready = Callable[["Predictor"], object]
Fault = Callable[[Exception], object]


class Server(uvicorn.Server):
    """uvicorn with our application in it; `failure` is why the model could not be loaded."""

    def __init__(self, judge: Judge, door: Door, on_ready: Ready, on_fault: Fault) -> None:
        self._on_ready = on_ready
        self.failure: BaseException | None = None
        super().__init__(_config(create_app(judge, door, self._loaded, on_fault)))

    def _loaded(self, model: "asyncio.Future[Predictor]") -> None:
        if model.cancelled():
            return
        self.failure = model.exception()
        if self.failure is None:
            self._on_ready(model.result())
        else:
            self.should_exit = True


def run(
    judge: Judge, door: Door, listening: socket.socket, on_ready: Ready, on_fault: Fault
) -> None:
    """Answer until a signal comes, which is raised again when all is closed.

    Args:
        on_ready: hears of the model when it is loaded.
        on_fault: hears of a fault of ours; who asked gets status 500 and a sentence.

    Raises:
        AlldError: the model cannot be loaded.
    """
    server = Server(judge, door, on_ready, on_fault)
    server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
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
