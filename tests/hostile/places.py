"""Names that no one would give a file, and things in a folder that are no files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crafted import encode

from hostile.honest_tiff import RGB

PICTURE = encode(RGB, "PNG")
NAMES = (
    b"line\nbreak.png",
    b"carriage\rreturn.png",
    b"next\xc2\x85line.png",
    b"line\xe2\x80\xa8separator.png",
    b"\ttab.png",
    b"bell\x07.png",
    b"escape\x1b[31mred\x1b[2J.png",
    b"title\x1b]0;owned\x07.png",
    b"delete\x7f.png",
    b"bidi\xe2\x80\xaegnp.exe.png",
    b"mark\xe2\x80\x8f.png",
    b"isolate\xe2\x81\xa6.png",
    b"not-utf-8-\xff\xfe.png",
    b"\xc3\x28.png",
    b"half-a-letter-\xc3.png",
    b"surrogate-\xed\xa0\x80.png",
    b"=1+1.png",
    b"=cmd|' calc'!A0.png",
    b"+1.png",
    b"-1.png",
    b"--help.png",
    b"@SUM(A1).png",
    b"\xef\xbc\x9d1.png",
    b"<script>alert(1)<.png",
    b'"onerror=alert(1) x=".png',
    b"'; DROP TABLE cells; --.png",
    b'a,b;c"d.png',
    b"semicolon;=1+1.png",
    b"[red]markup[.png",
    b":bomb:.png",
    b"{0}%s%n.png",
    b"$(touch canary).png",
    b"star*.png",
    b"[ab].png",
    b" spaces .png",
    b"nbsp\xc2\xa0.png",
    b"\xef\xbb\xbfbom.png",
    b"NUL.png",
    b"\xf0\x9f\xa9\xb8.png",
    b"\xe7\xb4\xb0\xe8\x83\x9e.png",
    b"e\xcc\x81-and-\xc3\xa9.png",
    b"l" * 251 + b".png",
    b"\xe2\x82\xac" * 83 + b"l.png",
)


@dataclass(frozen=True)
class Odd:
    """Something in a folder; `refused` is a word of the reason, None where it must be read."""

    path: Path
    refused: str | None


def make_names(folder: Path) -> Iterator[Odd]:
    """The same picture under every name that this file system takes."""
    for name in NAMES:
        path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))
        try:
            path.write_bytes(PICTURE)
        except (OSError, ValueError):
            continue
        yield Odd(path, None)


def make_things(folder: Path) -> Iterator[Odd]:
    """Pipes, devices, folders, links and files without rights."""
    os.mkfifo(folder / "pipe.tif")
    yield Odd(folder / "pipe.tif", "pipe")
    (folder / "folder.tif").mkdir()
    yield Odd(folder / "folder.tif", "is an empty folder")
    (folder / "loop.tif").symlink_to("loop.tif")
    yield Odd(folder / "loop.tif", "cannot be read")
    (folder / "first.tif").symlink_to("second.tif")
    (folder / "second.tif").symlink_to("first.tif")
    yield Odd(folder / "first.tif", "cannot be read")
    (folder / "dangling.tif").symlink_to("nowhere.tif")
    yield Odd(folder / "dangling.tif", "no file has that name")
    for device in ("null", "zero", "random", "full", "tty"):
        (folder / f"{device}.tif").symlink_to(f"/dev/{device}")
        yield Odd(folder / f"{device}.tif", "device")
    (folder / "memory.tif").symlink_to("/proc/self/mem")
    yield Odd(folder / "memory.tif", "")
    (folder / "to-folder.tif").symlink_to(folder / "folder.tif")
    yield Odd(folder / "to-folder.tif", "is an empty folder")
    (folder / "good.png").write_bytes(PICTURE)
    (folder / "link.png").symlink_to("good.png")
    yield Odd(folder / "link.png", None)
    (folder / "empty.tif").touch()
    yield Odd(folder / "empty.tif", "empty")
    with (folder / "sparse.tif").open("wb") as file:
        file.truncate(10**12)
    yield Odd(folder / "sparse.tif", "larger than")
    (folder / "locked.png").write_bytes(PICTURE)
    (folder / "locked.png").chmod(0)
    yield Odd(folder / "locked.png", "cannot be read")
    (folder / "closed").mkdir(mode=0)
    yield Odd(folder / "closed", "cannot be read")
    yield Odd(folder / "missing.tif", "no file has that name")
    yield Odd(folder / "good.png" / "inside.tif", "cannot be read")
    yield Odd(folder / ("n" * 300 + ".tif"), "cannot be read")
