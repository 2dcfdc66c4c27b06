"""Read the bodies of requests, with limits on size, sum and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from alld.serve.auth import Refused

MOST_BYTES = 32 * 2**20  # per file
MOST_TOGETHER = 256 * 2**20  # of all files in memory
SECONDS = 30.0  # per body


class Uploads:
    """Counts the bytes in memory. None of them goes to a disk."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request, most: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body of a request, which counts until the block ends.

        Raises:
            Refused: over `most` bytes (default: `MOST_BYTES`), too slow, broken off, or too much
                together with other uploads.
        """
        most = MOST_BYTES if most is None else most
        chunks: list[bytes] = []
        counted = 0
        try:
            _check_declared(request, most)
            async with asyncio.timeout(SECONDS):
                async for chunk in request.stream():
                    counted += len(chunk)
                    self._held += len(chunk)
                    if counted > most:
                        raise _too_large(most)
                    if self._held > MOST_TOGETHER:
                        raise Refused(429, "too many uploads at once; try again", 1)
                    chunks.append(chunk)
            yield b"".join(chunks)
        except TimeoutError as error:
            raise Refused(408, f"the upload took over {SECONDS:.0f} s") from error
        except ClientDisconnect as error:
            raise Refused(400, "the upload broke off") from error
        finally:
            self._held -= counted


def _check_declared(request: Request, most: int) -> None:
    """Refuse a declared length that is too large before reading a byte."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> Refused:
    return Refused(413, f"larger than {most >> 20} MiB; crop it to one cell")
