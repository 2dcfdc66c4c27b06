"""Who may ask: names of the host, pages of its own, and a token where others can reach it.

A page of another site can make a browser send requests to this machine. It cannot choose the Host
header (a name of its own that it points here is not among ours), hide its Origin, or add the header
that every POST must have without asking first, which nothing here allows.
"""

import ipaddress
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers

from alld.serve.parts import PARTS
from alld.serve.refused import Refused

HEADER = "x-alld"
# Without a token: the parts of the page hold nothing secret, and it asks for the token itself.
OPEN_PATHS = frozenset({*PARTS, "/health", "/login"})


@dataclass(frozen=True)
class Door:
    """The names that the server goes by, and its token if it has one."""

    names: frozenset[str]  # lower case
    any_address: bool = False  # addresses in digits too: nobody can point them elsewhere
    token: str | None = None
    port: int = 0
    # What a browser keeps in place of the token; it is worth nothing after the server has ended.
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers do not keep those of two ports apart."""
        return f"alld-{self.port}"

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Let a request in, or raise Refused."""
        host = headers.get("host", "")
        if not self._knows(host):
            raise Refused(403, "this name is not one of the server's; use the address it printed")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in _origins(host):
            raise Refused(403, "a page of another site asked; only the server's own page may")
        if method not in ("GET", "HEAD") and headers.get(HEADER) is None:
            raise Refused(403, "the header X-ALLD is missing; send X-ALLD: 1")
        if path not in OPEN_PATHS and not self.admits(headers):
            raise Refused(401, "the token is missing or wrong; send Authorization: Bearer TOKEN")

    def admits(self, headers: Headers) -> bool:
        """Whether a request brings the token, or the cookie that stands for it."""
        if self.token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return secrets.compare_digest(self._given_cookie(headers).encode(), self.session.encode())

    def is_token(self, given: str) -> bool:
        """Compare with the token, in a time that tells nothing of it."""
        wanted = self.token or ""
        return secrets.compare_digest(given.encode(errors="replace"), wanted.encode())

    def _knows(self, host: str) -> bool:
        name = _name(host)
        return name in self.names or (self.any_address and is_address(name))

    def _given_cookie(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if morsel is None else morsel.value


def _name(host: str) -> str:
    """The name in a Host header, without its port and brackets: tunnels change ports."""
    if host.startswith("["):
        name, closed, _ = host[1:].partition("]")
        return name.lower() if closed else ""
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    """Whether a name is an address in digits."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _origins(host: str) -> tuple[str, str]:
    """The origins of our own page, as it was asked for; behind a proxy that may be https."""
    return f"http://{host.lower()}", f"https://{host.lower()}"
