"""The command line: call a command, print an error in one line, return an exit status.

Only what `alld --help` needs is imported at the top.
"""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from alld import NOTICE, __version__
from alld.commands import COMMANDS, CommandGroup
from alld.errors import AlldError, ConfigError, mishap
from alld.runtime.imports import announce_imports
from alld.runtime.launch import launched
from alld.runtime.process import TERMINATED

CLOSED_PIPE = 141  # what a shell reports of a program whose reader has left, as `head` does

app = typer.Typer(
    cls=CommandGroup,
    name="alld",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Train, evaluate and run classifiers that tell leukaemic blasts from healthy cells.\n\n"
    + NOTICE,
)
for _name, (_module, _line) in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)  # stands for the command until it is called


def _version(wanted: bool) -> None:
    if wanted:
        print(f"alld {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    from alld import display

    start = launched()
    display.silence(not start.is_first)
    announce_imports(display.say)
    if start.world_size > 1 and context.invoked_subcommand != "train":
        raise ConfigError(
            f"alld {context.invoked_subcommand} runs in one process, and torchrun started "
            f"{start.world_size}; give it without torchrun"
        ).from_all()


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status; an error that the user can mend is one line."""
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments or ["--help"], prog_name="alld", standalone_mode=False)
        sys.stdout.flush()  # here at the latest it shows that the reader has left
        if status == 130:  # typer turns Ctrl-C into a silent exit
            raise KeyboardInterrupt
    except BaseException as error:
        status = _report(error)
    if status == CLOSED_PIPE:
        # Python flushes once more when it ends, and would complain.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status if isinstance(status, int) else 0


def _report(error: BaseException) -> int:
    """Print the error that ended a command and return the exit status; raise unexpected errors."""
    from alld import display

    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return CLOSED_PIPE  # typer turns a broken pipe into a plain failure
    if isinstance(error, BrokenPipeError):
        return CLOSED_PIPE
    if isinstance(error, AlldError):
        return display.report(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        display.say("stopped by Ctrl-C")
        return 130
    if isinstance(error, SystemExit) and error.code == TERMINATED:
        display.say("stopped by SIGTERM")
        return TERMINATED
    # typer does not export the error of a misspelt option; it is known by this method.
    explain = getattr(error, "format_message", None)
    if reason := mishap(error):
        display.fail(reason)
    elif explain is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "alld"
        display.fail(f"{explain() or 'Missing command.'} (see `{command} --help`)")
    else:
        raise error
    return 2
