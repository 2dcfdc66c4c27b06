"""Start and end a command: no warnings of libraries, and a clean end by signals."""

import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STOPPED = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}
TERMINATED = 128 + signal.SIGTERM


def run(work: Callable[[], int]) -> NoReturn:
    """Do the work and exit with its status.

    Ctrl-C and SIGTERM end it by KeyboardInterrupt and SystemExit, so that nothing half written
    stays behind; `work` answers them. It imports what is heavy itself: an import that a signal
    meets before this function is called ends in a traceback.
    """
    open_streams()
    for number in STOPPED:
        signal.signal(number, _interrupt)
    # Threads that wait for work sleep instead of spinning: on a machine that does something else
    # besides, training is three times as fast, and on an idle one as fast as before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nor does pydantic search all installed packages for plugins of its own: 0.05 s of each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        status = work()
    except KeyboardInterrupt:  # a second one, while the first is answered
        print(STOPPED[signal.SIGINT], file=sys.stderr)
        status = 130
    # What is left is Python's own farewell, in which either would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(status)


def open_streams() -> None:
    """Make standard output and standard error take any text, also where they are closed.

    What their encoding lacks is written with escapes, as `\\u7d30`. Python has None for a stream
    that was closed when the process started; it becomes the null device.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
            setattr(sys, name, stream)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_is_closed() -> bool:
    """Return whether the process was started without a standard output."""
    return sys.__stdout__ is None


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End what is under way by an exception.

    But not in the middle of an import, where libraries choke on one: numpy recurses without end,
    torch aborts, and some swallow it and go on.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{STOPPED[signal.Signals(number)]}\n".encode())  # print may be interrupted
            os._exit(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
