"""Bodies of requests, counted while they come: each one, all together, and by the clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from alld.serve.refused import Refused

MOST_BYTES = 32 * 2**20  # of one file
MOST_TOGETHER = 256 * 2**20  # of all that lie in memory
SECONDS = 30.0  # for one body


class Uploads:
    """How much lies in memory now. No byte of it goes to a disk."""

    def __init__(self) -> None:
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request, most: int | None = None) -> AsyncIterator[bytes]:
        """The body of a request, counted until the block ends; by default as large as a file.

        Raises:
            Refused: larger than `most` bytes, too slow, broken off, or too much at the same time.
        """
        most = MOST_BYTES if most is None else most
        chunks: list[bytes] = []
        counted = 0
        try:
            _check_promise(request, most)
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


def _check_promise(request: Request, most: int) -> None:
    """Refuse by the length that the head of the request declares, before a byte is read."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> Refused:
    return Refused(413, f"larger than {most >> 20} MiB; crop it to one cell")
