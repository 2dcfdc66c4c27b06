"""The commands by name. The module of a command is imported when that command is called."""

import inspect
import os
import re
from collections import Counter
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Name: the module in this folder, and the line in `alld --help`.
COMMANDS = {
    "demo": ("synth", "Try everything in minutes on synthetic images."),
    "train": ("train", "Train one model, or resume a run."),
    "evaluate": ("evaluate", "Test a run on held-out or external images."),
    "crossval": ("crossval", "Cross-validate: train and test one model per fold."),
    "predict": ("predict", "Classify cell images as blast or healthy."),
    "screen": ("screen", "Count the blasts in whole fields, sample by sample."),
    "serve": ("serve", "Serve predictions as a web page and over HTTP."),
    "export": ("models", "Write a trained model for other programs."),
    "compare": ("evaluate", "Compare runs on the images that all of them tested."),
    "runs": ("evaluate", "List the runs in ./runs."),
    "models": ("models", "List the networks and their pretrained weights."),
    "audit": ("audit", "Check a data set for copies, wrong labels and confounding."),
    "pretrain": ("train", "Pretrain a network on other cells or tissue."),
    "synth": ("synth", "Draw a synthetic data set with known truth."),
}


def load_command(name: str) -> Any:
    """Import a command and return it with its options."""
    function = getattr(import_module(f"alld.commands.{COMMANDS[name][0]}"), name)
    # \b keeps typer from breaking the lines of the examples.
    text = (inspect.getdoc(function) or "").replace("\n\nExample", "\n\n\b\nExample")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=_Command, help=text)(_with_expanded_paths(function))
    return typer.main.get_command(single)


def _with_expanded_paths(function: Callable[..., None]) -> Callable[..., None]:
    """Expand `~` and `~name` in paths; a shell leaves the one in `--out=~/x` as it is."""

    def expanded(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [expanded(one) for one in value]
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value

    @wraps(function)
    def command(**values: Any) -> None:
        function(**{name: expanded(value) for name, value in values.items()})

    return command


class CommandGroup(TyperGroup):
    """Knows names and help lines of the commands, and loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and remaining arguments."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if known and name else None, rest


class _Command(TyperCommand):
    """Writes help as plain text, with a section for each panel; rich takes longer to import."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an option that is given twice, but takes one value: the last one would win."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            single = not (parameter.multiple or getattr(parameter, "is_flag", False))
            pair = bool(parameter.secondary_opts)  # such as --tta/--no-tta
            if times > 1 and parameter.param_type_name == "option" and (single or pair):
                name = "/".join([*parameter.opts, *parameter.secondary_opts])
                ctx.fail(f"{name} was given {times} times and takes one value; give it once")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[Any]] = {}
        for parameter in self.get_params(ctx):
            kind = f"{parameter.param_type_name.capitalize()}s"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            if record := parameter.get_help_record(ctx):
                name = re.sub(r" <list\[\w+\]>| range(?=>)", "", record[0])
                text = re.sub(r"\.?  \[(default: [^\]]*)\]$", r" (\1).", record[1])
                sections.setdefault(panel, []).append((name, text))
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
