"""Stop with one line where a script is run by a Python without ALLD. Scripts import it first."""

import importlib.util
import os
import sys
from pathlib import Path


def main() -> None:
    """Name the environment to activate: that of the bootstrap, if there is one."""
    if importlib.util.find_spec("alld") is not None:
        return
    root = Path(__file__).resolve().parents[1]
    windows = os.name == "nt"
    script = root / ".venv" / ("Scripts/activate" if windows else "bin/activate")
    line = f'"{script}"' if windows else f'source "{script}"'
    if not script.is_file():
        line = f'python3 "{root / "scripts" / "bootstrap.py"}" demo'
    sys.exit(f"error: {sys.executable} has no ALLD; this comes first:\n    {line}")


main()
