"""Decide which requests are answered, and add security headers to every answer.

A page of another site can make a browser send requests to this machine. But it cannot choose the
Host header (a name of its own that it points here is not among ours), hide its Origin, or send the
header that every POST needs: the browser would ask for permission first, and nothing here gives it.

What a proxy says of a request (X-Forwarded-Host and the like) is not read: anybody can send it.
"""

import ipaddress
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POST_HEADER = "x-alld"
# A host as it is written in addresses, lower case, with or without a port.
HOST = r"([a-z0-9_-][a-z0-9_.-]{0,252}|\[[0-9a-f:.]{2,45}\])(:[0-9]{1,5})?"
# Nothing from another host, nothing inline; pictures come as data in our own JSON.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refused(Exception):  # noqa: N818 - an answer to the client, not an error of ours
    """A request that is answered with an error status and a reason."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after

    def response(self) -> JSONResponse:
        """Return `{"error": "..."}` with the status."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": self.reason}, self.status, headers)


@dataclass(frozen=True)
class Auth:
    """The host names that the server answers to, and its token if it has one."""

    names: frozenset[str]  # lower case
    any_address: bool = False  # also any numeric address: nobody can point those elsewhere
    # Names of a proxy, lower case: HOST with any port, or HOST:PORT.
    public_names: frozenset[str] = frozenset()
    root_path: str = ""  # where the proxy puts the page: `/x`, or nothing for the top
    token: str | None = None
    port: int = 0
    # What a browser keeps instead of the token; it is worthless once the server has stopped.
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers do not separate the cookies of two ports."""
        return f"alld-{self.port}"

    def check(self, method: str, headers: Headers, *, public: bool) -> None:
        """Raise Refused unless the request is allowed; `public` requests need no token."""
        host = headers.get("host", "")
        name = _host_name(host)
        own = name in self.names or (self.any_address and is_address(name))
        if not (own or self._is_public(host)):
            raise _foreign("this name is not one of the server's; use the address it printed", name)
        # Behind a proxy our own page may have come by https.
        scheme, _, origin = headers.get("origin", f"http://{host}").lower().partition("://")
        known = origin == host.lower() or self._is_public(origin)
        if scheme not in ("http", "https") or not known:
            raise _foreign("a page of another site asked; only the server's own page may", origin)
        if method not in ("GET", "HEAD") and headers.get(POST_HEADER) is None:
            raise Refused(403, "the header X-ALLD is missing; send X-ALLD: 1")
        if not public and not self.admits(headers):
            raise Refused(401, "the token is missing or wrong; send Authorization: Bearer TOKEN")

    def _is_public(self, host: str) -> bool:
        """Return whether a host, with or without a port, is a name of the proxy."""
        name = _host_name(host)
        return not self.public_names.isdisjoint((host.lower(), name, f"[{name}]"))

    def admits(self, headers: Headers) -> bool:
        """Return whether a request has the token, or the cookie that stands for it."""
        if self.token is None:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return secrets.compare_digest(self._given_cookie(headers).encode(), self.session.encode())

    def is_token(self, given: str) -> bool:
        """Compare with the token, in a time that does not depend on the token."""
        wanted = self.token or ""
        return secrets.compare_digest(given.encode(errors="replace"), wanted.encode())

    def _given_cookie(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return "" if morsel is None else morsel.value


def _foreign(reason: str, host: str) -> Refused:
    """Return a refusal that names the option for a host that is meant to be ours."""
    shown = host if re.fullmatch(HOST, host) else "HOST"
    proxy = f"for a proxy start the server with --public-name {shown}"
    return Refused(403, f"{reason}, or {proxy}")


def _host_name(host: str) -> str:
    """Return a Host header without port and brackets; tunnels change the port."""
    if host.startswith("["):
        name, closed, _ = host[1:].partition("]")
        return name.lower() if closed else ""
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    """Return whether a host name is a numeric address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AuthMiddleware:
    """ASGI middleware: checks each request and adds `HEADERS` to each answer.

    Args:
        public: the paths that need no token.
    """

    def __init__(self, app: ASGIApp, auth: Auth, public: Collection[str]) -> None:
        self.app, self.auth, self.public = app, auth, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        app = self.app
        scope = {**scope, "path": _below(self.auth.root_path, scope["path"])}
        try:
            public = scope["path"] in self.public
            self.auth.check(scope["method"], Headers(scope=scope), public=public)
        except Refused as refused:
            app = refused.response()
        await app(scope, receive, send_hardened)


def _below(root: str, path: str) -> str:
    """Return a path without the root path, which some proxies take away and others keep."""
    return path.removeprefix(root) if path.startswith(f"{root}/") else path
