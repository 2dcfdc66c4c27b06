"""Every hostile file: the right picture or a reason, within 5 s and 500 MB of one process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hostile.case import Case, fault
from hostile.catalogue import MOST_MB, MOST_SECONDS, large, small
from hostile.places import Odd, make_names, make_things
from hostile.run import alld
from untrained import write_untrained

from alld.runtime.files import well_formed
from trials.tally import Tally

TESTS = Path(__file__).parents[2] / "tests"


def run(work: Path, quick: bool) -> list[Tally]:
    """Small files together, large ones one after the other, then names and places."""
    tally = Tally("files")
    model = write_untrained(work / "model.alld")
    first = work / "first.png"
    cases = small()
    first.write_bytes(next(case for case in cases if case.name == "png-rgb-8.png").data)
    _judge(tally, cases[:: 20 if quick else 1], model, first, work)
    for case in large()[:: 20 if quick else 1]:
        _judge(tally, [case], model, first, work)
    _look_around(tally, model, work)
    return [tally]


def _judge(tally: Tally, cases: list[Case], model: Path, first: Path, work: Path) -> None:
    """The picture in this process, time and memory in another one."""
    files = [work / f"{number:04d}-{case.name}" for number, case in enumerate(cases)]
    for file, case in zip(files, cases, strict=True):
        file.write_bytes(case.data)
    costs = list(measured(model, first, files))
    for file, case, (seconds, mb) in zip(files, cases, costs, strict=True):
        file.unlink()
        slow = f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""
        large_one = f"{mb:.0f} MB" if mb > MOST_MB else ""
        tally.count(case.name, fault(case) or slow or large_one, seconds, mb)


def measured(model: Path, first: Path, files: Iterable[Path]) -> Iterator[tuple[float, float]]:
    """Seconds and MB of each file in a process of its own; see `hostile.measured`."""
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "hostile.measured", model, first, *files],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        check=True,
    )
    for line in done.stdout.splitlines():
        found = json.loads(line)
        yield found["seconds"], found["mb"]


def _look_around(tally: Tally, model: Path, work: Path) -> None:
    """Odd names and things that are no files, through the command itself."""
    for make, name in ((make_names, "names"), (make_things, "things")):
        folder = work / name
        folder.mkdir()
        odd = list(make(folder))
        answer = alld("predict", "--model", model, "--json", *(one.path for one in odd))
        rows = {row["path"]: row["error"] for row in json.loads(answer.out)["predictions"]}
        for one in odd:
            tally.count(well_formed(str(one.path)), _fault_of(one, rows))


def _fault_of(odd: Odd, rows: dict[str, str | None]) -> str:
    path = well_formed(str(odd.path))
    if path not in rows:
        return "no row"
    error = rows[path]
    if odd.refused is None or error is None:
        return "" if odd.refused is error is None else f"answered {error}"
    return "" if odd.refused in error else f"another reason: {error}"
