"""`alld runs` and `alld models`: what there is."""

from alld import display, printed
from alld.commands.options import JsonOption, print_json


def runs(as_json: JsonOption = False) -> None:
    """List the runs under ./runs: state, network, split, accuracy on the test images.

    Example: [bold]alld runs --json[/]
    """
    from alld.evaluation.crossval.overview import COLUMNS, run_overview

    rows = run_overview()
    if as_json:
        print_json(rows)
        return
    if not rows:
        display.say("no runs under ./runs; `alld train` makes one")
        return
    cells = [[str(row[name]) for name in COLUMNS] for row in rows]
    display.output.print(printed.plain_table(COLUMNS, cells))


def models(as_json: JsonOption = False) -> None:
    """List the networks and whether their first weights are on this machine.

    Example: [bold]alld models[/]
    """
    from alld.model.architectures import list_architectures

    infos = list_architectures()
    if as_json:
        print_json([vars(info) for info in infos])
        return
    columns = ("arch", "weights", "from", "parameters", "here")
    cells = [
        [
            info.name,
            info.weights,
            info.source,
            "" if info.parameters is None else f"{info.parameters / 1e6:.1f} M",
            "yes" if info.weights_present else "no: fetched at first use",
        ]
        for info in infos
    ]
    display.output.print(printed.plain_table(columns, cells))
