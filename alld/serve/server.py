"""Listen at an address and run uvicorn there: one process, no log, limits for slow clients."""

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from alld.errors import ConfigError
from alld.serve.app import OnBug, create_app
from alld.serve.auth import HOST, Auth, is_address
from alld.serve.model_thread import ModelThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from alld.inference.predictor import Predictor

    OnReady = Callable[[Predictor], object]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MIN_TOKEN = 16  # characters
MAX_CONNECTIONS = 128
HEAD_SECONDS = 10.0  # for the head of a request, from the connection or the last answer
REQUEST_SECONDS = 120.0  # for a request and its answer, including slow reading
IDLE_SECONDS = 5  # between two requests
CHECK_SECONDS = 1.0


@dataclass(frozen=True)
class Address:
    """A listening socket, and the address to type into a browser."""

    listening: socket.socket
    url: str
    auth: Auth


def listen(
    host: str,
    port: int,
    token: str | None,
    *,
    public_names: Collection[str] = (),
    root_path: str = "",
) -> Address:
    """Listen at an address; port 0 takes a free one.

    Args:
        public_names: names of a proxy, HOST or HOST:PORT, that requests may come for too.
        root_path: where the proxy puts the page, such as `/x`.

    Raises:
        ConfigError: others could reach it and there is no good token, the address is not free, or
            a name or path is not one.
    """
    public, root = _public_names(public_names), _root_path(root_path)
    family, place = _resolve(host, port)
    at = ipaddress.ip_address(place[0])
    if token is not None and len(token) < MIN_TOKEN:
        raise ConfigError(f"--token: has {len(token)} characters; {MIN_TOKEN} are the least")
    if not at.is_loopback and token is None:
        raise ConfigError(
            f"--host {host}: others can reach it; give a token of {MIN_TOKEN} characters or more "
            "with --token, or as ALLD_TOKEN"
        )
    listening = _bind(family, place, host)
    port = listening.getsockname()[1]
    own = {host.lower(), str(at), *(LOOPBACK if at.is_loopback or at.is_unspecified else ())}
    if at.is_unspecified:
        own.add(socket.gethostname().lower())
    auth = Auth(
        frozenset(own),
        any_address=at.is_unspecified,
        public_names=public,
        root_path=root,
        token=token,
        port=port,
    )
    shown = socket.gethostname() if at.is_unspecified else host
    shown = f"[{shown}]" if ":" in shown and is_address(shown) else shown
    return Address(listening, f"http://{shown}:{port}{root}/", auth)


class Server(uvicorn.Server):
    """uvicorn with our application; `failure` is why the model could not be loaded."""

    def __init__(self, model: ModelThread, auth: Auth, on_ready: "OnReady", on_bug: OnBug) -> None:
        self._on_ready = on_ready
        self.failure: BaseException | None = None
        config = uvicorn.Config(
            create_app(model, auth, self._loaded, on_bug),
            http=_TimedProtocol,
            loop="asyncio",
            ws="none",
            lifespan="on",
            # Requests contain names of files, so nothing of them is logged.
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=0,
        )
        super().__init__(config)

    def _loaded(self, model: "asyncio.Future[Predictor]") -> None:
        if model.cancelled():
            return
        self.failure = model.exception()
        if self.failure is None:
            self._on_ready(model.result())
        else:
            self.should_exit = True


def serve(model: ModelThread, address: Address, on_ready: "OnReady", on_bug: OnBug) -> None:
    """Answer requests until a signal comes, which is raised again when all is closed.

    Args:
        on_ready: called with the model when it is loaded.
        on_bug: called with each unexpected error; the client gets status 500 and a sentence.

    Raises:
        AlldError: the model cannot be loaded.
    """
    server = Server(model, address.auth, on_ready, on_bug)
    server.run(sockets=[address.listening])
    if server.failure is not None:
        raise server.failure


class _TimedProtocol(H11Protocol):
    """Closes a connection that takes too long at any stage.

    uvicorn itself waits without limit for the head of a first request, and for clients that do not
    read their answer.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to watch a connection, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._stage: tuple[Any, bool] | None = None
        self._since = 0.0
        self._check()

    def _check(self) -> None:
        if self not in self.connections:  # closed
            return
        waiting = self.cycle is None or self.cycle.response_complete
        if self._stage != (self.cycle, waiting):
            self._stage, self._since = (self.cycle, waiting), self.loop.time()
        if self.loop.time() - self._since > (HEAD_SECONDS if waiting else REQUEST_SECONDS):
            self.transport.abort()
            return
        self.loop.call_later(CHECK_SECONDS, self._check)


def _public_names(given: Collection[str]) -> frozenset[str]:
    for name in given:
        if not re.fullmatch(HOST, name.lower()):
            raise ConfigError(
                f"--public-name {name}: is no host; give it as cells.lab.org or cells.lab.org:8443"
            )
    return frozenset(name.lower() for name in given)


def _root_path(given: str) -> str:
    """Return a root path without a slash at its end."""
    root = given.rstrip("/")
    if not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*", root):
        raise ConfigError(f"--root-path {given}: is no path of an address; give it as /cells")
    return root


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return the first address of a name, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address here; use 127.0.0.1") from error
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(place[0]), port)


def _bind(family: socket.AddressFamily, place: tuple[str, int], host: str) -> socket.socket:
    # By the protocol asyncio knows that it may send small answers at once (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if hasattr(socket, "SO_REUSEPORT"):  # on Windows SO_REUSEADDR means something else
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(place)
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            advice = "take another port, or --port 0 for a free one"
            raise ConfigError(
                f"--port {place[1]}: another program listens there; {advice}"
            ) from error
        raise ConfigError(f"--host {host} --port {place[1]}: {error.strerror}") from error
    return listening
