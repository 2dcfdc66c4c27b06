"""The command line: every command by its name, errors in one line, exit statuses.

Heavy libraries are imported inside the commands, so that `alld --help` is quick.
"""

import sys
import warnings
from typing import Annotated

import typer

from alld import NOTICE, display
from alld.commands import audit, demo, evaluate, lists, predict, synth, train
from alld.errors import AlldError, Interrupted

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
    predict.predict,
    lists.runs,
    lists.models,
    audit.audit,
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
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status; an error of the user's is one line."""
    # fastai compiles a function in a way that torch has deprecated; no user can mend that.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
    command = typer.main.get_command(app)
    try:
        status = command.main(arguments, prog_name="alld", standalone_mode=False)
    except Interrupted as stopped:
        display.say(str(stopped))
        return stopped.exit_status
    except AlldError as error:
        display.fail(str(error))
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        display.fail("stopped by Ctrl-C")
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        sys.stdout = None
        return 141
    except OSError as error:  # a full disk, a folder that may not be written to
        display.fail(f"{error.filename or 'the output'}: {error.strerror or error}")
        return 2
    except Exception as error:
        # typer keeps its click private: a misspelt option is known by this method alone.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        display.fail(f"{explain()} ({_help_for(error)})")
        return 2
    if status == 130:  # typer turns Ctrl-C into a silent exit
        display.say("stopped by Ctrl-C")
    return status if isinstance(status, int) else 0


def _help_for(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"see `{context.command_path if context else 'alld'} --help`"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 some inputs failed, 2 mend something, 130 or 143."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))
