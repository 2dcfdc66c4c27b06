"""The command line: every command by its name, errors in one line, exit statuses.

Heavy libraries are imported inside the commands, so that `alld --help` is quick.
"""

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from alld import NOTICE, display
from alld.commands import (
    audit,
    compare,
    crossval,
    demo,
    evaluate,
    export,
    lists,
    predict,
    pretrain,
    serve,
    synth,
    train,
)
from alld.errors import AlldError, ConfigError, Interrupted, mishap
from alld.runtime.launch import launched
from alld.runtime.process import TERMINATED

# As a shell reports a command whose reader left, `head` for one, and one that was told to end.
CLOSED_PIPE = 141

app = typer.Typer(
    name="alld",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, evaluate and run classifiers that tell leukaemic blasts from healthy cells.\n\n"
    + NOTICE,
)
for command in (
    demo.demo,
    train.train,
    evaluate.evaluate,
    crossval.crossval,
    predict.predict,
    serve.serve,
    export.export,
    compare.compare,
    lists.runs,
    lists.models,
    audit.audit,
    pretrain.pretrain,
    synth.synth,
):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        from alld import __version__

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
    start = launched()
    display.silence(start.rank > 0)
    if start.world_size > 1 and context.invoked_subcommand != "train":
        raise ConfigError(
            f"alld {context.invoked_subcommand} runs in one process, and torchrun started "
            f"{start.world_size}; give it without torchrun"
        ).from_all()


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status; an error of the user's is one line."""
    try:
        status = _run(arguments)
        sys.stdout.flush()  # a reader that has left is noticed here at the latest
    except BrokenPipeError:
        status = CLOSED_PIPE
    if status == CLOSED_PIPE:
        # Python flushes once more when it ends, and would complain.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments, prog_name="alld", standalone_mode=False)
    except Interrupted as stopped:
        display.say(str(stopped))
        return stopped.exit_status
    except AlldError as error:
        rank = _rank()
        if error.everywhere and rank > 0:
            return error.exit_status
        display.silence(False)
        display.fail(f"process {rank}: {error}" if rank else str(error))
        for advice in getattr(error, "__notes__", ()):
            for line in advice.splitlines():
                display.say(line)
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except SystemExit as leaving:
        # typer and rich turn a broken pipe into a plain failure.
        if isinstance(leaving.__context__, BrokenPipeError):
            return CLOSED_PIPE
        if leaving.code == TERMINATED:
            display.say("stopped by SIGTERM")
            return TERMINATED
        raise
    except BrokenPipeError:
        return CLOSED_PIPE
    except Exception as error:
        if reason := mishap(error):
            display.fail(reason)
            return 2
        # typer keeps its click private: a misspelt option is known by this method alone.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        display.fail(f"{explain()} ({_help_for(error)})")
        return 2
    if status == 130:  # typer turns Ctrl-C into a silent exit
        return _stopped()
    return status if isinstance(status, int) else 0


def _rank() -> int:
    with suppress(ConfigError):  # what the environment says of it may be the very error
        return launched().rank
    return 0


def _stopped() -> int:
    display.say("stopped by Ctrl-C")
    return 130


def _help_for(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'alld'} --help`"
