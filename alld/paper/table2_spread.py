"""The cells of Table 2 on a cluster: paper-shaped runs as tasks, then folds as tasks."""

import os
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from alld.config.schema import Config, parse_config
from alld.errors import Interrupted
from alld.paper.grid import Cell, compute_cell
from alld.runtime.cluster import Cluster
from alld.runtime.signals import Stopping
from alld.training.train import Listener


def compute_on_cluster(
    cluster: Cluster,
    cells: Sequence[Cell],
    config: Config,
    done: Callable[[Cell], None],
    note: Callable[[str], None],
    *,
    allow_inexact: bool = False,
) -> None:
    """Compute what is missing of these cells; `done` hears of each.

    Raises:
        AlldError: something to mend, or Interrupted.
    """
    settings, here = config.model_dump(mode="json"), os.getcwd()
    waiting = [cell for cell in cells if not cell.done]
    calls = (
        (cell, (settings, cell.arch, cell.seed, str(cell.folder), here, allow_inexact))
        for cell in waiting
        if cell.seed is not None
    )
    with Stopping() as stop:

        def told() -> None:
            if stop.signal_number is not None:
                raise Interrupted(f"stopped by {stop.name_of_signal}", stop.exit_status)

        for cell, notes in cluster.spread(do_cell, calls, told):
            for text in notes:
                note(text)
            done(cell)
    for cell in waiting:
        if cell.seed is None:
            listener = Listener(note=note)
            compute_cell(cell, config, listener, allow_inexact=allow_inexact, cluster=cluster)
            done(cell)


def do_cell(
    settings: dict[str, Any], arch: str, seed: int, folder: str, here: str, allow_inexact: bool
) -> list[str]:
    """Compute one paper-shaped cell, as `here` sees its folder, and return what there was to note.

    Texts and numbers in and out: it can run anywhere.
    """
    notes: list[str] = []
    with chdir(here):
        cell, config = Cell(arch, seed, Path(folder)), parse_config(settings, folder)
        compute_cell(cell, config, Listener(note=notes.append), allow_inexact=allow_inexact)
    return notes
