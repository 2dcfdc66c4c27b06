"""The benchmark runs; what it finds depends on the machine and is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory of a child is read with os.wait4")
def test_every_line_of_the_benchmark_is_measured(tmp_path: Path) -> None:
    """--quick: floor, stock fastai and ALLD train and predict, and the table is written."""
    script, out = REPOSITORY / "scripts" / "benchmark.py", tmp_path / "benchmark.json"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--out", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    lines = {line["name"]: line for line in found["lines"]}
    for name in ("alld train", "floor"):
        assert lines[f"efficientnet_lite0: {name}"]["images"] == 52  # 26 in each of two epochs
    assert lines["efficientnet_lite0: stock"]["images"] == 48  # it leaves out the last 2 of 26
    assert lines["prediction: alld predict, whole command"]["images"] == 400
    assert all(second > 0 for line in lines.values() for second in line["seconds"])
    assert len(found["ratios"]) == 33
    assert "| figure | reached | wanted |" in done.stdout
