"""Keep the parts of an unfinished table: the plan, and one file for each shard that is done."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.errors import RunError
from alld.inference.prediction import Tally
from alld.runtime.files import clear_leftovers, sha256_hex, write_bytes
from alld.runtime.locks import live
from alld.runtime.reading import parse_json, read_json

PLAN = "plan.json"
_WORDS = {"list": "the list of images", "folder": "the folder that names begin in"}
_DAMAGED = (OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Parts:
    """A folder of parts of one plan. Parts of another plan, or cut short, do not count."""

    folder: Path
    plan: str  # SHA-256 of the plan

    def write(self, number: int, body: bytes, tally: Tally) -> None:
        """Write one part in one step: a line of facts about it, then the rows."""
        facts = {
            "plan": self.plan,
            "shard": number,
            "bytes": len(body),
            "sha256": sha256_hex(body),
            "verdicts": tally.verdicts,
            "notes": tally.notes,
        }
        write_bytes(self._file(number), json.dumps(facts).encode() + b"\n" + body)

    def done(self, number: int) -> bool:
        """Return whether a part is there, by its first line and its length."""
        try:
            with open(self._file(number), "rb") as file:
                facts = self._facts(file.readline(), number)
                return os.fstat(file.fileno()).st_size == file.tell() + int(facts["bytes"])
        except _DAMAGED:
            return False

    def read(self, number: int) -> tuple[bytes, Tally]:
        """Return the rows of one part and their tally.

        Raises:
            RunError: the part is damaged; it is removed, to be predicted again.
        """
        file = self._file(number)
        try:
            first, _, body = file.read_bytes().partition(b"\n")
            facts = self._facts(first, number)
            if sha256_hex(body) != facts["sha256"]:
                raise ValueError("another hash")
            return body, Tally(Counter(facts["verdicts"]), Counter(facts["notes"]))
        except _DAMAGED as error:
            file.unlink(missing_ok=True)
            raise RunError(f"{file}: damaged, now removed; give the same command again") from error

    def remove(self, count: int) -> None:
        """Remove the plan and this many parts; other files stay."""
        for file in (self.folder / PLAN, *map(self._file, range(count))):
            file.unlink(missing_ok=True)
        clear_leftovers(self.folder)

    def _facts(self, line: bytes, number: int) -> dict[str, Any]:
        facts: dict[str, Any] = parse_json(line)
        if (facts["plan"], facts["shard"]) != (self.plan, number):
            raise ValueError("of another plan")
        return facts

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}"


@contextmanager
def parts_of(out: Path, plan: Mapping[str, Any]) -> Iterator[Parts]:
    """Open the parts of a table for this process alone; parts that are there already are kept.

    The folder is deleted once its parts were removed.

    Raises:
        RunError: another process works on this table, or the parts are of another plan.
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
        yield Parts(folder.absolute(), sha256_hex(text))
    if not (folder / PLAN).exists():
        with suppress(OSError):  # it holds other files
            folder.rmdir()


def _difference(file: Path, plan: Mapping[str, Any]) -> str:
    """Describe the first difference between the plan on disk and this one."""
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
