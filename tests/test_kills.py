"""Trainings that are killed; `scripts/torture.py` kills a hundred and more, here a few are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kills need os.fork, which Windows lacks")
def test_every_killed_training_ends_in_the_same_weights() -> None:
    """At random moments and inside the writer, by signals, for want of room; folds too."""
    # A process of its own: it forks, which it may only do before torch has started a thread.
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "torture.py", "--quick", "--section", "kills"],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(rows) == 6
    assert sum(int(row[1]) for row in rows) == sum(int(row[2]) for row in rows) == 8
