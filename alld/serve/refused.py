"""Requests that get no verdict: a status and a sentence, told as JSON."""


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """A request that is turned down; nobody but who asked needs to know."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after
