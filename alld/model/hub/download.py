"""Download files over HTTP within bounds: https stays https, a token stays with its server.

Proxies are those of the environment (HTTPS_PROXY, NO_PROXY), certificates those of the system
(or SSL_CERT_FILE).
"""

import hashlib
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from alld import __version__
from alld.errors import BundleError, ConfigError
from alld.model.hub.address import Address
from alld.runtime.files import one_line

SECONDS = 20.0  # that a server may be silent
SAFE = ("https",)  # for other servers, to which a server leads
TRIES = 3  # for a file whose transfer breaks off
_CHUNK = 2**20

OnBytes = Callable[[int, int | None, bool], None]
Found = TypeVar("Found")


class UnreachableError(BundleError):
    """No server answered, or the network is forbidden."""


class _BrokenError(Exception):
    """The transfer of a file broke off."""


class Downloads:
    """Reads the files below an address, at most `most` bytes of all together."""

    def __init__(self, address: Address, most: int) -> None:
        self.address = address
        self._left = most
        self._opener = urllib.request.build_opener(_Redirects)
        agent = {"User-Agent": f"alld/{__version__}"}
        # Names of headers as urllib compares them.
        self._headers = {k.capitalize(): v for k, v in {**address.headers, **agent}.items()}

    def read(self, name: str, most: int) -> bytes | None:
        """Return a small file, or None where there is none of that name.

        Raises:
            BundleError: nobody answers, access is refused, or it is larger than `most` bytes.
        """
        return self._tried(name, lambda: self._read(name, most))

    def save(self, name: str, path: Path, sha256: str, on_bytes: OnBytes) -> None:
        """Download a file to `path`, where nothing is yet, and compare its SHA-256.

        A transfer that breaks off begins again.

        Args:
            on_bytes: called with the bytes so far, all bytes if known, and whether these are all.

        Raises:
            BundleError: as of `read`; or it is not there, or another file.
        """
        if self._tried(name, lambda: self._save(name, path, sha256, on_bytes)) is None:
            raise BundleError(f"{self.address.text}: {name} is missing there; tell its publisher")

    def _tried(self, name: str, work: Callable[[], Found]) -> Found:
        for _ in range(TRIES):
            try:
                return work()
            except _BrokenError as error:
                reason = error
        raise UnreachableError(
            f"{self.address.text}: {name} broke off {TRIES} times ({reason}); try again later"
        )

    def _read(self, name: str, most: int) -> bytes | None:
        answer = self._open(name)
        if answer is None:
            return None
        with answer:
            return b"".join(self._chunks(name, answer, most))

    def _save(self, name: str, path: Path, sha256: str, on_bytes: OnBytes) -> bool | None:
        answer = self._open(name)
        if answer is None:
            return None
        digest, done, total = hashlib.sha256(), 0, answer.length
        with answer, path.open("wb") as file:
            for chunk in self._chunks(name, answer, self._left):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                on_bytes(done, total, False)
        if digest.hexdigest() != sha256:
            raise BundleError(
                f"{self.address.text}: {name} is not the file of its SHA256SUMS; its publisher has "
                "to upload it anew"
            )
        self._left -= done
        on_bytes(done, done, True)
        return True

    def _chunks(self, name: str, answer: HTTPResponse, most: int) -> Iterator[bytes]:
        """Yield the body; a server may announce no size, or a wrong one."""
        announced, done = answer.length, 0
        while (announced or 0) <= most and done <= most:
            try:
                chunk = answer.read(_CHUNK)
            except (OSError, HTTPException) as error:
                raise _BrokenError(_words(error)) from error
            if not chunk:
                if announced is not None and done < announced:
                    raise _BrokenError(f"{done} of {announced} bytes came")
                return
            done += len(chunk)
            yield chunk
        raise BundleError(f"{self.address.text}: {name} has more than {most} bytes; refused")

    def _open(self, name: str) -> HTTPResponse | None:
        """Ask for a file; None for status 404 alone."""
        if self.address.offline:
            raise UnreachableError(
                f"{self.address.text}: {self.address.offline} forbids the network"
            )
        request = urllib.request.Request(self.address.base + name, headers=self._headers)
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=SECONDS)
            return answer
        except HTTPError as error:
            with error:
                if error.code != 404:
                    raise self._refused(name, error) from error
            return None
        except URLError as error:  # no connection
            raise UnreachableError(
                f"{self.address.text}: {urlsplit(self.address.base).hostname} cannot be reached "
                f"({_words(error.reason)})"
            ) from error
        except (OSError, HTTPException) as error:
            raise _BrokenError(_words(error)) from error

    def _refused(self, name: str, error: HTTPError) -> BundleError:
        place = self.address.text
        if error.code in (401, 403):
            hub = place.startswith("hf://")
            advice = "; set HF_TOKEN to the token of an account that may read it" if hub else ""
            return BundleError(f"{place}: no model there, or not for everybody{advice}")
        if error.code >= 500 or error.code == 429:
            return UnreachableError(f"{place}: the server answers {name} with status {error.code}")
        return BundleError(f"{place}: the server answers {name} with status {error.code}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other servers as the Hub needs it, but not from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Return the next request, without the token where another server gets it."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if after.scheme not in SAFE and after[:2] != before[:2]:  # scheme and host
            raise ConfigError(
                f"{req.full_url}: leads on to {one_line(newurl)}, which is not https://; refused"
            )
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and before.netloc != after.netloc:
            following.remove_header("Authorization")
        return following


def _words(reason: object) -> str:
    """Return the reason of a failure on one line."""
    return one_line(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)
