"""`python -m alld` is the command `alld`."""

from alld.cli import main

main()
