"""`python -m alld.serve.child`: decode one file after another in a process that may crash.

Jobs come from standard input, answers go to standard output. A job is three lengths, the name and
the bytes of a file. An answer is the length of a JSON header, the header and, if the file is a
picture, its samples and a PNG of it. Nothing is pickled, and the server checks every answer.

Before the first job the process gives up what no decoder needs: memory beyond a limit, new
processes, files of its own. It imports numpy and Pillow, and no model.
"""

import json
import os
import signal
import struct
import sys
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.data.preprocess import to_square
from alld.errors import ImageError
from alld.images.decode import decode
from alld.images.formats import MAX_PIXELS
from alld.runtime.files import one_line

if sys.platform != "win32":
    import resource

JOB = struct.Struct(">III")  # side of the preview in px, length of the name, length of the file
LENGTH = struct.Struct(">I")
READY = b"ready"
MAX_HEADER = 2**16
MAX_PREVIEW_SIDE = 512  # px
MAX_PREVIEW = 4 * MAX_PREVIEW_SIDE**2  # bytes; a PNG takes a little over three per pixel at most
MEMORY = 2 * 2**30  # bytes of address space; the worst honest picture takes less than half of it
CPU_SECONDS = 10  # of processor time, per file


@dataclass(frozen=True)
class Header:
    """What precedes a picture, or the reason why there is none."""

    error: str | None = None
    height: int = 0  # px
    width: int = 0
    preview: int = 0  # bytes of the PNG, 0 where none was asked for
    format: str = ""
    conversions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def samples(self) -> int:
        """Number of bytes of the RGB picture."""
        return 3 * self.height * self.width

    def to_bytes(self) -> bytes:
        """Return the length of the header, then the header."""
        text = json.dumps(vars(self)).encode()
        return LENGTH.pack(len(text)) + text


def parse_header(data: bytes) -> Header:
    """Read the header of an answer.

    Raises:
        ValueError: no child of ours would write this.
    """
    given: dict[str, Any] = json.loads(data)
    numbers = [given["height"], given["width"], given["preview"]]
    words = [given["format"], *given["conversions"], *given["warnings"]]
    if given["error"] is not None:
        words.append(given["error"])
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a size is not a number")
    if not all(isinstance(word, str) and word.isprintable() for word in words):
        raise ValueError("a text is not one line")
    lists = {name: tuple(given[name]) for name in ("conversions", "warnings")}
    header = Header(**{**given, **lists})
    if header.samples > 3 * MAX_PIXELS or header.preview > MAX_PREVIEW:
        raise ValueError("larger than any picture")
    if header.error is None and header.samples == 0:
        raise ValueError("neither a picture nor a reason")
    return header


def main() -> None:
    """Do jobs until there are no more."""
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends us
    limit_all()
    answers.write(READY)
    answers.flush()
    while job := jobs.read(JOB.size):
        side, name, data = JOB.unpack(job)
        limit_time(CPU_SECONDS)
        answer(jobs.read(name).decode(), jobs.read(data), side, answers)


def answer(name: str, data: bytes, side: int, answers: BinaryIO) -> None:
    """Decode one file and write the picture, or why there is none."""
    try:
        decoded = decode(data, name)
        png = preview(decoded.pixels, side) if side else b""
    except ImageError as error:
        answers.write(Header(error=str(error)).to_bytes())
    except MemoryError:
        reason = one_line(f"{name}: takes more memory than one picture may")
        answers.write(Header(error=reason).to_bytes())
    else:
        height, width, _ = decoded.pixels.shape
        words = (decoded.format, decoded.conversions, decoded.warnings)
        answers.write(Header(None, height, width, len(png), *words).to_bytes())
        answers.write(decoded.pixels.data)
        answers.write(png)
    answers.flush()


def preview(pixels: NDArray[np.uint8], side: int) -> bytes:
    """Pad RGB (H, W, 3) to a square as for the model; return a PNG of at most `side` px."""
    square = to_square(pixels, min(side, max(pixels.shape[:2])), "none")
    png = BytesIO()
    Image.fromarray(square).save(png, "PNG", compress_level=3)
    return png.getvalue()


def limit_all(memory: int = MEMORY) -> None:
    """Give up for good: more than `memory` bytes of address space, writing, new processes.

    Windows has no such limits; there only the server's timeout ends a child.
    """
    if sys.platform == "win32":
        return
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 32,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, most in limits.items():
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # macOS refuses some of them
            continue


def limit_time(seconds: int) -> None:
    """Let the system kill this process after that much more processor time."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
