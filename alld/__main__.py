"""`python -m alld`, and the command `alld`: quiet from the first import to the last line."""

import os
import signal
import sys
from types import FrameType

STOPPED = "stopped by Ctrl-C"


def main() -> None:
    """Run the command line and exit: 0 done, 1 some inputs failed, 2 mend something, 130 or 143."""
    signal.signal(signal.SIGINT, _interrupt)
    # Threads that wait for work sleep instead of spinning: on a machine that does something else
    # besides, training is three times as fast, and on an idle one as fast as before.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Nor does pydantic search all installed packages for plugins of its own: 0.05 s of each start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from alld.cli import run_command

        status = run_command(sys.argv[1:])
    except KeyboardInterrupt:  # a second one, while the first is answered
        print(STOPPED, file=sys.stderr)
        status = 130
    # What is left is Python's own farewell, in which Ctrl-C would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, but not in the middle of an import: libraries choke on it there.

    numpy recurses without end, torch aborts, and some swallow it and go on.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os.write(2, f"{STOPPED}\n".encode())  # print may be what was interrupted
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
