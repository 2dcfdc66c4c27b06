"""The grid of a table: what is to be trained, what of it lies on disk, and whether it is alike.

A cell of it is a run or a cross-validation. A finished one is never computed twice; a table asked
for again with other settings, images or versions would mix what cannot be compared.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.baselines.bench import FOLDS, grouped_config, paper_config
from alld.config.schema import Config, parse_config
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import PLAN, read_plan
from alld.evaluation.crossval.train import (
    CrossvalListener,
    complete_run,
    crossval,
    resume_crossval,
)
from alld.runs.create import path_name, resolve_config
from alld.runs.folder import Run
from alld.runs.machine import conditions_of, differences, prepare_machine
from alld.runtime.cluster import Cluster
from alld.training.train import Listener


@dataclass(frozen=True)
class Cell:
    """One thing to compute: a paper-shaped run with a seed, or a grouped cross-validation."""

    arch: str
    seed: int | None  # None: the cross-validation
    folder: Path

    @property
    def done(self) -> bool:
        return (self.folder / "evaluation" / "metrics.json").is_file()

    @property
    def begun(self) -> bool:
        return (self.folder / (PLAN if self.seed is None else "run.json")).is_file()

    @property
    def runs(self) -> int:
        """Trainings in it."""
        return FOLDS if self.seed is None else 1


def plan_cells(out: Path, archs: Sequence[str], seeds: int) -> list[Cell]:
    """Every cell in the order in which they are computed: seed by seed, then the folds."""
    cells = [
        Cell(arch, seed, out / path_name(arch) / f"paper-seed-{seed}")
        for seed in range(seeds)
        for arch in archs
    ]
    return cells + [Cell(arch, None, out / path_name(arch) / "grouped") for arch in archs]


def check_cells(
    cells: Sequence[Cell], config: Config, *, here: bool = True, allow_inexact: bool = False
) -> None:
    """Hold what was begun against what is asked for now, before anything is trained.

    Args:
        config: the grid's, without its arch.
        here: whether this machine trains what is missing.
        allow_inexact: mix versions, threads and devices; `unlike` names them.

    Raises:
        RunError: a cell has other settings, other images, or came out under other conditions than
            those that are missing would.
    """
    begun = [cell for cell in cells if cell.begun]
    if not begun:
        return
    manifest = load_manifest(config.data)
    for cell in begun:
        _check_recipe(cell, config_of(cell, config), manifest)
    if here and not allow_inexact and not all(cell.done for cell in cells):
        now = conditions_of(prepare_machine(config.runtime))
        for run in trainings_of(begun):
            if changed := differences(conditions_of(run.info), now):
                raise RunError(
                    f"{run.folder}: {'; '.join(changed)}. One table would mix both; bring that "
                    "back, or go on with --allow-inexact, which the table says"
                )


def trainings_of(cells: Iterable[Cell]) -> Iterator[Run]:
    """The trainings of these cells that were begun."""
    for cell in cells:
        folders = [cell.folder]
        if cell.seed is None:
            begun = (cell.folder / PLAN).is_file()
            folders = [fold.folder for fold in read_plan(cell.folder).all_folds()] if begun else []
        yield from (Run(folder) for folder in folders if (folder / "run.json").is_file())


def unlike(trainings: Iterable[Run]) -> tuple[str, ...]:
    """`threads: 1 and 2` for everything under which the trainings of a table were not alike."""
    infos = [run.info for run in trainings]
    conditions = [_conditions(info) for info in infos]
    names = dict.fromkeys(name for found in conditions for name in found)
    values = {name: sorted({str(found.get(name)) for found in conditions}) for name in names}
    found = [f"{name}: {' and '.join(these)}" for name, these in values.items() if these[1:]]
    if changed := sum(bool(info.get("inexact")) for info in infos):
        found.append(f"{changed} of {len(infos)} went on under others than they began with")
    return tuple(found)


def _conditions(info: dict[str, Any]) -> dict[str, Any]:
    found = conditions_of(info)
    versions = found.pop("versions") or {}
    return {**found, **versions}


def _check_recipe(cell: Cell, wanted: Config, manifest: Manifest) -> None:
    if cell.seed is None:
        plan = read_plan(cell.folder)
        config, fingerprint = plan.config, plan.fingerprint
    else:
        run = Run(cell.folder)
        config, fingerprint = run.config, run.info["data"]["fingerprint"]
    if fingerprint != manifest.fingerprint:
        raise RunError(
            f"{cell.folder}: made from other images than {manifest.root}; use another --out"
        )
    wanted = resolve_config(wanted, manifest)
    then, now = ({"config": one.model_dump(mode="json")} for one in (config, wanted))
    if changed := differences(then, now):
        raise RunError(
            f"{cell.folder}: made with other settings ({'; '.join(changed)}); "
            "give those of then, or use another --out"
        )


def compute_cell(
    cell: Cell,
    config: Config,
    listener: Listener,
    *,
    allow_inexact: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """Train and evaluate what is missing of one cell; `config` is the grid's, without its arch.

    A `cluster` trains the folds of a cross-validation side by side.

    Raises:
        AlldError: something to mend, or Interrupted.
    """
    if cell.done:
        return
    own = config_of(cell, config)
    if cell.seed is None:
        heard = CrossvalListener(training=listener)
        if (cell.folder / PLAN).exists():
            resume_crossval(cell.folder, heard, allow_inexact=allow_inexact, cluster=cluster)
        else:
            shutil.rmtree(cell.folder, ignore_errors=True)
            crossval(own, FOLDS, 1, cell.folder, heard, cluster)
        return
    complete_run(cell.folder, own, listener, allow_inexact=allow_inexact)


def config_of(cell: Cell, config: Config) -> Config:
    """The settings of one cell; `config` is the grid's, without its arch."""
    settings = config.model_dump(mode="json")
    settings["model"]["arch"] = cell.arch
    own = parse_config(settings, str(cell.folder))
    return grouped_config(own) if cell.seed is None else paper_config(own, cell.seed)
