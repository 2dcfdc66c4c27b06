"""The server among hostile clients: a seeded sample of what `scripts/torture.py` does for 30 s."""

import os
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
from trials import serve


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_sixteen_clients_do_no_harm(tmp_path: Path) -> None:
    """Good pictures have verdicts, hostile requests their refusals; memory is bounded."""
    tallies = serve.run(tmp_path, quick=True)
    assert [fault for tally in tallies for fault in tally.faults] == []
    assert all(tally.tried >= 3 for tally in tallies)
