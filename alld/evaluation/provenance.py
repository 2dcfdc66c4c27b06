"""Where the numbers of a run come from: settings, versions, machine, times, commit."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from alld.model.bundle import library_versions
from alld.training.run import Run, git_commit

_OF_TRAINING = (
    "started",
    "seconds",
    "device",
    "precision",
    "threads",
    "workers",
    "world_size",
    "git_commit",
    "versions",
)


def provenance(run: Run, *, device: str, threads: int, seconds: float) -> dict[str, Any]:
    """The facts of a run's training, and of its evaluation, which took so many seconds.

    What an older run did not record is None.
    """
    training = run.info
    return {
        "config": run.config.model_dump(mode="json"),
        "training": {name: training.get(name) for name in _OF_TRAINING} | _inexact(training),
        "evaluation": {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 1),
            "device": device,
            "threads": threads,
            "git_commit": git_commit(),
            "versions": library_versions(),
        },
    }


def _inexact(training: Mapping[str, Any]) -> dict[str, str]:
    """What changed on the way of a run that was resumed under other conditions."""
    changed = training.get("inexact")
    return {"resumed_inexactly": "; ".join(changed)} if changed else {}
