"""Read the bodies of requests, with limits on size, sum and time."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from typing import NamedTuple, TypeVar, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from alld.serve.auth import Refused

MOST_BYTES = 32 * 2**20  # per request
MOST_FILES = 100  # per request
MOST_TOGETHER = 256 * 2**20  # of all requests in memory
SECONDS = 30.0  # per body

# More than any file can have, so that none goes to the disk.
IN_MEMORY = {"MAX_MEMORY_FILE_SIZE": MOST_BYTES + 1}
# It would write a line in the terminal for each damaged form; the client is told anyway.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

Chunks = AsyncGenerator[bytes, None]
Read = TypeVar("Read")


class FormFile(NamedTuple):
    """A file of a form; `data` is at its end."""

    name: str  # as the client calls it
    data: BytesIO


class Uploads:
    """Counts the bytes in memory. None of them goes to a disk."""

    def __init__(self) -> None:
        self._held = 0

    def body(self, request: Request, most: int | None = None) -> AbstractAsyncContextManager[bytes]:
        """Yield the body of a request, which counts until the block ends.

        Raises:
            Refused: over `most` bytes (default: `MOST_BYTES`), too slow, broken off, or too much
                together with other uploads.
        """
        return self._reading(request, MOST_BYTES if most is None else most, _join)

    def files(self, request: Request) -> AbstractAsyncContextManager[list[FormFile]]:
        """Yield the files of a body that is multipart/form-data; they count as `body` does.

        Raises:
            Refused: as `body` does; also for what is no multipart/form-data of files alone.
        """

        async def parse(chunks: Chunks) -> list[FormFile]:
            return await _parse_form(request, chunks)

        return self._reading(request, MOST_BYTES, parse)

    @asynccontextmanager
    async def _reading(
        self, request: Request, most: int, read: Callable[[Chunks], Awaitable[Read]]
    ) -> AsyncIterator[Read]:
        counted = 0

        async def chunks() -> Chunks:
            nonlocal counted
            async for chunk in request.stream():
                counted += len(chunk)
                self._held += len(chunk)
                if counted > most:
                    raise _too_large(most)
                if self._held > MOST_TOGETHER:
                    raise Refused(429, "too many uploads at once; try again", 1)
                yield chunk

        try:
            _check_declared(request, most)
            async with asyncio.timeout(SECONDS):
                found = await read(chunks())
            yield found
        except TimeoutError as error:
            raise Refused(408, f"the upload took over {SECONDS:.0f} s") from error
        except ClientDisconnect as error:
            raise Refused(400, "the upload broke off") from error
        finally:
            self._held -= counted


async def _join(chunks: Chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def _parse_form(request: Request, chunks: Chunks) -> list[FormFile]:
    files: list[FormFile] = []
    ended = False

    def take(file: File) -> None:
        if len(files) == MOST_FILES:
            raise FormParserError("it has more")
        name = (file.file_name or b"").decode(errors="replace")
        files.append(FormFile(name, cast(BytesIO, file.file_object)))

    def refuse(_field: Field) -> None:
        raise FormParserError("it has a text field")

    def end() -> None:
        nonlocal ended
        ended = True

    try:
        boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary")
        form = FormParser("multipart/form-data", refuse, take, end, boundary, config=IN_MEMORY)
        async for chunk in chunks:
            form.write(chunk)
        if not files or not ended:
            raise FormParserError("it has none, or no end")
    except FormParserError as error:
        advice = f"send 1 to {MOST_FILES} files and nothing else, as curl -F file=@cell.tif does"
        raise Refused(400, f"multipart/form-data: {advice} ({error})") from error
    return files


def _check_declared(request: Request, most: int) -> None:
    """Refuse a declared length that is too large before reading a byte."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)


def _too_large(most: int) -> Refused:
    if most < MOST_BYTES:
        return Refused(413, f"larger than {most} bytes")
    return Refused(413, f"larger than {most >> 20} MiB; crop it to one cell, or send fewer at once")
