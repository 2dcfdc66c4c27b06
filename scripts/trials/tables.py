"""Stop the scripts of both tables at random: the same command must end in the same table."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from trials.tally import Tally

SCRIPTS = Path(__file__).resolve().parents[1]
TABLES = {
    "table1": ("--baseline", "lbp", "--arch", "efficientnet_lite0"),
    "table2": ("--seeds", "1"),
}
# What a shell reports of each, where the work did not end before.
STATUS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}
FULL, QUICK, SEED = 5, 1, 0  # stops of each kind
IN_A_ROW = 5  # stops before the script may end
FIRST = 1.0  # second at which a script watches for signals
PATIENCE = 900  # s


def run(work: Path, quick: bool) -> list[Tally]:
    """Return a tally for each script."""
    rng = random.Random(SEED)
    return [of_script(name, work, QUICK if quick else FULL, rng) for name in TABLES]


def of_script(name: str, work: Path, count: int, rng: random.Random) -> Tally:
    """Stop in every way `count` times, in any order; the table is that of an undisturbed script."""
    tally = Tally(f"{name}: SIGKILL, Ctrl-C, SIGTERM")
    began = time.monotonic()
    status, fault = ended(start(name, work / name), None)
    assert status == 0, fault
    seconds, wanted = time.monotonic() - began, table(work / name)
    kinds = list(STATUS) * count
    rng.shuffle(kinds)
    for first in range(0, len(kinds), IN_A_ROW):
        out = work / f"{name}-{first}"
        for kind in kinds[first : first + IN_A_ROW]:
            status, fault = ended(start(name, out), kind, rng.uniform(FIRST, seconds / 2))
            tally.count(f"{kind.name} {out.name}", fault)
        status, fault = ended(start(name, out), None)
        if not fault and table(out) != wanted:
            fault = "another table came out"
        tally.count(f"the end of {out.name}", fault)
    return tally


def start(name: str, out: Path) -> subprocess.Popen[str]:
    """Start the script with drawn images, as the leader of a process group, as in a terminal."""
    script = SCRIPTS / f"reproduce_{name}.py"
    command = [sys.executable, script, "--quick", "--device", "cpu", *TABLES[name], "--out", out]
    return subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(
    process: subprocess.Popen[str], kind: signal.Signals | None, after: float = PATIENCE
) -> tuple[int, str]:
    """Return its status and what was wrong; a terminal sends Ctrl-C to the whole group."""
    try:
        _, errors = process.communicate(timeout=after)
        kind = None  # it was done before
    except subprocess.TimeoutExpired:
        assert kind, "it does not end"
        (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
        _, errors = process.communicate(timeout=PATIENCE)
    status = process.returncode
    last = errors.strip().rpartition("\n")[2]
    wanted = {0} if kind is None else {0, STATUS[kind]}
    if kind == signal.SIGTERM and last.startswith("written: "):
        wanted |= {-kind}  # in Python's own farewell, where nothing answers it any more
    if status not in wanted or "Traceback" in errors:
        return status, f"status {status}: {errors.strip()[-300:]}"
    if status in (130, 143) and not last.startswith("stopped"):
        return status, f"stopped without a word: {last}"
    return status, ""


def table(out: Path) -> list[list[tuple[str, str]]]:
    """Return the rows of the table and of its pairs without seconds; no file is half written."""
    halves = [path.name for path in out.rglob("*.part")]
    assert not halves, halves
    found = []
    for file in sorted((out / "table").glob("*.csv")):
        with open(file, newline="", encoding="utf-8") as text:
            for row in csv.DictReader(text):
                found.append([item for item in row.items() if "seconds" not in item[0]])
    return found
