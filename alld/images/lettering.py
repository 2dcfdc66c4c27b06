"""Fit text to the width of a picture, in Pillow's default font."""

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK, GREY, PAPER, RULE, MARK = "#20242b", "#626873", "white", "#c9ccd2", "#D55E00"


def font(size: int) -> Font:
    """Return Pillow's default font at `size` px."""
    return ImageFont.load_default(size)


def shortened(text: str, width: int, size: int = 12) -> str:
    """Return the end of a text that fits `width` px: the end of a path tells images apart."""
    letters = font(size)
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    if letters.getlength(printable) <= width:
        return printable
    while letters.getlength("…" + printable) > width and printable:
        printable = printable[1:]
    return "…" + printable


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Return a text as lines that fit `width` px, broken between words."""
    letters, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and letters.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines if lines[0] else []
