"""Where the numbers of a result come from: settings, versions, machine, times, commit."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from alld.model.bundle import library_versions
from alld.runs.folder import Run, git_commit

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
        "training": {
            **{name: training.get(name) for name in _OF_TRAINING},
            **_parallel(training),
            **_inexact(training),
        },
        "evaluation": {
            "finished": _now(),
            "seconds": round(seconds, 1),
            "device": device,
            "threads": threads,
            "git_commit": git_commit(),
            "versions": library_versions(),
        },
    }


def provenance_of_folds(
    config: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The provenances of all folds as one, the settings that they share, and who pooled them."""
    return {
        "config": config,
        "training": _together([fold["training"] for fold in folds]),
        "evaluation": _together([fold["evaluation"] for fold in folds]),
        "pooling": {
            "finished": _now(),
            "git_commit": git_commit(),
            "versions": library_versions(),
        },
    }


def _parallel(training: Mapping[str, Any]) -> dict[str, Any]:
    """How several processes shared the batches, where they did."""
    shared = training.get("parallel") or {}
    return {name: value for name, value in shared.items() if name != "processes"}


def _inexact(training: Mapping[str, Any]) -> dict[str, str]:
    """What changed on the way of a run that was resumed under other conditions."""
    changed = training.get("inexact")
    return {"resumed_inexactly": "; ".join(changed)} if changed else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _together(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One record of many; see `_one`."""
    names = dict.fromkeys(name for record in records for name in record)
    return {name: _one(name, [record.get(name) for record in records]) for name in names}


def _one(name: str, values: Sequence[Any]) -> Any:
    """Seconds in all, the first start, the last end; else what all share, or a list of each."""
    if isinstance(values[0], Mapping):
        return _together(values)
    if name in _SUMMARIES:
        return None if None in values else _SUMMARIES[name](values)
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct


_SUMMARIES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "seconds": lambda values: round(sum(values), 1),
    "started": min,
    "finished": max,
}
