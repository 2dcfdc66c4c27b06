"""`python -m alld.serve.child`: decodes one file after another in a process that may die.

Jobs come from standard input, answers go to standard output; see `frames`. Before the first job the
process gives up what no decoder needs: memory beyond a limit, new processes, files of its own. It
imports numpy and Pillow, and no model.
"""

import os
import signal
import sys
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.data.preprocess import to_square
from alld.errors import ImageError
from alld.images.decode import decode
from alld.runtime.files import one_line
from alld.serve.frames import JOB, READY, Header

if sys.platform != "win32":
    import resource

MEMORY = 2 * 2**30  # bytes of address space; the worst honest picture takes less than half of it
CPU_SECONDS = 10  # of the processor, for one file


def main() -> None:
    """Answer jobs until there are no more."""
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
    limit_all()
    answers.write(READY)
    answers.flush()
    while job := jobs.read(JOB.size):
        side, name, data = JOB.unpack(job)
        limit_time(CPU_SECONDS)
        answer(jobs.read(name).decode(), jobs.read(data), side, answers)


def answer(name: str, data: bytes, side: int, answers: BinaryIO) -> None:
    """Decode one file and write what came of it."""
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
    """RGB (H, W, 3) as the model gets it, padded to a square, as a PNG of at most `side` px."""
    square = to_square(pixels, min(side, max(pixels.shape[:2])), "none")
    png = BytesIO()
    Image.fromarray(square).save(png, "PNG", compress_level=3)
    return png.getvalue()


def limit_all(memory: int = MEMORY) -> None:
    """Give up for good: address space beyond `memory` bytes, writing files, new processes.

    Windows has no such limits; there only the server's clock ends a child.
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
    """Let the system end this process after so many more seconds of the processor."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
