"""The parts of an unfinished table: a plan, and for each shard that is done one file, or none."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alld.errors import RunError
from alld.inference.archives.tally import Tally
from alld.runtime.files import sha256_hex, write_bytes
from alld.runtime.locks import live
from alld.runtime.reading import parse_json, read_json

PLAN = "plan.json"
_WORDS = {"list": "the list of images", "folder": "the folder that names begin in"}
_DAMAGED = (OSError, ValueError, KeyError, TypeError)


class Parts:
    """A folder of parts of one plan. A part that a kill cut short, or of another plan, is none."""

    def __init__(self, folder: Path, plan: str) -> None:
        self.folder = folder
        self.plan = plan  # its SHA-256

    def write(self, number: int, body: bytes, tally: Tally) -> None:
        """Put one part in its place, in one step: a line that says what it is, then the rows."""
        said = {
            "plan": self.plan,
            "shard": number,
            "bytes": len(body),
            "sha256": sha256_hex(body),
            "verdicts": tally.verdicts,
            "notes": tally.notes,
        }
        write_bytes(self._file(number), json.dumps(said).encode() + b"\n" + body)

    def done(self, number: int) -> bool:
        """Whether this part is there, as far as its first line and its length tell."""
        try:
            with open(self._file(number), "rb") as file:
                said = self._said(file.readline(), number)
                return os.fstat(file.fileno()).st_size == file.tell() + int(said["bytes"])
        except _DAMAGED:
            return False

    def read(self, number: int) -> tuple[bytes, Tally]:
        """The rows of one part, and what they add up to.

        Raises:
            RunError: it is not what was written; it is removed, to be made again.
        """
        file = self._file(number)
        try:
            first, _, body = file.read_bytes().partition(b"\n")
            said = self._said(first, number)
            if sha256_hex(body) != said["sha256"]:
                raise ValueError("another hash")
            return body, Tally(Counter(said["verdicts"]), Counter(said["notes"]))
        except _DAMAGED as error:
            file.unlink(missing_ok=True)
            raise RunError(f"{file}: damaged, now removed; give the same command again") from error

    def remove(self, count: int) -> None:
        """Take away the plan and so many parts, and nothing else that may lie there."""
        for file in (self.folder / PLAN, *map(self._file, range(count))):
            file.unlink(missing_ok=True)

    def _said(self, line: bytes, number: int) -> dict[str, Any]:
        said: dict[str, Any] = parse_json(line)
        if (said["plan"], said["shard"]) != (self.plan, number):
            raise ValueError("of another plan")
        return said

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}"


@contextmanager
def parts_of(out: Path, plan: Mapping[str, Any]) -> Iterator[Parts]:
    """The parts of a table, for this process alone; those that are there already are kept.

    The folder goes when its parts were removed.

    Raises:
        RunError: another process is at work on this table, or the parts are of another plan.
    """
    folder = out.with_name(f"{out.name}.parts")
    text = (json.dumps(plan, indent=2) + "\n").encode()
    with live(folder):
        if not (folder / PLAN).exists():
            write_bytes(folder / PLAN, text)
        elif (folder / PLAN).read_bytes() != text:
            raise RunError(
                f"{folder}: holds parts of another job ({_difference(folder / PLAN, plan)}); "
                "give that job's command again, or delete the folder"
            )
        yield Parts(folder, sha256_hex(text))
    if not (folder / PLAN).exists():
        with suppress(OSError):  # there is more in it, which is not ours
            folder.rmdir()


def _difference(file: Path, plan: Mapping[str, Any]) -> str:
    """The first thing in which a plan on disk is another one, in words."""
    try:
        former = read_json(file)
        name = next(key for key in plan if former.get(key) != plan[key])
    except (*_DAMAGED, AttributeError, StopIteration):
        return f"its {PLAN} cannot be read"
    before, now = former.get(name), plan[name]
    if isinstance(before, dict) and isinstance(now, dict):
        inner = next(key for key in {**now, **before} if before.get(key) != now.get(key))
        name, before, now = inner, before.get(inner), now.get(inner)
    return f"{_WORDS.get(name, name)} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value)[:64]
