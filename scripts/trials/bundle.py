"""Model bundles with a flipped bit, and bundles that lie with right hashes: each is refused."""

import shutil
import time
from pathlib import Path

from hostile.bundles import LIES, bit_places, flip
from hostile.run import alld
from untrained import write_untrained

from alld.errors import BundleError
from alld.model.bundle import read_bundle
from trials.tally import Tally

FLIPS = 1000


def run(work: Path, quick: bool) -> list[Tally]:
    """Flips in this process, lies through the command."""
    tally = Tally("bundle")
    bundle = write_untrained(work / "flipped" / "model.alld")
    for member, bit in bit_places(bundle, FLIPS // 50 if quick else FLIPS):
        flip(bundle / member, bit)
        began = time.process_time()
        found = _fault_of_flip(bundle)
        tally.count(f"bit {bit} of {member}", found, time.process_time() - began)
        flip(bundle / member, bit)
    read_bundle(bundle)  # all bits are back: else nothing above was tried
    for name in list(LIES)[:: 20 if quick else 1]:
        tally.count(name, _fault_of_lie(name, bundle, work / "lie" / "model.alld"))
    return [tally]


def _fault_of_flip(bundle: Path) -> str:
    try:
        read_bundle(bundle)
    except BundleError as error:
        return "" if str(error).isprintable() else f"not one line: {error}"
    return "read"


def _fault_of_lie(name: str, intact: Path, copy: Path) -> str:
    """Status 2, one line with the right word, and nothing that a pickle would have made."""
    shutil.rmtree(copy.parent, ignore_errors=True)
    shutil.copytree(intact, copy)
    damage, word = LIES[name]
    damage(copy)
    answer = alld("predict", "--model", copy, "x.png")
    said = answer.err.decode().splitlines()
    lines = [line for line in said if not line.startswith("loading ")]
    if (answer.status, len(lines), answer.out) != (2, 1, b""):
        return f"status {answer.status}, {len(lines)} lines: {lines[-1:]}"
    if (copy.parent / "canary").exists():
        return "a pickle was run"
    return "" if word in lines[0] else f"another reason: {lines[0]}"
