"""`python -m alld`, and the command `alld`: quiet from the first import to the last line."""

import os
import signal
import sys
from types import FrameType

STOPPED = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}


def main() -> None:
    """Run the command line and exit: 0 done, 1 some inputs failed, 2 mend something, 130 or 143."""
    for number in STOPPED:
        signal.signal(number, _interrupt)
    # Threads that wait for work sleep instead of spinning: on a machine that does something else
    # besides, training is three times as fast, and on an idle one as fast as before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nor does pydantic search all installed packages for plugins of its own: 0.05 s of each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from alld.cli import run_command

        status = run_command(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first is answered
        print(STOPPED[signal.SIGINT], file=sys.stderr)
        status = 130
    # What is left is Python's own farewell, in which either would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(status)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End what is under way by an exception, so that nothing half written stays behind.

    But not in the middle of an import, where libraries choke on one: numpy recurses without end,
    torch aborts, and some swallow it and go on.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{STOPPED[signal.Signals(number)]}\n".encode())  # print may be interrupted
            os._exit(128 + number)
        frame = frame.f_back
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


if __name__ == "__main__":
    main()
