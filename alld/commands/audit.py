"""`alld audit`: check a data set before training on it."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from alld import NOTICE, display
from alld.commands.options import HealthyOption, JsonOption, PositiveOption, VerboseOption
from alld.runtime.files import one_line

if TYPE_CHECKING:
    from alld.auditing.examine import Audit
    from alld.data.manifest import Manifest

_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}
_LISTED = 8  # findings of one kind; audit.json has all of them
_DOMAINS = 20  # rows of the table


def audit(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder or CSV table of labelled images (default: data); each of several "
            "is a domain."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for audit.json, images.csv, groups.csv and groups.png.")
    ] = Path("audit"),
    groups: Annotated[
        Path | None,
        typer.Option(help="CSV table with columns path and group, instead of the groups found."),
    ] = None,
    fields: Annotated[
        Path | None,
        typer.Option(help="Folder of whole fields, in which every image is sought."),
    ] = None,
    positive: PositiveOption = None,
    healthy: HealthyOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check a data set for copies, contradictory labels and backgrounds that reveal the class.

    The exit status is 1 if some images cannot be read.

    Example: alld audit ~/ALL-IDB2
    """
    from alld.auditing.examine import examine
    from alld.auditing.folder import as_dict, check_place, write_audit
    from alld.config.files import load_config

    options: dict[str, Any] = {"data.positive": positive, "data.healthy": healthy}
    if data:
        options |= {"data.root": data[0], "data.more": data[1:]}
    given = {key: value for key, value in options.items() if value not in (None, [])}
    check_place(out)
    with display.Steps() as steps:
        config = load_config(options=given).data
        begin = partial(check_place, out)
        found = examine(config, groups, steps, begin, fields=fields, describe=_describe)
    write_audit(out, found)
    if as_json:
        display.print_json(as_dict(found))
    else:
        _print_audit(found, out)
    display.say(NOTICE)
    if found.problems:
        raise typer.Exit(1)


def _describe(manifest: "Manifest") -> Any:
    from alld.baselines.deep import unseen_features  # PyTorch: only where domains are known

    return unseen_features(manifest)


def _print_audit(audit: "Audit", folder: Path) -> None:
    """Write the findings by severity, each with its advice, and where the files are."""
    from alld.auditing.findings import findings
    from alld.data.manifest import class_counts

    manifest = audit.manifest
    mark = "SYNTHETIC " if manifest.synthetic else ""
    display.write(f"{mark}{manifest.kind}: {class_counts(manifest.labels)} cell images")
    if (domains := audit.domains) is not None:
        first = list(domains.counts.items())[:_DOMAINS]
        rows = [(name, str(blast), str(healthy)) for name, (healthy, blast) in first]
        display.write_list((domains.noun, "blast", "healthy"), rows)
        if len(domains.counts) > _DOMAINS:
            display.write(f"and {len(domains.counts) - _DOMAINS} more in audit.json")
    listed: Counter[str] = Counter()
    for finding in findings(audit):
        listed[finding.code] += 1
        if listed[finding.code] > _LISTED:
            continue
        colour = _COLOURS[finding.severity]
        sentence = escape(one_line(finding.sentence))
        display.output.print(f"[{colour}]{finding.severity + ':':<9}[/]{sentence}")
        if finding.advice != "nothing to do":
            display.output.print(f"[dim]{'':<9}-> {escape(finding.advice)}[/]")
        for path in finding.paths:
            display.detail(f"{finding.code}: {one_line(path)}")
    for code, count in listed.items():
        if count > _LISTED:
            display.write(f"{'':<9}and {count - _LISTED} more of the kind '{code}' in audit.json")
    display.write(f"audit: {folder}")
    if audit.in_fields is not None:
        table = folder / "images.csv"
        display.say(f"to train with these fields and sessions: alld train --data {table}")
    if audit.members:
        table = folder / "groups.csv"
        picture = folder / "groups.png"
        display.say(f"look at {picture}; to overrule it: alld train --groups {table}")
