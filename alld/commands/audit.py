"""`alld audit`: what is wrong with a data set before anyone trains on it."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from alld import NOTICE, display, printed
from alld.commands.options import JsonOption, VerboseOption, print_json


def audit(
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder or CSV table of labelled images (default: data/)."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for audit.json, groups.csv and groups.png.")
    ] = Path("audit"),
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV table path,group that overrules the groups found."),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="Folder or label that means blast, in a set with names of its own."),
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Find out what is wrong with a data set: copies, contradictions, what its background tells.

    Example: [bold]alld audit ~/ALL-IDB2[/]
    """
    from alld.audit.examine import examine
    from alld.audit.folder import as_dict, check_place, write_audit
    from alld.config.files import load_config

    options = {"data.root": data, "data.positive": positive}
    given = {key: value for key, value in options.items() if value is not None}
    check_place(out)
    steps = display.Steps()
    try:
        config = load_config(options=given).data
        found = examine(config, groups, steps, partial(check_place, out))
    finally:
        steps.close()
    write_audit(out, found)
    if as_json:
        print_json(as_dict(found))
    else:
        printed.print_audit(found, out)
    display.say(NOTICE)
    if found.problems:
        raise typer.Exit(1)
