"""Train one model by the recipe: seed, data, model, fit, save, told from top to bottom."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn

from alld.config.schema import Config
from alld.data.groups.load import Groups, load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.data.splits import Split, make_split, split_text
from alld.errors import Interrupted, RunError
from alld.model.backbones import create_model
from alld.model.bundle import write_bundle
from alld.model.weights import check_sha256, sha256_of
from alld.runs.create import check_free, create_run, default_folder
from alld.runs.folder import Run, open_run, read_manifest, read_split
from alld.runtime.locks import live
from alld.training.callbacks import (
    EpochSeed,
    FrozenBody,
    Journal,
    Progress,
    SaveEpoch,
)
from alld.training.checkpoints import Checkpoint, EpochRecord, load_best_weights, load_newest
from alld.training.describe import calibration_warnings, describe
from alld.training.ending import ending, interrupted
from alld.training.learner import fit_phase, make_learner
from alld.training.limits import learn_limits
from alld.training.loaders import make_loaders
from alld.training.machine import agree_on_all, changes, origin, prepare_machine
from alld.training.phases import Phase, phases
from alld.training.ranks import gather, joined, leads, part, together
from alld.training.signals import StopOnSignal
from alld.training.trackers import MakeCallbacks, check_tracker, tracking


@dataclass(frozen=True)
class Listener:
    """What a caller hears of a run on its way; every part may be left out."""

    step: Callable[[str, int, int], None] = lambda _step, _done, _total: None
    note: Callable[[str], None] = lambda _text: None
    begin: Callable[[Run, Manifest, Split], None] = lambda _run, _manifest, _split: None
    progress: Callable[[Progress], None] = lambda _progress: None


@dataclass(frozen=True)
class _Training:
    """All that is there when the first epoch begins."""

    run: Run
    config: Config
    manifest: Manifest
    split: Split
    loaders: DataLoaders
    model: nn.Sequential
    checkpoint: Checkpoint | None


def train(config: Config, out: Path | None = None, listener: Listener | None = None) -> Run:
    """Train one model and return its run folder.

    Of several processes that torchrun started the leader alone writes, and it alone saves the
    model; the others return when the last epoch is done.

    Args:
        config: all settings; nothing else influences the result but the machine and the versions.
        out: the run's folder; by default a new one under `runs/`.

    Raises:
        ConfigError, DataError, ImageError: something to mend before anything was written.
        RunError: the folder is taken, or the loss diverged.
        Interrupted: Ctrl-C or SIGTERM; `resume` goes on from the last whole epoch.
    """
    with joined():
        listener = (listener if leads() else None) or Listener()
        with together():
            if out is not None and leads():
                check_free(out)
            check_tracker(config)
            machine = prepare_machine(config)
            manifest, groups = _load_data(config, listener)
            split = make_split(
                manifest, groups.of_image, groups.source, config.split, config.split_seed
            )
            config = resolve_config(config, manifest)
            torch.manual_seed(config.seed)
            model = _create(config)
            loaders = _make_loaders(manifest, split, config, machine, listener)
        agree_on_all(config, manifest, split, machine)
        facts = {**machine, "groups": groups.source, "leaking_groups": split.leaking_groups}
        folder = Path(gather(str(out or default_folder(config.model.arch)).encode())[0].decode())
        with _place(folder):
            run = Run(folder)
            if leads():
                run = create_run(folder, config, manifest, split_text(manifest, split), facts)
            training = _Training(run, config, manifest, split, loaders, model, None)
            return _fit_and_save(training, listener)


def resume(
    folder: Path,
    listener: Listener | None = None,
    *,
    data: Path | None = None,
    allow_inexact: bool = False,
) -> Run:
    """Go on with an interrupted or killed run from its last whole epoch.

    Args:
        data: where the images lie now, if they were moved.
        allow_inexact: go on with other versions, threads or settings; run.json then says so.

    Raises:
        RunError: no run there, a finished one, one that is at work, other data, other versions,
            threads or settings, or nothing that can be read back.
    """
    with joined():
        listener = (listener if leads() else None) or Listener()
        with together():
            run = open_run(folder)
            if run.state == "finished":
                advice = f"`alld evaluate {folder}` is next"
                raise RunError(f"--resume {folder}: that run is finished; {advice}")
        with _place(folder):
            with together():
                config = run.config
                check_tracker(config)
                machine = prepare_machine(config)
                manifest = read_manifest(run, data, partial(listener.step, "reading images"))
                split = read_split(run, manifest)
                checkpoint, warnings = load_newest(run.checkpoints)
                for warning in warnings:
                    listener.note(warning)
                changed = changes(run, checkpoint, machine, allow_inexact=allow_inexact)
                for difference in changed:
                    listener.note(f"not to the bit the run that was begun: {difference}")
                torch.manual_seed(config.seed)
                # Weights of a checkpoint take the place of the pretrained ones: these need not be
                # found.
                model = _create(config if checkpoint is None else _without_weights(config))
                loaders = _make_loaders(manifest, split, config, machine, listener)
            agree_on_all(config, manifest, split, machine)
            if leads():
                inexact = run.info.get("inexact", []) + changed
                resumed = run.info.get("resumed", 0) + 1
                run.update(**machine, state="running", resumed=resumed, inexact=inexact)
            training = _Training(run, config, manifest, split, loaders, model, checkpoint)
            return _fit_and_save(training, listener)


def _place(folder: Path) -> AbstractContextManager[None]:
    """The folder of a run, held by the one process that writes."""
    return live(folder) if leads() else nullcontext()


def _load_data(config: Config, listener: Listener) -> tuple[Manifest, Groups]:
    manifest = load_manifest(config.data, partial(listener.step, "reading images"))
    for warning in manifest.warnings:
        listener.note(warning)
    groups = load_groups(
        manifest, config.split.groups, partial(listener.step, "comparing images for shared cells")
    )
    return manifest, groups


def resolve_config(config: Config, manifest: Manifest) -> Config:
    """Settings that mean the same from any folder and on any later day.

    Raises:
        ConfigError: the file of first weights is not there.
    """
    root = manifest.root if config.data.root.is_dir() else config.data.root
    groups = config.split.groups and config.split.groups.expanduser().resolve()
    split = config.split.model_copy(update={"seed": config.split_seed, "groups": groups})
    data = config.data.model_copy(update={"root": root.expanduser().resolve()})
    model = config.model
    if model.weights is not None:
        weights = model.weights.expanduser().resolve()
        found = model.weights_sha256 or sha256_of(weights)
        model = model.model_copy(update={"weights": weights, "weights_sha256": found})
    return config.model_copy(update={"data": data, "split": split, "model": model})


def _create(config: Config) -> nn.Sequential:
    model = config.model
    if model.weights is not None and model.weights_sha256 is not None:
        check_sha256(model.weights, model.weights_sha256)
    return create_model(model.arch, pretrained=model.pretrained, weights=model.weights)


def _without_weights(config: Config) -> Config:
    model = config.model.model_copy(
        update={"pretrained": False, "weights": None, "weights_sha256": None}
    )
    return config.model_copy(update={"model": model})


def _make_loaders(
    manifest: Manifest,
    split: Split,
    config: Config,
    machine: dict[str, Any],
    listener: Listener,
) -> DataLoaders:
    device = torch.device(machine["device"])
    return make_loaders(manifest, split, config, device, partial(listener.step, "decoding images"))


def _fit_and_save(training: _Training, listener: Listener) -> Run:
    run, config = training.run, training.config
    with StopOnSignal() as stop, ending(run, config):
        if leads():
            listener.begin(run, training.manifest, training.split)
        learner = make_learner(training.model, training.loaders, config)
        with tracking(run, config) as tracked:
            _fit(run, learner, config, training.checkpoint, stop, listener, tracked)
        if not leads():
            return run
        part()
        if config.train.select == "best":
            learner.model.load_state_dict(load_best_weights(run.checkpoints))
        images = (training.manifest, training.split)
        looking = partial(listener.step, "learning the limits")
        limits, their_facts = learn_limits(*images, learner.model, config, looking)
        info = describe(run, *images, learner, config, their_facts)
        for warning in calibration_warnings(info):
            listener.note(warning)
        write_bundle(run.bundle, learner.model, info, limits)
    if stop.signal_number is not None:  # while the model was saved: whoever called must stop too
        done = f"stopped by {stop.name_of_signal}; the run had just been finished"
        raise Interrupted(f"{done}; next: alld evaluate {run.folder}", stop.exit_status)
    return run


def _fit(
    run: Run,
    learner: Learner,
    config: Config,
    checkpoint: Checkpoint | None,
    stop: StopOnSignal,
    listener: Listener,
    tracked: MakeCallbacks,
) -> None:
    history: list[EpochRecord] = list(checkpoint.history) if checkpoint else []
    if checkpoint:
        checkpoint.restore_weights(learner.model)
    stopped = False
    for phase in phases(config.train):
        done = len(history) - phase.first_epoch  # epochs of this phase, from a checkpoint
        if done >= phase.epochs:
            continue
        learner.freeze() if phase.frozen else learner.unfreeze()
        if checkpoint and done > 0:
            checkpoint.restore_optimiser(learner.opt)
        callbacks = _callbacks(run, phase, config, history, listener)
        callbacks += tracked(learner, len(history))
        fit_phase(learner, phase, done, [*callbacks, stop])
        stopped = stop.heard()
        if stopped:
            break
    if stopped:
        raise interrupted(run, len(history), stop)


def _callbacks(
    run: Run, phase: Phase, config: Config, history: list[EpochRecord], listener: Listener
) -> list[Callback]:
    epochs = config.train.frozen_epochs + config.train.epochs
    keep_best = config.train.select == "best"

    def notify(progress: Progress) -> None:
        if progress.epoch_done and leads():
            run.write_history([record.__dict__ for record in history])
        listener.progress(progress)

    callbacks: list[Callback] = [
        EpochSeed(config.seed, phase),
        Journal(phase, epochs, history, notify),
    ]
    if leads():
        come_from = origin(config, run.info)
        callbacks.append(SaveEpoch(run.checkpoints, history, come_from, keep_best=keep_best))
    if phase.frozen and config.train.recipe == "paper":
        callbacks.append(FrozenBody())
    return callbacks
