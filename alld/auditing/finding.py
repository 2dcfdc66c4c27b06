"""Define a finding of an audit: a sentence with a number, and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One finding about a set.

    With an `error` a training would stop, or learn something wrong; with a `warning` its numbers
    would mislead.
    """

    severity: Severity
    code: str
    count: int  # images it concerns
    sentence: str
    advice: str
    paths: tuple[str, ...] = ()


def some(
    severity: Severity, code: str, paths: Sequence[str], said: str, advice: str
) -> Iterator[Finding]:
    """Yield a finding about `paths`, if there are any; it names their number and the first."""
    if not paths:
        return
    number = f"{len(paths)} {'image' if len(paths) == 1 else 'images'}"
    sentence = f"{number}: {said} (first: {paths[0]})"
    yield Finding(severity, code, len(paths), sentence, advice, tuple(paths))
