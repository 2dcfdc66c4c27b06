"""Kills, hostile files, changed models: all that the tests try a part of, with a table at the end.

    python3 scripts/torture.py
    python3 scripts/torture.py --section fuzz

Exit status 1 where anything ended otherwise than it must.
"""

import argparse
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command itself does
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import activated  # noqa: F401 - says which environment to activate
from trials.tally import Tally, markdown

# Kills come first: they fork, and no thread may have been started in this process before. Sections
# are imported when they run, as each process that predicts an archive imports this file anew.
SECTIONS = ("kills", "archives", "tables", "files", "fuzz", "bundle", "serve")


def main() -> int:
    """Run the sections asked for; print each fault as it is found, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", choices=SECTIONS, action="append", help="default: all")
    parser.add_argument("--quick", action="store_true", help="a sample of each, in minutes")
    arguments = parser.parse_args()
    tallies: list[Tally] = []
    for name in SECTIONS:
        if name in (arguments.section or SECTIONS):
            with tempfile.TemporaryDirectory() as work:
                tallies += import_module(f"trials.{name}").run(Path(work), arguments.quick)
    print(f"\n{markdown(tallies)}")
    return int(any(tally.faults for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
