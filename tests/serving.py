"""Servers for tests, in a thread or as the command, and a client that sends what it is given."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from alld.serve.model_thread import ModelThread
from alld.serve.server import Server, listen

POST = {"X-ALLD": "1"}
FORM = {"Content-Type": "multipart/form-data; boundary=xyz"}
SECONDS = 300.0  # until a test gives up
TOKEN = "correct horse battery staple"


@dataclass(frozen=True)
class Reply:
    """The answer to one request; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def form_of(*files: tuple[str, bytes]) -> bytes:
    """Return the body of a form: names and contents of files."""
    parts = [
        f'--xyz\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join([*parts, b"--xyz--\r\n"])


@dataclass
class Client:
    """Sends requests to a server of this machine, each on a connection of its own."""

    port: int

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
        """Send one request with these headers alone."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, named, response.read())
        finally:
            connection.close()

    def predict(self, body: bytes, name: str = "cell.tif", **parameters: object) -> Reply:
        """POST /predict as a well-behaved program does."""
        more = "".join(f"&{key}={value}" for key, value in parameters.items())
        return self.ask(f"/predict?name={quote(name)}{more}", "POST", body, POST)

    def send_form(self, *files: tuple[str, bytes], query: str = "") -> Reply:
        """POST /predict with files as multipart/form-data, as curl and browsers send them."""
        return self.ask(f"/predict{query}", "POST", form_of(*files), POST | FORM)

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def post_head(self, header: str, path: str = "/predict") -> bytes:
        """Return the head of a POST request with one more header."""
        host = f"Host: 127.0.0.1:{self.port}\r\nX-ALLD: 1\r\n"
        return f"POST {path} HTTP/1.1\r\n{host}{header}\r\n\r\n".encode()


def status_of(connection: socket.socket) -> int:
    """Return the status that a bare connection is answered."""
    return int(connection.recv(65536).split()[1])


@dataclass
class Site(Client):
    """A server in this process; `faults` are those it noticed in itself."""

    server: Server
    faults: list[Exception] = field(default_factory=list)


@contextmanager
def running(model: Path, token: str | None = None, **listening: Any) -> Iterator[Site]:
    """Run a server on a free port of this machine, with its model loaded."""
    ready = threading.Event()
    address = listen("127.0.0.1", 0, token, **listening)
    faults: list[Exception] = []
    server = Server(
        ModelThread(model, "cpu"), address.auth, lambda _predictor: ready.set(), faults.append
    )
    thread = threading.Thread(target=server.run, args=([address.listening],))
    thread.start()
    try:
        assert ready.wait(SECONDS), server.failure
        yield Site(address.auth.port, server, faults)
    finally:
        server.should_exit = True
        thread.join()
        address.listening.close()


@contextmanager
def served(
    *words: object, folder: Path | None = None, errors: int | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run `alld serve` in a process of its own; yield it and the address that it printed."""
    command = [sys.executable, "-m", "alld", "serve", *map(str, words), "--port", "0"]
    with subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=errors
    ) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def client_of(address: str) -> Client:
    """Return a client for the address that `alld serve` printed."""
    return Client(urlsplit(address).port or 0)
