"""Which format a file is: by its content, and whether its name says another one."""

from pathlib import PurePath

from alld.images.refusals import refusal

_SIGNATURES = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
)
_STRANGERS = (
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
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
}


def format_of(data: bytes) -> str:
    """The format that the first bytes stand for; anything but the four is refused by its name."""
    for start, kind in _SIGNATURES:
        if data.startswith(start):
            return kind
    raise refusal(f"{_looks_like(data)}, not a TIFF, BMP, PNG or JPEG")


def _looks_like(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, what in _STRANGERS:
        if start.startswith(signature):
            return what
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:64]):
        return "text"
    return f"unknown content (first bytes {data[:4].hex(' ')})"


def contradiction(name: str, kind: str) -> list[str]:
    """A warning where the suffix of a name stands for another format than `kind`."""
    suffix = PurePath(name).suffix.lower()
    named = next((other for other, known in _SUFFIXES.items() if suffix in known), kind)
    return [] if named == kind else [f"named {suffix}, but the content is {kind}"]
