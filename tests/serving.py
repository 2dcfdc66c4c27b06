"""A server for tests, in a thread of its own, and a client that sends exactly what it is told."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alld.serve.model_thread import ModelThread
from alld.serve.server import Server, listen

POST = {"X-ALLD": "1"}
LOADING_SECONDS = 300.0


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # by lower-case names
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Site:
    """A running server; `faults` are those it noticed in itself."""

    port: int
    server: Server
    faults: list[Exception] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request on a connection of its own; headers are sent as given."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, named, response.read())
        finally:
            connection.close()

    def predict(self, body: bytes, name: str = "cell.tif", **parameters: object) -> Reply:
        """POST /predict as a well-behaved program does."""
        asked = "".join(f"&{key}={value}" for key, value in parameters.items())
        return self.ask(f"/predict?name={quote(name)}{asked}", "POST", body, POST)

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=300)


@contextmanager
def running(model: Path, token: str | None = None) -> Iterator[Site]:
    """A server on a free port of this machine, with its model loaded."""
    ready = threading.Event()
    address = listen("127.0.0.1", 0, token)
    faults: list[Exception] = []
    server = Server(
        ModelThread(model, "cpu"), address.auth, lambda _predictor: ready.set(), faults.append
    )
    thread = threading.Thread(target=server.run, args=([address.listening],))
    thread.start()
    try:
        assert ready.wait(LOADING_SECONDS), server.failure
        yield Site(address.auth.port, server, faults)
    finally:
        server.should_exit = True
        thread.join()
        address.listening.close()
