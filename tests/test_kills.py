"""Trainings and archives that are killed; `scripts/torture.py` kills many, here a few are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="the kills need os.fork, which Windows lacks"
)


def tried_and_right(section: str) -> list[tuple[int, int]]:
    """Of each row of the table: how many kills, and after how many all was as it must be."""
    # A process of its own: it forks, which it may only do before torch has started a thread.
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "torture.py", "--quick", "--section", section],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert done.returncode == 0, done.stdout + done.stderr
    return [(int(row[1]), int(row[2])) for row in rows]


@pytest.mark.long
def test_every_killed_training_ends_in_the_same_weights() -> None:
    """At a random moment and inside the writer, by SIGKILL and SIGTERM."""
    assert tried_and_right("kills") == [(1, 1)] * 3


@pytest.mark.long
def test_every_killed_archive_ends_in_the_same_table() -> None:
    """At a random moment, in one process; test_archive kills one of two."""
    assert tried_and_right("archives") == [(1, 1)]
