"""The runs on disk at a glance, with the accuracy of those that were evaluated."""

import json
from pathlib import Path
from typing import Any

from alld.training.run import RUNS, Run, list_runs


def run_overview(root: Path = RUNS) -> list[dict[str, Any]]:
    """One row a run below `root`, oldest first: run, state, arch, split, seed, data, accuracy."""
    return [_row(run) for run in list_runs(root)]


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"run": str(run.folder), "state": run.state}
    if run.state == "damaged":
        return {**row, "arch": "", "split": "", "seed": "", "data": "", "accuracy": ""}
    info = run.info
    drawn = "SYNTHETIC " if info["data"]["synthetic"] else ""
    return {
        **row,
        "arch": info["arch"],
        "split": info["split"]["kind"],
        "seed": info["split"]["seed"],
        "data": f"{drawn}{info['data']['name']} ({info['data']['images']})",
        "accuracy": _accuracy(run),
    }


def _accuracy(run: Run) -> str:
    """`96.2 % (50/52)`, or nothing for a run that was not evaluated."""
    try:
        metrics = json.loads((run.folder / "evaluation" / "metrics.json").read_bytes())
        accuracy = metrics["metrics"]["accuracy"]
        return f"{accuracy['value']:.1%} ({accuracy['k']}/{accuracy['n']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
