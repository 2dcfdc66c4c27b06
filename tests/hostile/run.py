"""The real command on hostile files, in a process of its own that may be stopped and measured."""

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_BOUNDING_DROP = 24  # PR_CAPBSET_DROP of Linux
_READ_ANYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root read all files


@dataclass(frozen=True)
class Answer:
    """What the command left: its status and its two outputs."""

    status: int
    out: bytes
    err: bytes


def alld(*words: str | Path, cwd: Path | None = None, strict: bool = True) -> Answer:
    """Run `alld` as a plain user would: root's right to read every file is given up.

    `strict` has standard output refuse what is no UTF-8, as a terminal's locale does.
    """
    environment = dict(os.environ)
    if strict:
        environment |= {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, "-m", "alld", *(os.fspath(word) for word in words)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        timeout=600,
        check=False,
        preexec_fn=_give_up_rights,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def can_be_locked_out() -> bool:
    """Whether a file without rights is unreadable for this user, or can be made so."""
    return os.geteuid() != 0 or sys.platform == "linux"


def _give_up_rights() -> None:
    if sys.platform == "linux" and os.geteuid() == 0:
        for right in _READ_ANYTHING:
            ctypes.CDLL(None).prctl(_BOUNDING_DROP, right, 0, 0, 0)
