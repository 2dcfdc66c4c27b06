"""What commands write where the output cannot hold it, or is closed."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Answer

from alld.runtime.process import open_streams


def test_what_an_encoding_lacks_is_written_with_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Chinese file name redirected under a Western code page is no traceback."""
    output = io.TextIOWrapper(written := io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", output)
    open_streams()
    print("é 細胞.png", flush=True)
    assert written.getvalue() == b"\xe9 \\u7d30\\u80de.png\n"


def test_closed_streams_are_the_null_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has None for a stream that was closed; everything may still write to it."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        assert not stream.isatty()
        assert stream.write("細胞") == 2
        stream.close()


def test_rows_need_a_place(
    alld: Callable[..., Answer], run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without standard output `predict` asks for --out before it works, and takes it."""
    monkeypatch.setattr(sys, "__stdout__", None)
    words = ("predict", run_folder / "config.yaml", "--model", run_folder)
    status, _, err = alld(*words)
    assert status == 2
    assert err == "error: standard output is closed; name a file with --out rows.csv\n"
    rows = run_folder.parent / "rows.csv"
    assert alld(*words, "--out", rows)[0] == 1  # it is no image
    assert rows.read_text().count("\n") == 2
