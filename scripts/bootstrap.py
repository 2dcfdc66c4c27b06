"""Install ALLD and run it or its checks, on a machine that has only Python.

    python3 scripts/bootstrap.py demo
    python3 scripts/bootstrap.py test
    python3 scripts/bootstrap.py lint
    python3 scripts/bootstrap.py fix
    python3 scripts/bootstrap.py docs

It uses the active virtual environment, or makes .venv beside the README. It installs only when
pyproject.toml or constraints.txt changed since it last did, and for a demo not what only the checks
need. `--cpu` takes the builds of PyTorch without CUDA. Standard library only.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_MIN, PYTHON_BEYOND = (3, 11), (3, 14)
WORKERS = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
LINT = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",))
FIX = (("ruff", "check", "--fix", "."), ("ruff", "format", "."))
# A worker for each core; four are as many as small machines have memory for.
TESTS = (("pytest", "-q", "-m", "not slow and not gpu", "--durations=10", *WORKERS),)
DOCS = (("mkdocs", "build", "--strict", "--quiet"),)
CHECKS = {"test": LINT + TESTS, "lint": LINT, "fix": FIX, "docs": DOCS}
# What is installed beside ALLD; "dev", for all other tasks, holds these too.
EXTRAS = {"demo": "", "docs": "docs"}
# PyTorch's own index of builds without CUDA; torch and torchvision have to be of one build.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> int:
    """Parse, prepare the environment, do what was asked; exit with its status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "task",
        choices=["demo", *CHECKS],
        help="demo: draw images, train, evaluate, predict; test: lint, types and tests, as in CI; "
        "lint: ruff and mypy; fix: correct and format the code with ruff; "
        "docs: the documentation as pages for a browser, in site/",
    )
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="on Linux, install PyTorch without CUDA: less than 1 GB to download, not 3 GB",
    )
    asked = parser.parse_args()
    task = asked.task
    check_python()
    python = environment()
    install(python, extra=EXTRAS.get(task, "dev"), cpu=asked.cpu)
    status = run_demo(python) if task == "demo" else run_checks(python, CHECKS[task])
    if task == "docs" and not status:
        print(f"\nthe documentation: {ROOT / 'site' / 'index.html'}")
    print(f"\nTo use this environment: {activation(python)}")
    return status


def check_python() -> None:
    """Stop with one line on a Python that ALLD does not run on."""
    if not PYTHON_MIN <= sys.version_info[:2] < PYTHON_BEYOND:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"error: Python {found}; ALLD runs on 3.11 to 3.13: python3.12 {sys.argv[0]} ...")


def environment() -> Path:
    """The Python of the active virtual environment, or of .venv, made where it is missing."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    folder = ROOT / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        for module in ("venv", "ensurepip"):
            if importlib.util.find_spec(module) is None:
                sys.exit(
                    f"error: this Python lacks {module}; install it (on Debian and Ubuntu: "
                    "apt install python3-venv) or activate a virtual environment of your own"
                )
        print(f"making {folder}", flush=True)
        run(sys.executable, "-m", "venv", folder)
    return python


def install(python: Path, *, extra: str, cpu: bool = False) -> None:
    """Install ALLD with the versions of constraints.txt, unless just these are already there.

    Args:
        extra: what is installed beside it; "dev" holds all of the others.
        cpu: PyTorch without CUDA. Where PyTorch is already installed it stays as it is.
    """
    stamp = python.parents[1] / "alld-bootstrap.txt"
    wanted = fingerprint()
    installed, _, what = stamp.read_text().partition(" ") if stamp.is_file() else ("", "", "")
    if installed == wanted and what in ("dev", extra):
        return
    linux = sys.platform == "linux"
    size = "about 3 GB, most of it PyTorch with CUDA" if linux and not cpu else "less than 1 GB"
    print(f"installing into {python.parents[1]} (a first time downloads {size})", flush=True)
    run(python, "-m", "pip", "--version", quiet=True, failed="this environment has no pip")
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check")
    pinned = ("--constraint", ROOT / "constraints.txt")
    if cpu and linux:  # elsewhere the registry's own builds have no CUDA
        # Only these two: that index holds other versions of what they depend on.
        builds = (*pinned, "--no-deps", "--index-url", CPU_INDEX, "torch", "torchvision")
        run(*pip, *builds, failed=f"{CPU_INDEX} gave no PyTorch; leave out --cpu to do without it")
    run(*pip, *pinned, "--editable", f"{ROOT}[{extra}]" if extra else ROOT)
    stamp.write_text(f"{wanted} {extra}")


def fingerprint() -> str:
    """Changes with what is to be installed, and with the place it is installed from."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def run_demo(python: Path) -> int:
    """The whole way on drawn images; the exit status of `alld demo`."""
    return subprocess.run([python, "-m", "alld", "demo"], cwd=ROOT, check=False).returncode


def run_checks(python: Path, checks: Sequence[Sequence[str]]) -> int:
    """Run every check, the later ones too when an earlier one fails; 0 when all pass."""
    failed = []
    for module, *arguments in checks:
        print(f"\n{module} {' '.join(arguments)}", flush=True)
        done = subprocess.run([python, "-m", module, *arguments], cwd=ROOT, check=False)
        if done.returncode:
            failed.append(module)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def run(*command: object, quiet: bool = False, failed: str = "") -> None:
    """Run a command in the repository; stop with one line when it fails."""
    words = [str(word) for word in command]
    output = subprocess.DEVNULL if quiet else None
    if subprocess.run(words, cwd=ROOT, stdout=output, check=False).returncode:
        sys.exit(f"error: {failed or 'this command failed: ' + ' '.join(words)}")


def activation(python: Path) -> str:
    """The line that activates the environment in the shell of this system."""
    folder = python.parent
    return f'"{folder / "activate"}"' if os.name == "nt" else f'source "{folder / "activate"}"'


if __name__ == "__main__":
    sys.exit(main())
