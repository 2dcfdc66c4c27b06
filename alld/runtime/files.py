"""Write files whole or not at all, and make their names safe to print and to store."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import uuid4

from alld.errors import RunError

_PART = ".part"
# What a spreadsheet takes for the beginning of a formula, also as East Asian keyboards write it.
_FORMULA = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
# Where semicolons separate cells, as in much of Europe, one may begin behind any of them.
_INNER_FORMULA = re.compile(f";(?=[{re.escape(''.join(_FORMULA))}])")
# Control characters, ends of lines, marks of direction, and bytes of a name that are no UTF-8.
_HIDDEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sums_of(contents: Mapping[str, bytes]) -> str:
    """Lines as of `sha256sum`, a hash and a name each, in the order of the names."""
    return "".join(f"{sha256_hex(data)}  {name}\n" for name, data in sorted(contents.items()))


def one_line(name: str) -> str:
    """A file's name with control characters and line breaks spelt out: it forges no line."""
    spelt = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return "".join(spelt)


def spelt(text: str) -> str:
    """Like `one_line`, for tables: odd spaces stay, what hides, breaks or turns a line does not."""
    return _HIDDEN.sub(lambda hidden: hidden[0].encode("unicode_escape").decode(), text)


def well_formed(text: str) -> str:
    """The text with bytes that are no UTF-8 spelt out, as `\\udcff`."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def plain_path(path: str) -> str:
    """A path that no spreadsheet takes for a formula: `./=x.tif` for `=x.tif`, the same file."""
    return f"./{path}" if path.startswith(_FORMULA) else path


def cell(value: Any) -> Any:
    """What may stand in a CSV table: texts are `spelt`, and begin no formula (after OWASP)."""
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return spelt(_INNER_FORMULA.sub(";'", text))


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader sees the old file or the new one, never a part."""
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, as UTF-8 with the newlines as given."""
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused, as JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table of cells with a header line; None becomes an empty field."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    write_text(path, text.getvalue())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file name beside `path`; when the block ends well, it becomes `path`."""
    beside = _beside(path)
    try:
        yield beside
        sync(beside)
        os.replace(beside, path)
    except OSError as error:
        raise _named(error, beside, path) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    sync(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; when the block ends well, it becomes `path`.

    A folder that already stands at `path` is replaced as a whole.
    """
    beside = _beside(path)
    try:
        beside.mkdir(parents=True)
        yield beside
        for file in sorted(beside.rglob("*")):
            sync(file)
        sync(beside)
        former = _beside(path)
        if path.exists():
            os.replace(path, former)  # nothing is deleted before the new folder stands
        os.replace(beside, path)
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        raise _named(error, beside, path) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync(path.parent)


def check_writable(folder: Path) -> None:
    """Raise RunError if no file can be made in a folder, or where the folder would be made.

    Commands ask before hours of work, and not only when they write the result.
    """
    home = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        TemporaryFile(dir=home).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(f"{home}: cannot be written to ({reason}); name another place") from error


def is_leftover(name: str) -> bool:
    """Whether a file or folder of that name is what a killed process had begun to write."""
    return name.startswith(".") and name.endswith(_PART)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process had begun to write below `folder`; no other may be writing."""
    for left in list(folder.rglob(f".*{_PART}")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Ask the system to put a file or a folder on the disk; folders cannot be synced on Windows."""
    if os.name == "nt":
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _named(error: OSError, beside: Path, path: Path) -> OSError:
    """The same error with the target's name, where it has none, as on a full disk, or a passing
    one."""
    if error.filename is not None and not str(error.filename).startswith(str(beside)):
        return error
    return OSError(error.errno, error.strerror or str(error), str(path))


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short on purpose: the target's own name may already be as long as the file system allows.
    return path.parent / f".{uuid4().hex[:12]}{_PART}"
