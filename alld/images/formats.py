"""Tell image formats apart by content, and refuse what is too large; `decode` adds the name."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath

from alld.errors import ImageError

RESAVE = "save it as 8-bit RGB TIFF or PNG"
FETCH = "get the original file again"
MAX_PIXELS = 25_000_000
MAX_SIDE = 10_000  # px
# Of whole fields and scans, where a command asks for them; JPEG ends at 65,535 px a side.
MAX_FIELD_PIXELS, MAX_FIELD_SIDE = 200_000_000, 40_000
_limits: ContextVar[tuple[int, int]] = ContextVar("limits", default=(MAX_PIXELS, MAX_SIDE))
MAX_METADATA = 2**24  # bytes

_SIGNATURES = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF, for files over 4 GB
    (b"BM", "BMP"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
)
_OTHERS = (
    (b"MM\0+", "a big-endian BigTIFF"),  # Pillow misreads its header
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"GIF8", "GIF"),
    (b"8BPS", "Photoshop"),
    (b"<", "SVG, XML or a web page"),
)
_SUFFIXES = {
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WebP": (".webp",),
}
IMAGE_SUFFIXES = frozenset(suffix for known in _SUFFIXES.values() for suffix in known)


def refusal(seen: str, advice: str = RESAVE) -> ImageError:
    """Return an error of one sentence and one piece of advice."""
    return ImageError(f"{seen}; {advice}")


def check_metadata(size: int) -> None:
    """Refuse this many bytes beside the pixels: Pillow copies them several times."""
    if size > MAX_METADATA:
        raise refusal(f"over {MAX_METADATA >> 20} MiB of text and other facts beside the picture")


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is too large by its header, before anything is unpacked."""
    most, longest = _limits.get()
    if max(width, height) > longest or width * height > most:
        limits = f"over {most // 10**6} megapixels or {longest} px a side"
        one_cell = (most, longest) == (MAX_PIXELS, MAX_SIDE)
        advice = "crop it to one cell" if one_cell else "cut it into parts"
        raise refusal(f"{width} x {height} px, {limits}", advice)


@contextmanager
def whole_fields() -> Iterator[None]:
    """Accept pictures as large as a field may be, in this thread."""
    token = _limits.set((MAX_FIELD_PIXELS, MAX_FIELD_SIDE))
    try:
        yield
    finally:
        _limits.reset(token)


def format_of(data: bytes) -> str:
    """Return the format that the first bytes name; ImageError for any other."""
    for start, kind in _SIGNATURES:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    raise refusal(f"{_looks_like(data)}, not a TIFF, BMP, PNG, JPEG or WebP")


def _looks_like(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, what in _OTHERS:
        if start.startswith(signature):
            return what
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:64]):
        return "text"
    return f"unknown content (first bytes {data[:4].hex(' ')})"


def suffix_warnings(name: str, kind: str) -> list[str]:
    """Return a warning if the suffix of `name` belongs to another format than `kind`."""
    suffix = PurePath(name).suffix.lower()
    named = next((other for other, known in _SUFFIXES.items() if suffix in known), kind)
    return [] if named == kind else [f"named {suffix}, but the content is {kind}"]
