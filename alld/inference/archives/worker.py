"""`python -m alld.inference.archives.worker`: judges one shard after another, for `workers`.

A job comes as the first line of standard input, then a line for each shard; answers are lines of
standard output: rows judged so far, the end of a shard, or an error. When standard input ends,
because its owner is done or dead, so does this process, at once.
"""

import json
import os
import signal
import sys
import time
from queue import Queue
from threading import Thread
from typing import Any

TOLD_SECONDS = 0.2  # between two answers that say how far a shard is


def main() -> None:
    """Answer shards until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, who ends us
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    lines: Queue[str] = Queue()
    Thread(target=_listen, args=(lines,), daemon=True).start()

    from alld.errors import AlldError
    from alld.inference.archives.shard import judge_shard

    def answer(**said: object) -> None:
        print(json.dumps(said), file=answers, flush=True)

    job = json.loads(lines.get())
    while True:
        number, paths = json.loads(lines.get())
        try:
            judge_shard(job, number, paths, Sparing(answer))
        except (AlldError, OSError) as error:
            answer(error=_in_words(error))
        else:
            answer(done=number)


class Sparing:
    """Passes numbers of rows on, not each of them."""

    def __init__(self, answer: Any) -> None:
        self._answer, self._rows, self._last = answer, 0, time.monotonic()

    def __call__(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._last > TOLD_SECONDS:
            self._answer(rows=self._rows)
            self._last = time.monotonic()


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the output'}: {error.strerror or error}"
    return str(error)


def _listen(lines: "Queue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
