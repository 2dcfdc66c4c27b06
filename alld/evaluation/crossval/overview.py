"""List the runs and cross-validations on disk, with their accuracy if they were evaluated."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan
from alld.model.place import PLAN
from alld.runs.folder import RUNS, Run, list_runs
from alld.runtime.locks import at_work
from alld.runtime.reading import read_json

COLUMNS = ("run", "state", "arch", "split", "seed", "data", "accuracy")


def run_overview(root: Path = RUNS) -> list[dict[str, Any]]:
    """Return a row for each run below `root`, oldest first, then one for each cross-validation.

    The keys of each row are COLUMNS.
    """
    return [*map(_row, list_runs(root)), *_cross_validations(root)]


def _row(run: Run) -> dict[str, Any]:
    if run.state == "damaged":
        return _damaged(run.folder)
    info = run.info
    return {
        "run": str(run.folder),
        "state": "killed" if run.state == "running" and not at_work(run.folder) else run.state,
        "arch": info["arch"],
        "split": info["split"]["kind"],
        "seed": info["split"]["seed"],
        "data": _data(info["data"]),
        "accuracy": _accuracy(run.folder),
    }


def _cross_validations(root: Path) -> Iterator[dict[str, Any]]:
    folders = sorted(root.iterdir()) if root.is_dir() else ()
    for folder in folders:
        if (folder / PLAN).is_file():
            try:
                yield _cross_validation(folder)
            except (OSError, ValueError, KeyError, TypeError, RunError):
                yield _damaged(folder)


def _cross_validation(folder: Path) -> dict[str, Any]:
    plan = read_plan(folder)
    folds, config = plan.all_folds(), plan.config
    done = sum(fold.done for fold in folds)
    finished = (folder / "evaluation" / "metrics.json").is_file()
    first = Run(folds[0].folder)
    times = f" x {plan.repeats}" if plan.repeats > 1 else ""
    return {
        "run": str(folder),
        "state": "finished" if finished else f"{done} of {len(folds)} folds",
        "arch": config.model.arch,
        "split": f"{config.split.kind} {plan.folds}-fold{times}",
        "seed": config.seed,
        "data": _data(first.info["data"]) if (first.folder / "run.json").is_file() else "",
        "accuracy": _accuracy(folder),
    }


def _damaged(folder: Path) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS, ""), "run": str(folder), "state": "damaged"}


def _data(data: dict[str, Any]) -> str:
    return f"{'SYNTHETIC ' if data['synthetic'] else ''}{data['name']} ({data['images']})"


def _accuracy(folder: Path) -> str:
    """`96.2 % (50/52)`, or nothing where nothing was evaluated."""
    try:
        metrics = read_json(folder / "evaluation" / "metrics.json")
        accuracy = metrics["metrics"]["accuracy"]
        counts = "" if accuracy["k"] is None else f" ({accuracy['k']}/{accuracy['n']})"
        return f"{accuracy['value']:.1%}{counts}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
