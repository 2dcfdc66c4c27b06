"""A server of this machine that speaks as the Hugging Face Hub does, and one of its files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

TOKEN = "hf_a_token_of_this_test"


@dataclass
class Hub:
    """What it serves and how it behaves; `asked` are the paths of all requests in their order."""

    folder: Path  # served as the repository lab/cells, at every known revision
    revisions: tuple[str, ...] = ("main", "v1")
    private: bool = False
    cdn: str = ""  # another server, to which it leads for weights
    breaks: int = 0  # so many transfers end in the middle
    status: int = 200
    endless: bool = False  # announces no size and never ends
    port: int = 0
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        hub.asked.append(self.path)
        hub.tokens.append(self.headers.get("Authorization"))
        if hub.status != 200:
            self._end(hub.status)
            return
        if hub.private and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._end(401)
            return
        parts = self.path.split("/", 5)  # "", owner, name, "resolve", revision, file
        name = parts[5] if len(parts) == 6 else ""
        known = parts[1:4] == ["lab", "cells", "resolve"] and unquote(parts[4]) in hub.revisions
        if not known or not (hub.folder / name).is_file():
            self._end(404)
        elif hub.cdn and name.endswith(".safetensors"):
            self._end(302, f"{hub.cdn}{self.path}")
        else:
            self._send((hub.folder / name).read_bytes(), name)

    def _send(self, data: bytes, name: str) -> None:
        self.send_response(200)
        if not self.hub.endless:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        weights = name.endswith(".safetensors")
        if weights and self.hub.breaks:
            self.hub.breaks -= 1
            data = data[: len(data) // 2]
        self.wfile.write(data)
        while weights and self.hub.endless:
            self.wfile.write(bytes(2**16))

    def _end(self, status: int, place: str = "") -> None:
        self.send_response(status)
        if place:
            self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with _Server(("127.0.0.1", 0), handler) as server:
        hub.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def point_to(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    """Make this server the Hub, as HF_ENDPOINT does for a process that starts."""
    from huggingface_hub import constants

    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.delenv("HF_TOKEN", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        patch.delenv(name, raising=False)
