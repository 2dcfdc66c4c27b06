"""Plan, check and compute the experiments of a table: runs and cross-validations on disk.

A network has paper-shaped runs, a grouped cross-validation, and where the domains of the set allow
it one that tests other sessions than those that train.

A finished experiment is never computed twice. A table whose experiments had other settings, images
or versions than asked for now is refused: it would mix what cannot be compared.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.baselines.bench import FOLDS, folds_config, paper_config, session_config
from alld.config.schema import Config, parse_config
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.errors import Interrupted, RunError
from alld.evaluation.crossval.folds import read_plan
from alld.evaluation.crossval.train import (
    CrossvalListener,
    complete_run,
    crossval,
    resume_crossval,
)
from alld.model.place import PLAN
from alld.runs.create import path_name, resolve_config
from alld.runs.folder import Run
from alld.runs.machine import conditions_of, differences, prepare_machine
from alld.runtime.cluster import Cluster
from alld.runtime.signals import Stopping
from alld.training.train import Listener


@dataclass(frozen=True)
class Experiment:
    """A paper-shaped run with a seed, a grouped cross-validation, or one of other sessions."""

    arch: str
    seed: int | None  # None: a cross-validation
    folder: Path
    directions: int = 0  # that a cross-validation of other sessions tests; 0: it is grouped

    def __str__(self) -> str:
        what = "grouped 5-fold" if self.seed is None else f"paper-shaped, seed {self.seed}"
        return f"{self.arch}, {'other sessions' if self.directions else what}"

    @property
    def done(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / "evaluation" / "metrics.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether its training was started."""
        return (self.folder / (PLAN if self.seed is None else "run.json")).is_file()

    @property
    def runs(self) -> int:
        """The number of trainings in it."""
        return self.directions or (FOLDS if self.seed is None else 1)


def plan_experiments(
    out: Path, archs: Sequence[str], seeds: int, directions: int = 0
) -> list[Experiment]:
    """Return every experiment in the order of computing: seed by seed, then the folds.

    Args:
        directions: that the set allows, as `alld.data.directions` counts them; 0 for none.
    """
    folders = {arch: out / path_name(arch) for arch in archs}
    runs = [
        Experiment(arch, seed, folders[arch] / f"paper-seed-{seed}")
        for seed in range(seeds)
        for arch in archs
    ]
    grouped = [Experiment(arch, None, folders[arch] / "grouped") for arch in archs]
    outside = [Experiment(arch, None, folders[arch] / "session", directions) for arch in archs]
    return runs + grouped + (outside if directions else [])


def config_of(experiment: Experiment, config: Config) -> Config:
    """Return the settings of one experiment; `config` is the grid's, without its arch."""
    settings = config.model_dump(mode="json")
    settings["model"]["arch"] = experiment.arch
    own = parse_config(settings, str(experiment.folder))
    if experiment.directions:
        return session_config(own)
    if experiment.seed is None:
        return folds_config(own)
    return paper_config(own, experiment.seed)


def check_experiments(
    experiments: Sequence[Experiment],
    config: Config,
    *,
    here: bool = True,
    allow_inexact: bool = False,
) -> None:
    """Check what was begun against what is asked for now, before anything is trained.

    Args:
        config: the grid's, without its arch.
        here: whether this machine trains what is missing.
        allow_inexact: allow a mixture of versions, threads and devices; `unlike` names them.

    Raises:
        RunError: an experiment has other settings or other images, or was computed under other
            conditions than those that are missing would be.
    """
    begun = [experiment for experiment in experiments if experiment.begun]
    if not begun:
        return
    manifest = load_manifest(config.data)
    for experiment in begun:
        _check_recipe(experiment, config_of(experiment, config), manifest)
    if here and not allow_inexact and not all(experiment.done for experiment in experiments):
        now = conditions_of(prepare_machine(config.runtime))
        for run in trainings_of(begun):
            if changed := differences(conditions_of(run.info), now):
                raise RunError(
                    f"{run.folder}: {'; '.join(changed)}. One table would mix both; bring that "
                    "back, or go on with --allow-inexact, which the table says"
                )


def _check_recipe(experiment: Experiment, wanted: Config, manifest: Manifest) -> None:
    folder = experiment.folder
    if experiment.seed is None:
        plan = read_plan(folder)
        config, fingerprint = plan.config, plan.fingerprint
    else:
        run = Run(folder)
        config, fingerprint = run.config, run.info["data"]["fingerprint"]
    if fingerprint != manifest.fingerprint:
        raise RunError(f"{folder}: made from other images than {manifest.root}; use another --out")
    wanted = resolve_config(wanted, manifest)
    then, now = ({"config": one.model_dump(mode="json")} for one in (config, wanted))
    changed = differences(then, now)
    if experiment.seed is None and config.split.fields != wanted.split.fields:
        changed.append(f"split.fields: {config.split.fields} then, {wanted.split.fields} now")
    if changed:
        raise RunError(
            f"{folder}: made with other settings ({'; '.join(changed)}); "
            "give those of then, or use another --out"
        )


def trainings_of(experiments: Iterable[Experiment]) -> Iterator[Run]:
    """Yield the trainings of these experiments that were begun."""
    for experiment in experiments:
        folders = [experiment.folder]
        if experiment.seed is None:
            plan = read_plan(experiment.folder) if experiment.begun else None
            folders = [fold.folder for fold in plan.all_folds()] if plan else []
        yield from (Run(folder) for folder in folders if (folder / "run.json").is_file())


def unlike(trainings: Iterable[Run]) -> tuple[str, ...]:
    """Return `threads: 1 and 2` for each condition in which the trainings of a table differ."""
    infos = [run.info for run in trainings]
    conditions = []
    for info in infos:
        machine = conditions_of(info)
        versions = machine.pop("versions") or {}
        conditions.append({**machine, **versions})
    names = dict.fromkeys(name for found in conditions for name in found)
    values = {name: sorted({str(found.get(name)) for found in conditions}) for name in names}
    found = [f"{name}: {' and '.join(these)}" for name, these in values.items() if these[1:]]
    if changed := sum(bool(info.get("inexact")) for info in infos):
        found.append(f"{changed} of {len(infos)} went on under others than they began with")
    return tuple(found)


def compute(
    experiment: Experiment,
    config: Config,
    listener: Listener,
    *,
    allow_inexact: bool = False,
    cluster: Cluster | None = None,
) -> None:
    """Train and evaluate what is missing of one experiment.

    Args:
        config: the grid's, without its arch.
        cluster: trains the folds of a cross-validation side by side.

    Raises:
        AlldError: an input is wrong, or the work was interrupted.
    """
    if experiment.done:
        return
    own, folder = config_of(experiment, config), experiment.folder
    if experiment.seed is not None:
        complete_run(folder, own, listener, allow_inexact=allow_inexact)
    elif experiment.begun:
        of_folds = CrossvalListener(training=listener)
        resume_crossval(folder, of_folds, allow_inexact=allow_inexact, cluster=cluster)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed before it began
        folds, repeats = (None, None) if experiment.directions else (FOLDS, 1)
        crossval(own, folds, repeats, folder, CrossvalListener(training=listener), cluster)


def compute_on_cluster(
    cluster: Cluster,
    experiments: Sequence[Experiment],
    config: Config,
    done: Callable[[Experiment], None],
    note: Callable[[str], None],
    *,
    allow_inexact: bool = False,
) -> None:
    """Compute what is missing: paper-shaped runs as tasks of the cluster, then the folds.

    Args:
        done: called with each experiment when it is finished.
        note: called with each note of a training.

    Raises:
        AlldError: an input is wrong, or the work was interrupted.
    """
    settings, here = config.model_dump(mode="json"), os.getcwd()
    waiting = [experiment for experiment in experiments if not experiment.done]
    calls = (
        (one, (settings, one.arch, one.seed, str(one.folder), here, allow_inexact))
        for one in waiting
        if one.seed is not None
    )
    with Stopping() as stop:

        def check_stop() -> None:
            if stop.signal_number is not None:
                raise Interrupted(f"stopped by {stop.name_of_signal}", stop.exit_status)

        for experiment, notes in cluster.spread(run_task, calls, check_stop):
            for text in notes:
                note(text)
            done(experiment)
    for experiment in waiting:
        if experiment.seed is None:
            listener = Listener(note=note)
            compute(experiment, config, listener, allow_inexact=allow_inexact, cluster=cluster)
            done(experiment)


def run_task(
    settings: dict[str, Any], arch: str, seed: int, folder: str, here: str, allow_inexact: bool
) -> list[str]:
    """Compute one paper-shaped experiment and return its notes.

    Arguments and result are texts and numbers, to run anywhere; `folder` is relative to `here`.
    """
    notes: list[str] = []
    with chdir(here):
        experiment, config = Experiment(arch, seed, Path(folder)), parse_config(settings, folder)
        compute(experiment, config, Listener(note=notes.append), allow_inexact=allow_inexact)
    return notes
