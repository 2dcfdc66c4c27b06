"""The notebook of the documentation runs from its first cell to its last."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

NOTEBOOK = json.loads((REPOSITORY / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """Word for word, as a script; it tests a model inside and outside its sessions."""
    (tmp_path / "tutorial.py").write_text("\n\n".join(CODE), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "tutorial.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    tests = re.findall(
        r"SYNTHETIC (\w+): (\d+) of (\d+) correct .* ROC AUC (\d\.\d\d)", done.stdout
    )
    assert [kind for kind, *_ in tests] == ["grouped", "session"]
    assert "session" in done.stdout.partition("SYNTHETIC")[0]  # the audit names the trap
    assert Path(done.stdout.splitlines()[-1]).is_file()


def test_the_notebook_is_committed_without_results() -> None:
    """What it shows would be of another version; and it says first that all of it is drawn."""
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert "SYNTHETIC" in "".join(NOTEBOOK["cells"][0]["source"])
