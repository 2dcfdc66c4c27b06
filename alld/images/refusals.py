"""How a file is refused: what was seen, and what to do; `decode` puts the file's name in front."""

from alld.errors import ImageError

RESAVE = "save it as 8-bit RGB TIFF or PNG"
FETCH = "get the original file again"
MAX_PIXELS = 25_000_000
MAX_SIDE = 10_000  # px
MAX_WORDS = 2**24  # bytes


def refusal(seen: str, advice: str = RESAVE) -> ImageError:
    """An error of one sentence and one advice."""
    return ImageError(f"{seen}; {advice}")


def check_words(size: int) -> None:
    """Refuse so many bytes that are no pixels: Pillow copies them several times."""
    if size > MAX_WORDS:
        raise refusal(f"over {MAX_WORDS >> 20} MiB of text and other facts beside the picture")


def check_size(width: int, height: int) -> None:
    """Refuse a picture that is too large, by its header and before anything is unpacked."""
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limits = f"over {MAX_PIXELS // 10**6} megapixels or {MAX_SIDE} px a side"
        raise refusal(f"{width} x {height} px, {limits}", "crop it to one cell")
