"""Large libraries are announced before they load."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from alld.runtime import imports


def test_a_large_library_is_announced_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever imports it first, and however often a command is begun in one process."""
    (tmp_path / "enormous.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setattr(imports, "LARGE", {"enormous": "Enormous"})
    said: list[str] = []
    imports.announce_imports(said.append)
    imports.announce_imports(said.append)
    import_module("enormous")
    import_module("enormous")
    assert said == ["loading Enormous"]
