"""Decode uploads in child processes, which are replaced when they die or have worked long."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import alld
from alld.errors import ImageError
from alld.images.decode import Decoded
from alld.images.formats import RESAVE
from alld.runtime.files import one_line
from alld.serve.child import JOB, LENGTH, MAX_HEADER, READY, Header, parse_header

CHILDREN = 2
SECONDS = 15.0  # of wall time, per file; the limit on processor time is in `child`
START_SECONDS = 60.0
JOBS = 1000  # per child: memory that a library leaks goes with it
# The environment of a child: enough to find Python and its packages, and nothing secret.
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "TMPDIR")
# Raised when a child died, or wrote what no child of ours would write.
_BROKEN = (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True)
class Picture:
    """A decoded file, and a PNG of it if one was wanted."""

    decoded: Decoded
    preview: bytes


@dataclass
class _Child:
    process: Process
    jobs: int = 0


class Decoders:
    """A pool of child processes; `decode` waits for a free one. It belongs to one event loop."""

    def __init__(self) -> None:
        # A place without a child gets one when it is first used.
        self._places: asyncio.Queue[_Child | None] = asyncio.Queue()
        for _ in range(CHILDREN):
            self._places.put_nowait(None)
        self._alive: set[Process] = set()

    async def decode(self, name: str, data: bytes, side: int = 0) -> Picture:
        """Decode a file and draw a preview of `side` px, or none for 0.

        Raises:
            ImageError: not a picture, or one that crashed the child or took it too long.
        """
        async with self._child() as process:
            try:
                async with asyncio.timeout(SECONDS):
                    header, samples, preview = await _ask(process, name, data, side)
            except TimeoutError as error:
                _kill(process)
                raise _failure(name, f"is not decoded after {SECONDS:.0f} s") from error
            except _BROKEN as error:
                _kill(process)
                raise _failure(name, "ended the process that was to decode it") from error
        if header.error is not None:
            raise ImageError(header.error)
        shape = (header.height, header.width, 3)
        # A copy, because the samples that were read cannot be written to.
        pixels = np.frombuffer(samples, np.uint8).reshape(shape).copy()
        decoded = Decoded(pixels, header.format, header.conversions, header.warnings)
        return Picture(decoded, preview)

    async def start(self) -> None:
        """Start all children before they are needed."""
        await asyncio.gather(*(self._warm() for _ in range(CHILDREN)))

    async def close(self) -> None:
        """Kill all children."""
        for process in list(self._alive):
            await self._end(process)

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Process]:
        """Yield a free child; it is killed unless its answer was read to the end."""
        child = await self._places.get()
        whole = False
        try:
            if child is None or child.process.returncode is not None:
                child = await self._start()
            child.jobs += 1
            yield child.process
            whole = True
        finally:
            if child is not None and not (whole and child.jobs < JOBS):
                await self._end(child.process)
                child = None
            self._places.put_nowait(child)

    async def _warm(self) -> None:
        async with self._child():
            pass

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "alld.serve.child"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,  # libtiff's own lines
            env=_environment(),
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
        self._alive.add(process)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                await process.stdout.readexactly(len(READY))
        except BaseException:
            await self._end(process)
            raise
        return _Child(process)

    async def _end(self, process: Process) -> None:
        _kill(process)
        await process.wait()
        self._alive.discard(process)


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


def _environment() -> dict[str, str]:
    """Let a child find the ALLD of this process, and start no threads, which take memory."""
    known = {name: os.environ[name] for name in INHERITED if name in os.environ}
    paths = [str(Path(alld.__file__).parents[1]), known.get("PYTHONPATH", "")]
    known["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return {**known, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


async def _ask(process: Process, name: str, data: bytes, side: int) -> tuple[Header, bytes, bytes]:
    """Return the checked header of the answer, the samples and the preview."""
    assert process.stdin is not None
    assert process.stdout is not None
    encoded = name.encode()
    process.stdin.write(JOB.pack(side, len(encoded), len(data)) + encoded)
    process.stdin.write(data)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > MAX_HEADER:
        raise ValueError("the header is too long")
    header = parse_header(await process.stdout.readexactly(length))
    samples = await process.stdout.readexactly(header.samples)
    return header, samples, await process.stdout.readexactly(header.preview)


def _failure(name: str, seen: str) -> ImageError:
    return ImageError(one_line(f"{name}: {seen}; {RESAVE}"))
