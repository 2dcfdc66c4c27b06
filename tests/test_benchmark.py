"""The benchmark runs; what it finds depends on the machine and is never asserted."""

import contextlib
import io
import json
import runpy
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from conftest import REPOSITORY
from fastai.basics import defaults

from alld.cli import run_command

if TYPE_CHECKING:
    from measuring import Bench, Done, Line


def in_this_process(*command: object) -> "Done":
    """Run a command of the benchmark here, where the libraries are loaded already."""
    from measuring import Done

    words, output = [str(word) for word in command[1:]], io.StringIO()
    began = time.perf_counter()
    with (
        contextlib.redirect_stdout(output),
        warnings.catch_warnings(),
        pytest.MonkeyPatch.context() as patch,
    ):
        warnings.simplefilter("ignore")
        if words[:2] == ["-m", "alld"]:
            assert run_command(words[2:]) == 0
        elif words[0] != "-c":
            patch.setattr(sys, "argv", words)
            runpy.run_path(words[0], run_name="__main__")
    return Done(time.perf_counter() - began, 1.0, output.getvalue())


def rows_in_this_process(
    bench: "Bench", folder: Path, rows: "Line", whole: "Line", *of: Path
) -> None:
    """Predict the folder here, without a pipe to time rows by."""
    [model] = of or [bench.place / "model"]
    done = in_this_process(sys.executable, "-m", "alld", "predict", folder, "--model", model)
    for line in (rows, whole):
        line.add(done, len(done.output.splitlines()))


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory of a child is read with os.wait4")
def test_every_line_of_the_benchmark_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--quick: floor, stock fastai and ALLD train and predict, and the table is written."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    import benchmark
    import measuring

    threads, out = torch.get_num_threads(), tmp_path / "benchmark.json"
    for module in (benchmark, measuring):
        monkeypatch.setattr(module, "call", in_this_process)
    # One section times the rows as they come through a pipe.
    ways: Iterator[Any] = chain([measuring.call_rows], repeat(rows_in_this_process))

    def one_way(*of: Any) -> None:
        next(ways)(*of)

    monkeypatch.setattr(benchmark, "call_rows", one_way)
    monkeypatch.setattr(defaults, "cpus", 0)  # no processes that load images
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--quick", "--out", str(out)])
    benchmark.main()
    torch.set_num_threads(threads)
    found = json.loads(out.read_text())
    lines = {line["name"]: line for line in found["lines"]}
    for name in ("alld train", "floor"):
        assert lines[f"efficientnet_lite0: {name}"]["images"] == 52  # 26 in each of two epochs
    assert lines["efficientnet_lite0: stock"]["images"] == 48  # it leaves out the last 2 of 26
    assert lines["prediction: alld predict, whole command"]["images"] == 160
    assert all(second > 0 for line in lines.values() for second in line["seconds"])
    assert len(found["ratios"]) == 33
    assert "| figure | reached | wanted |" in capsys.readouterr().out
