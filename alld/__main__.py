"""`python -m alld`, and the command `alld`: quiet from the first import to the last line."""

import sys

from alld.runtime import process


def main() -> None:
    """Run the command line and exit: 0 done, 1 some inputs failed, 2 mend something, 130 or 143."""
    process.run(_work)


def _work() -> int:
    from alld.cli import run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    main()
