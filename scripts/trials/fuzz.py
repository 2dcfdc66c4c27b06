"""Whole TIFFs, PNGs, BMPs and JPEGs changed at random: a picture or a reason, and no other end."""

import time
from pathlib import Path
from random import Random

from hostile.catalogue import MOST_SECONDS
from hostile.damaged import whole_files
from hostile.fuzz import example, fault

from trials.tally import Tally

EXAMPLES = 50_000


def run(_work: Path, quick: bool) -> list[Tally]:
    """As many examples of each kind of file; example number N is always the same one."""
    tally = Tally("fuzz")
    files = list(whole_files().items())
    for number in range(EXAMPLES // 100 if quick else EXAMPLES):
        kind, (whole, shown) = files[number % len(files)]
        data, only = example(Random(number), kind, whole, shown)
        began = time.process_time()
        found = fault(data, only)
        seconds = time.process_time() - began
        slow = f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""
        tally.count(f"{kind}, example {number}", found or slow, seconds)
    return [tally]
