"""Where the server listens, and what it needs before others can reach it."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from alld.errors import ConfigError
from alld.serve.door import Door, is_address

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LEAST_LETTERS = 16  # of a token


@dataclass(frozen=True)
class Address:
    """A socket that listens, and the address to type into a browser."""

    listening: socket.socket
    url: str
    door: Door


def listen(host: str, port: int, token: str | None) -> Address:
    """Listen at an address; port 0 takes a free one.

    Raises:
        ConfigError: others could reach it and there is no good token, or the address is not free.
    """
    family, place = _resolve(host, port)
    at = ipaddress.ip_address(place[0])
    if token is not None and len(token) < LEAST_LETTERS:
        raise ConfigError(f"--token: has {len(token)} letters; {LEAST_LETTERS} are the least")
    if not at.is_loopback and token is None:
        raise ConfigError(
            f"--host {host}: others can reach it; give a token of {LEAST_LETTERS} letters or more "
            "with --token, or as ALLD_TOKEN"
        )
    listening = _bind(family, place, host)
    port = listening.getsockname()[1]
    own = {host.lower(), str(at), *(LOOPBACK if at.is_loopback or at.is_unspecified else ())}
    if at.is_unspecified:
        own.add(socket.gethostname().lower())
    door = Door(frozenset(own), any_address=at.is_unspecified, token=token, port=port)
    shown = socket.gethostname() if at.is_unspecified else host
    shown = f"[{shown}]" if ":" in shown and is_address(shown) else shown
    return Address(listening, f"http://{shown}:{port}/", door)


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address of a name, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address here; use 127.0.0.1") from error
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, (str(place[0]), port)


def _bind(family: socket.AddressFamily, place: tuple[str, int], host: str) -> socket.socket:
    # By its protocol asyncio knows that small answers shall not wait for others (TCP_NODELAY).
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if hasattr(socket, "SO_REUSEPORT"):  # Windows means something else by SO_REUSEADDR
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
