"""Repeated grouped cross-validation: a run a fold, out-of-fold predictions, two kinds of spread.

A fold is an ordinary run whose `split.folds` and `split.fold` say which one it is: it is trained,
resumed and evaluated like any other. What is finished is never done again.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from alld.config import Config, parse_config
from alld.data.groups import load_groups
from alld.data.sources import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError, Interrupted, RunError
from alld.evaluation.crossval_result import CrossValidation, write_crossval
from alld.evaluation.evaluate import evaluate
from alld.evaluation.folds import PLAN, Fold, plan_folds, read_plan
from alld.evaluation.pool import pool
from alld.files import write_json
from alld.stats.metrics import Metric
from alld.training.live import live
from alld.training.run import RUNS, Run
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
) -> CrossValidation:
    """Train and test a model for each fold of each repeat, and pool what they say.

    Repeat r splits and trains with the seeds of `config` plus r - 1.

    Args:
        config: as for `train`; `split.kind` is grouped, blocks or random.
        folds: at least 2; every image is tested once in each repeat.
        out: the folder of all of it, by default a new one under `runs/`.

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
    return resume_crossval(folder, listener)


def resume_crossval(
    folder: Path, listener: CrossvalListener | None = None, *, allow_inexact: bool = False
) -> CrossValidation:
    """Do what is missing of a cross-validation, and pool it.

    Args:
        allow_inexact: go on with a half-trained fold as `resume` of a run does.

    Raises:
        RunError: no cross-validation there, one that is at work, or folds that were made from
            other images.
        Interrupted: stopped again.
    """
    listener = listener or CrossvalListener()
    plan, config = read_plan(folder)
    cells = plan_folds(folder, plan["folds"], plan["repeats"])
    with live(folder):
        waiting = [cell for cell in cells if not cell.done]
        began = time.monotonic()
        for number, cell in enumerate(waiting):
            left = (time.monotonic() - began) / number * (len(waiting) - number) if number else None
            listener.begin(cell, cells.index(cell) + 1, len(cells), left)
            own = _fold_config(config, plan["folds"], cell.repeat, cell.fold)
            _do(cell, own, folder, listener, allow_inexact=allow_inexact)
        result = pool(folder, plan, config, cells)
        write_crossval(result)
    return result


def _do(
    cell: Fold, config: Config, folder: Path, listener: CrossvalListener, *, allow_inexact: bool
) -> None:
    run = Run(cell.folder)
    try:
        if not (cell.folder / "run.json").exists():
            shutil.rmtree(cell.folder, ignore_errors=True)  # killed before it began
            train(config, cell.folder, listener.training)
        elif run.state != "finished":
            resume(cell.folder, listener.training, allow_inexact=allow_inexact)
        found = evaluate(cell.folder, config.runtime.device)
    except (Interrupted, KeyboardInterrupt) as stopped:
        place = f"stopped in repeat {cell.repeat}, fold {cell.fold}"
        status = getattr(stopped, "exit_status", 130)
        hint = f"go on with: alld crossval --resume {folder}"
        raise Interrupted(f"{place}; {hint}", status) from stopped
    listener.end(cell, found.metrics)


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
