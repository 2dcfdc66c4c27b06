"""What ALLD's own code never does: unpickle, evaluate, run a shell, let YAML build objects."""

import ast
from pathlib import Path

import pytest
from conftest import REPOSITORY

FILES = sorted([*(REPOSITORY / "alld").rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")])
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    "load_learner",
    "export",  # of a Learner: a pickle
    "unsafe_load",
    "full_load",
    "unsafe_load_all",
    "full_load_all",
    "system",
    "popen",
    "load_pickle",
    "save_pickle",
    "read_pickle",
    "to_pickle",
    "getoutput",
    "getstatusoutput",
    "mktemp",
}
PLAIN = {"torch", "yaml", "builtins"}  # modules under no other name, so that uses are seen
WITH_CARE = {"torch.load", "numpy.load", "torch.jit", "torch.hub"}
NO_LEARNER = "torch.onnx.export"  # writes protobuf
SAFE_YAML = {"safe_load", "safe_dump", "YAMLError"}


def offences(source: str) -> list[str]:
    """What a source text does that it must not, with the line."""
    return [
        f"line {getattr(node, 'lineno', '?')}: {what}"
        for node in ast.walk(ast.parse(source))
        if (what := _offence(node))
    ]


def _offence(node: ast.AST) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _forbidden_import(node)
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml":
        return "" if node.attr in SAFE_YAML else f"yaml.{node.attr}"
    if isinstance(node, ast.Name) and node.id in BUILTINS - {"compile"}:
        return node.id
    return _forbidden_call(node) if isinstance(node, ast.Call) else ""


def _forbidden_import(node: ast.Import | ast.ImportFrom) -> str:
    names = [alias.name for alias in node.names]
    found = {a.name for a in node.names if a.asname not in (None, a.name)} & PLAIN
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{name}" for name in names]
        found = {name for name in names if name in WITH_CARE or node.module in WITH_CARE}
    parts = {part for name in names for part in name.split(".")}
    found |= parts & (MODULES | METHODS - {"export"})
    if isinstance(node, ast.ImportFrom) and node.module == "yaml":
        found |= parts - SAFE_YAML - {"yaml"}
    return f"import of {min(found)}" if found else ""


def _forbidden_call(call: ast.Call) -> str:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    given = {word.arg: word.value for word in call.keywords}
    known = ast.unparse(call.func) == NO_LEARNER
    first = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    if (method or name) == "import_module" and first in MODULES | PLAIN:
        return f"import_module of {first}"
    if name in BUILTINS or ((method or name) in METHODS and not known):
        return name or method
    if _is_true(given.get("allow_pickle")) or _is_true(given.get("shell")):
        return "allow_pickle or shell"
    if ast.unparse(call.func) == "torch.load" and not _is_true(given.get("weights_only")):
        return "torch.load without weights_only=True"
    wanted = given.get("weights_only")
    return "weights_only that is not True" if wanted is not None and not _is_true(wanted) else ""


def _is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_no_file_runs_what_it_reads(file: Path) -> None:
    """No pickle, load_learner, weights_only=False, unsafe YAML, eval, exec or shell."""
    assert offences(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import UnpicklingError",
        "import joblib.externals",
        "from fastai.learner import load_learner",
        "learn = fastai.load_learner(file)",
        "learn.export(file)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "get_state_dict(weights_only=False)",
        "get_state_dict(weights_only=trusted)",
        "np.load(file, allow_pickle=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.full_load(text)",
        "from yaml import unsafe_load",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "subprocess.getoutput(text)",
        "from torch import load",
        "import torch as t",
        "from torch.hub import load",
        "import yaml as y",
        "from os import system",
        "from pandas import read_pickle",
        "pandas.read_pickle(file)",
        "run = eval",
        "map(exec, texts)",
        "import_module('pickle')",
        "tempfile.mktemp()",
    ],
)
def test_each_of_them_would_be_seen(source: str) -> None:
    """Each forbidden import or call is found in a source text."""
    assert len(offences(source)) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "torch.load(file, weights_only=True)",
        "yaml.safe_load(text)",
        "re.compile(text)",
        "safetensors.torch.load(data)",
        "subprocess.run([text])",
    ],
)
def test_what_is_allowed_is_not_refused(source: str) -> None:
    """Harmless calls of similar names pass."""
    assert offences(source) == []
