"""Rooms import only from rooms before them."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "alld"
# What may import what: only to the left.
ORDER = [
    "errors",
    "runtime",
    "config",
    "stats",
    "images",
    "cells",
    "data",
    "auditing",
    "synthetic",
    "model",
    "inference",
    "runs",
    "training",
    "report",
    "evaluation",
    "baselines",
    "paper",
    "screen",
    "serve",
    "demo",
    "display",
    "api",
    "commands",
    "cli",
    "__main__",
]
HEAVY = ("torch", "fastai", "sklearn", "skimage", "pandas", "matplotlib", "captum")


def imports_of(file: Path) -> set[str]:
    """The dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "alld" and len(parts) > 1 and parts[1] in ORDER else None


FILES = sorted(PACKAGE.rglob("*.py"))
# From the command line to the metrics of a trained model, in the order of reading.
EVENING_PATH = (
    "cli",
    "commands/train",
    "training/train",
    "training/learner",
    "training/loaders",
    "training/augment",
    "training/phases",
    "training/callbacks",
    "training/checkpoints",
    "model/backbones",
    "model/bundle",
    "inference/predictor",
    "images/decode",
    "data/preprocess",
    "data/splits",
    "evaluation/holdout",
    "stats/metrics",
)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_before_it(file: Path) -> None:
    """No file imports from a room that comes after its own."""
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for dotted in imports_of(file):
        room = room_of(dotted)
        assert room is None or ORDER.index(room) <= ORDER.index(own), f"{file} imports {dotted}"


def test_folders_form_no_cycle() -> None:
    """Sub-packages too: whatever order of folders holds, no two of them import each other."""
    graph: dict[str, set[str]] = {}
    folders = {str(file.parent.relative_to(PACKAGE)).replace("/", ".") for file in FILES}
    for file in FILES:
        own = str(file.parent.relative_to(PACKAGE)).replace("/", ".")
        if own == ".":
            continue
        for dotted in imports_of(file):
            parts = dotted.removeprefix("alld.").split(".")
            places = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
            other = next((place for place in places if place in folders), own)
            if dotted.startswith("alld.") and other != own:
                graph.setdefault(own, set()).add(other)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the folders


def test_the_main_path_can_be_read_in_an_evening() -> None:
    """It has at most 3,000 lines, and none about several processes, archives or exports."""
    files = [(PACKAGE / name).with_suffix(".py") for name in EVENING_PATH]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert text.count("\n") <= 3000
    assert not re.findall(r"\b(?:ranks?|rays?|shards?|onnx)\b", text, flags=re.IGNORECASE)


def test_a_folder_is_one_subject() -> None:
    """No folder of the package or of the tests' helpers holds more than 15 Python files."""
    folders = {file.parent for file in FILES}
    crowded = [str(folder) for folder in folders if len(list(folder.glob("*.py"))) > 15]
    assert not crowded


def test_every_file_is_in_a_known_room() -> None:
    """A new room must be given its place in the order."""
    rooms = {file.relative_to(PACKAGE).parts[0].removesuffix(".py") for file in FILES}
    assert rooms - {"__init__"} <= set(ORDER)


def test_only_training_imports_fastai() -> None:
    """A trained model loads and predicts without fastai."""
    users = {
        file.relative_to(PACKAGE).parts[0]
        for file in FILES
        if any(name.split(".")[0] in ("fastai", "fastcore") for name in imports_of(file))
    }
    assert users == {"training"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("from alld.cli import run_command; run_command(['--help'])", HEAVY),
        ("import alld.inference.predictor", (*HEAVY, "scipy", "yaml")),
        ("import alld.model.torch_network", ("fastai", "sklearn", "matplotlib", "captum")),
        ("import alld.model.onnx.network", (*HEAVY, "scipy", "yaml")),
        ("import alld.inference.heat_map", HEAVY),
        ("import alld.evaluation.compare.compare", HEAVY),
        ("import alld.serve.server", HEAVY),
        ("import alld.serve.child", (*HEAVY, "starlette", "pydantic")),
        ("import alld", (*HEAVY, "pydantic", "typer", "numpy")),
    ],
)
def test_light_paths_stay_light(statement: str, absent: tuple[str, ...]) -> None:
    """`--help`, the predictor, compare and `import alld` do not load what they can do without."""
    code = f"import sys; {statement}; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.splitlines()}
    assert not loaded & set(absent)
