"""Seconds for one image of each format: Pillow, `decode` with all checks, and with a known hash.

    python scripts/decoding_speed.py REPEATS

The three take turns on one thread, and the medians of its processor time are printed as JSON.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import activated  # noqa: F401 - says which environment to activate
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alld.images.decode import decode
from alld.runtime.files import sha256_hex

FORMATS: dict[str, tuple[tuple[int, int], str, dict[str, Any]]] = {
    "TIFF, raw": ((257, 257), "TIFF", {}),
    "TIFF, LZW": ((257, 257), "TIFF", {"compression": "tiff_lzw"}),
    "TIFF, Deflate": ((257, 257), "TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF, PackBits": ((257, 257), "TIFF", {"compression": "packbits"}),
    "PNG": ((257, 257), "PNG", {}),
    "BMP": ((257, 257), "BMP", {}),
    "JPEG 360 px": ((360, 360), "JPEG", {"quality": 90}),
    "JPEG, progressive 257 px": ((257, 257), "JPEG", {"quality": 90, "progressive": True}),
    "JPEG 640x480": ((640, 480), "JPEG", {"quality": 90}),
    "JPEG 2592x1944": ((2592, 1944), "JPEG", {"quality": 90}),
}


def encoded(size: tuple[int, int], kind: str, options: dict[str, Any]) -> bytes:
    """Noise under a smooth picture, as a camera sees a smear."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 230, (size[1] // 16 + 1, size[0] // 16 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    noisy = np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, kind, **options)
    return file.getvalue()


def with_pillow(data: bytes) -> NDArray[np.uint8]:
    """Decode without any check."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def timed(ways: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each way; they take turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for way, found in zip(ways, seconds, strict=True):
            began = time.thread_time()
            way()
            found.append(time.thread_time() - began)
    return [median(found) for found in seconds]


def main(repeats: int) -> None:
    """Print one JSON object: the three medians by format."""
    found = {}
    for name, how in FORMATS.items():
        data = encoded(*how)
        sha256 = sha256_hex(data)
        ways: list[Callable[[], object]] = [
            partial(with_pillow, data),
            partial(decode, data, "image"),
            partial(decode, data, "image", sha256),
        ]
        timed(ways, 1)  # what is loaded on first use
        found[name] = timed(ways, repeats)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
