"""uvicorn's side of a connection, with an end to patience: slow and idle ones are closed."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 128  # connections at the same time
HEAD_SECONDS = 10.0  # for the head of a request, from the connection or the answer before it
REQUEST_SECONDS = 120.0  # for a request and its answer; who reads slowly counts too
IDLE_SECONDS = 5  # between two requests
LOOK_SECONDS = 1.0


class PatientProtocol(H11Protocol):
    """H11Protocol that gives each stage of a connection its time.

    uvicorn itself waits without end for the head of a first request, and for who does not read.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Watch a new connection, or close it where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        self._stage: tuple[Any, bool] | None = None
        self._since = 0.0
        self._look()

    def _look(self) -> None:
        if self not in self.connections:  # closed
            return
        waiting = self.cycle is None or self.cycle.response_complete
        if self._stage != (self.cycle, waiting):
            self._stage, self._since = (self.cycle, waiting), self.loop.time()
        if self.loop.time() - self._since > (HEAD_SECONDS if waiting else REQUEST_SECONDS):
            self.transport.abort()
            return
        self.loop.call_later(LOOK_SECONDS, self._look)
