"""What `run.json` says: the facts that are relied on, with their types; more may stand there."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Data(_Facts):
    name: str
    root: str
    images: int
    fingerprint: str
    synthetic: bool


class _Split(_Facts):
    kind: str
    seed: int
    sha256: str


class _RunFacts(_Facts):
    """What older runs did not write down has a default."""

    state: str
    started: str
    seconds: float
    arch: str
    data: _Data
    split: _Split
    groups: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    workers: int | None = None
    world_size: int | None = None
    versions: dict[str, str] | None = None
    parallel: dict[str, Any] | None = None
    git_commit: str | None = None
    inexact: list[str] = []
    resumed: int = 0
    tracked: str | None = None


def check_facts(content: Any) -> dict[str, Any]:
    """The content of run.json as it is; raises ValueError where it is none."""
    _RunFacts.model_validate(content)
    facts: dict[str, Any] = content
    return facts
