"""Run the command line as `alld` or `python -m alld`."""

import sys

from alld.runtime import process


def main() -> None:
    """Run the command line and exit.

    Status: 0 done, 1 some inputs failed, 2 an error of the user, 130 Ctrl-C, 143 SIGTERM.
    """
    process.run(_work)


def _work() -> int:
    from alld.cli import run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    main()
