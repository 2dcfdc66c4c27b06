"""Repeated grouped cross-validation: a run a fold, out-of-fold predictions, two kinds of spread.

A fold is an ordinary run whose `split.folds` and `split.fold` say which one it is: it is trained,
resumed and evaluated like any other. What is finished is never done again.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from alld.config.schema import Config, parse_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError, Interrupted, RunError
from alld.evaluation.crossval.folds import PLAN, Fold, plan_folds, read_plan
from alld.evaluation.crossval.pool import pool
from alld.evaluation.crossval.result import CrossValidation, write_crossval
from alld.evaluation.holdout import evaluate
from alld.runs.folder import RUNS, Run
from alld.runtime.cluster import Cluster
from alld.runtime.files import write_json
from alld.runtime.locks import live
from alld.runtime.signals import Stopping
from alld.stats.metrics import Metric
from alld.training.machine import differences, inexact, of_machine, prepare_machine
from alld.training.train import Listener, resolve_config, resume, train


@dataclass(frozen=True)
class CrossvalListener:
    """What a caller hears: each fold before it begins and after it ended, and its training."""

    training: Listener = field(default_factory=Listener)
    begin: Callable[[Fold, int, int, float | None], None] = lambda _fold, _number, _of, _left: None
    end: Callable[[Fold, dict[str, Metric]], None] = lambda _fold, _metrics: None


def crossval(
    config: Config,
    folds: int = 5,
    repeats: int = 1,
    out: Path | None = None,
    listener: CrossvalListener | None = None,
    cluster: Cluster | None = None,
) -> CrossValidation:
    """Train and test a model for each fold of each repeat, and pool what they say.

    Repeat r splits and trains with the seeds of `config` plus r - 1.

    Args:
        config: as for `train`; `split.kind` is grouped, blocks or random.
        folds: at least 2; every image is tested once in each repeat.
        out: the folder of all of it, by default a new one under `runs/`.
        cluster: trains the folds side by side, in place of this process.

    Raises:
        ConfigError, DataError, ImageError: something to mend before anything was written.
        RunError: the folder is taken, or a loss diverged.
        Interrupted: Ctrl-C or SIGTERM; `resume_crossval` goes on.
    """
    if repeats < 1:
        raise ConfigError(f"--repeats {repeats}: must be at least 1")
    first = _fold_config(config, folds, 1, 1)  # says what does not fit before anything is read
    folder = out or _default_folder(config.model.arch)
    if folder.exists() and any(folder.iterdir()):
        hint = f"go on with --resume {folder}" if (folder / PLAN).exists() else "give a new one"
        raise RunError(f"--out {folder}: is not an empty folder; {hint}")
    manifest = load_manifest(config.data)
    groups = load_groups(manifest, config.split.groups)
    make_split(manifest, groups.of_image, groups.source, first.split, config.split_seed)
    resolved = resolve_config(config, manifest)
    plan = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "folds": folds,
        "repeats": repeats,
        "fingerprint": manifest.fingerprint,
        "config": resolved.model_dump(mode="json"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN, plan)
    return _go_on(folder, listener, allow_inexact=False, cluster=cluster)


def resume_crossval(
    folder: Path,
    listener: CrossvalListener | None = None,
    *,
    allow_inexact: bool = False,
    cluster: Cluster | None = None,
) -> CrossValidation:
    """Do what is missing of a cross-validation, and pool it.

    Args:
        allow_inexact: go on with other versions, threads or settings than the folds before, as
            `resume` of a run does.
        cluster: trains the folds side by side, in place of this process.

    Raises:
        RunError: no cross-validation there, one that is at work, other images, or other versions,
            threads or settings.
        Interrupted: stopped again.
    """
    plan, config = read_plan(folder)
    cells = plan_folds(folder, plan["folds"], plan["repeats"])
    if not all(cell.done for cell in cells):
        _check_images(folder, plan, config)
    if cluster is None and not allow_inexact:
        _check_machine(folder, config, cells)
    return _go_on(folder, listener, allow_inexact=allow_inexact, cluster=cluster)


def _check_images(folder: Path, plan: Mapping[str, Any], config: Config) -> None:
    """Other images are noticed before the folds that are missing are trained on them."""
    manifest = load_manifest(config.data)
    if manifest.fingerprint != plan["fingerprint"]:
        raise RunError(
            f"{manifest.root}: not the images that {folder} was begun with; bring the same set back"
        )


def _check_machine(folder: Path, config: Config, cells: Sequence[Fold]) -> None:
    """Folds that are pooled come from the same versions and threads."""
    done = [cell for cell in cells if cell.done]
    if not done or len(done) == len(cells):
        return
    then = of_machine(Run(done[-1].folder).info)
    if changed := differences(then, of_machine(prepare_machine(config))):
        raise inexact(folder, changed)


def _go_on(
    folder: Path,
    listener: CrossvalListener | None,
    *,
    allow_inexact: bool,
    cluster: Cluster | None,
) -> CrossValidation:
    listener = listener or CrossvalListener()
    plan, config = read_plan(folder)
    cells = plan_folds(folder, plan["folds"], plan["repeats"])
    with live(folder):
        waiting = [cell for cell in cells if not cell.done]
        work = _one_by_one if cluster is None else partial(_side_by_side, cluster)
        work(folder, waiting, listener, allow_inexact=allow_inexact)
        result = pool(folder, plan, config, cells)
        write_crossval(result)
    return result


def do_fold(
    folder: str, repeat: int, fold: int, allow_inexact: bool
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Train and test what is missing of one fold: texts and numbers in and out, to run anywhere.

    Returns:
        What there was to note, and the metrics of the fold.
    """
    plan, config = read_plan(Path(folder))
    notes: list[str] = []
    metrics = _do(
        Fold.of(Path(folder), repeat, fold),
        _fold_config(config, plan["folds"], repeat, fold),
        Listener(note=notes.append),
        allow_inexact=allow_inexact,
    )
    return notes, {name: asdict(metric) for name, metric in metrics.items()}


def _one_by_one(
    folder: Path, waiting: Sequence[Fold], listener: CrossvalListener, *, allow_inexact: bool
) -> None:
    plan, config = read_plan(folder)
    cells = plan_folds(folder, plan["folds"], plan["repeats"])
    began = time.monotonic()
    for number, cell in enumerate(waiting):
        left = (time.monotonic() - began) / number * (len(waiting) - number) if number else None
        listener.begin(cell, cells.index(cell) + 1, len(cells), left)
        own = _fold_config(config, plan["folds"], cell.repeat, cell.fold)
        try:
            metrics = _do(cell, own, listener.training, allow_inexact=allow_inexact)
        except (Interrupted, KeyboardInterrupt, SystemExit) as stopped:
            place = f"stopped in repeat {cell.repeat}, fold {cell.fold}"
            # SIGTERM between two trainings is a SystemExit; Ctrl-C there says no status.
            status = getattr(stopped, "exit_status", getattr(stopped, "code", 130))
            raise _interrupted(place, folder, status) from stopped
        listener.end(cell, metrics)


def _side_by_side(
    cluster: Cluster,
    folder: Path,
    waiting: Sequence[Fold],
    listener: CrossvalListener,
    *,
    allow_inexact: bool,
) -> None:
    """Each fold a task; the listener hears of one when it is done."""
    plan, _ = read_plan(folder)
    total = plan["folds"] * plan["repeats"]
    began = time.monotonic()
    place = os.path.abspath(folder)
    calls = ((cell, (place, cell.repeat, cell.fold, allow_inexact)) for cell in waiting)
    with Stopping() as stop:

        def told() -> None:
            if stop.signal_number is not None:
                raise _interrupted(f"stopped by {stop.name_of_signal}", folder, stop.exit_status)

        done = total - len(waiting)
        for cell, (notes, metrics) in cluster.spread(do_fold, calls, told):
            done += 1
            for note in notes:
                listener.training.note(note)
            left = (time.monotonic() - began) / (done - total + len(waiting)) * (total - done)
            listener.begin(cell, done, total, left)
            listener.end(cell, {name: Metric(**metric) for name, metric in metrics.items()})


def _do(
    cell: Fold, config: Config, listener: Listener, *, allow_inexact: bool
) -> dict[str, Metric]:
    run = Run(cell.folder)
    try:
        if not (cell.folder / "run.json").exists():
            shutil.rmtree(cell.folder, ignore_errors=True)  # killed before it began
            train(config, cell.folder, listener)
        elif run.state != "finished":
            resume(cell.folder, listener, allow_inexact=allow_inexact)
        return evaluate(cell.folder, config.runtime.device).metrics
    except RunError as error:
        error.message = f"repeat {cell.repeat}, fold {cell.fold}: {error.message}"
        raise


def _interrupted(place: str, folder: Path, status: int) -> Interrupted:
    return Interrupted(f"{place}; go on with: alld crossval --resume {folder}", status)


def _fold_config(config: Config, folds: int, repeat: int, fold: int) -> Config:
    settings = config.model_dump(mode="json")
    settings["seed"] = config.seed + repeat - 1
    settings["split"] |= {"seed": config.split_seed + repeat - 1, "folds": folds, "fold": fold}
    return parse_config(settings, f"--folds {folds}")


def _default_folder(arch: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = arch.replace(":", "-").replace("/", "-")
    wanted = RUNS / f"{name}-cv-{stamp}"
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
