"""Train one model by the recipe, or resume a training: seed, data, model, fit, save."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch import nn

from alld.config.schema import Config
from alld.data.groups.load import Groups, load_groups
from alld.data.manifest import Manifest
from alld.data.pixels import with_pixel_hashes
from alld.data.sources.find import load_manifest
from alld.data.splits import Split, make_split, split_text, unused_split
from alld.errors import Interrupted, RunError
from alld.model.backbones import create_model
from alld.model.bundle import write_bundle
from alld.model.weights import check_sha256
from alld.runs.create import check_free, create_run, default_place, resolve_config
from alld.runs.folder import Run, open_run, read_manifest, read_split
from alld.runs.machine import differences, inexact, origin, prepare_machine
from alld.runtime.files import sha256_hex
from alld.runtime.locks import live
from alld.training.callbacks import Progress, StopOnSignal
from alld.training.checkpoints import Checkpoint, load_best_weights, load_newest, save_checkpoint
from alld.training.describe import calibration_warnings, describe, learn_limits
from alld.training.distributed import agree, distributed, gather, leads, shares, together
from alld.training.learner import fit, make_learner
from alld.training.loaders import make_loaders
from alld.training.recording import check_tracker, ending, interrupted, tracking


@dataclass(frozen=True)
class Listener:
    """Functions that a caller gives to follow a training; each may be left out."""

    step: Callable[[str, int, int], None] = lambda _step, _done, _total: None
    note: Callable[[str], None] = lambda _text: None
    begin: Callable[[Run, Manifest, Split], None] = lambda _run, _manifest, _split: None
    progress: Callable[[Progress], None] = lambda _progress: None


@dataclass(frozen=True)
class _Training:
    """What is there when the first epoch begins."""

    config: Config
    machine: dict[str, Any]
    manifest: Manifest
    split: Split
    model: nn.Sequential
    loaders: DataLoaders
    checkpoint: Checkpoint | None


def train(config: Config, out: Path | None = None, listener: Listener | None = None) -> Run:
    """Train one model and return its run.

    Of several processes, started by torchrun, only the first writes and saves the model; the
    others return after the last epoch.

    Args:
        config: all settings; besides them only the machine and the versions affect the result.
        out: the run's folder; by default a new one under `runs/`.

    Raises:
        ConfigError, DataError, ImageError: an input is wrong; nothing was written.
        RunError: the folder is taken, or the loss diverged.
        Interrupted: Ctrl-C or SIGTERM; `resume` goes on from the last whole epoch.
    """
    with distributed():
        listener = (listener if leads() else None) or Listener()
        with together():
            if leads():
                check_free(out or default_place(config.model.arch))
            machine = _prepare(config)
            manifest, groups = _load_data(config, listener)
            split = make_split(
                manifest, groups.of_image, groups.source, config.split, config.split_seed
            )
            config = resolve_config(config, manifest)
            training = _build(config, machine, manifest, split, listener)
        _agree(training)
        facts = {**machine, "groups": groups.source, "leaking_groups": split.leaking_groups}
        run = Run(gather(out or default_place(config.model.arch))[0])
        with live(run.folder) if leads() else nullcontext():
            if leads():
                create_run(run.folder, config, manifest, split_text(manifest, split), facts)
            return _fit_and_save(run, training, listener)


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
        allow_inexact: go on with other versions, threads or settings; run.json records them.

    Raises:
        RunError: no run there, a finished one, one that is at work, other data, other versions,
            threads or settings, or nothing that can be read back.
    """
    with distributed():
        listener = (listener if leads() else None) or Listener()
        with together():
            run = open_run(folder)
            if run.state == "finished":
                advice = f"`alld evaluate {folder}` is next"
                raise RunError(f"--resume {folder}: that run is finished; {advice}")
        with live(folder) if leads() else nullcontext():
            with together():
                config = run.config
                machine = _prepare(config)
                manifest = read_manifest(run, data, partial(listener.step, "reading images"))
                split = read_split(run, manifest)
                checkpoint, warnings = load_newest(run.checkpoints)
                for warning in warnings:
                    listener.note(warning)
                now = origin(config, {**run.info, **machine})
                changed = differences(checkpoint.origin, now) if checkpoint else []
                if changed and not allow_inexact:
                    raise inexact(folder, changed)
                for difference in changed:
                    listener.note(f"not to the bit the run that was begun: {difference}")
                training = _build(config, machine, manifest, split, listener, checkpoint)
            _agree(training)
            if leads():
                run.update(
                    **machine,
                    state="running",
                    resumed=run.info.get("resumed", 0) + 1,
                    inexact=run.info.get("inexact", []) + changed,
                )
            return _fit_and_save(run, training, listener)


def _prepare(config: Config) -> dict[str, Any]:
    check_tracker(config.runtime.log)
    machine = prepare_machine(config.runtime)
    return {**machine, "parallel": shares(config.train, torch.device(machine["device"]))}


def _load_data(config: Config, listener: Listener) -> tuple[Manifest, Groups]:
    manifest = load_manifest(config.data, partial(listener.step, "reading images"))
    for warning in manifest.warnings:
        listener.note(warning)
    if unused := unused_split(manifest, config.split):
        listener.note(unused)
    manifest = with_pixel_hashes(manifest, partial(listener.step, "hashing pixels"))
    comparing = partial(listener.step, "comparing images for shared cells")
    split = config.split
    groups = load_groups(manifest, split.groups, comparing, fields=split.joins_fields)
    if groups.warning:
        listener.note(groups.warning)
    return manifest, groups


def _build(
    config: Config,
    machine: dict[str, Any],
    manifest: Manifest,
    split: Split,
    listener: Listener,
    checkpoint: Checkpoint | None = None,
) -> _Training:
    torch.manual_seed(config.seed)
    wanted = config.model
    if checkpoint is not None:  # it replaces the initial weights, which need not be found
        model = create_model(wanted.arch, pretrained=False)
    else:
        if wanted.weights is not None and wanted.weights_sha256 is not None:
            check_sha256(wanted.weights, wanted.weights_sha256)
        model = create_model(wanted.arch, pretrained=wanted.pretrained, weights=wanted.weights)
    step = partial(listener.step, "decoding images")
    loaders = make_loaders(manifest, split, config, torch.device(machine["device"]), step)
    return _Training(config, machine, manifest, split, model, loaders, checkpoint)


def _agree(training: _Training) -> None:
    split = split_text(training.manifest, training.split)
    places = {"data": {"root"}, "model": {"weights"}}
    facts = {
        "settings": training.config.model_dump_json(exclude=places),
        "images": training.manifest.fingerprint,
        "split": sha256_hex(split.encode()),
        "threads": str(training.machine["threads"]),
        "versions": str(training.machine["versions"]),
    }
    agree(facts, "give all processes the same")


def _fit_and_save(run: Run, training: _Training, listener: Listener) -> Run:
    config, images = training.config, (training.manifest, training.split)
    with StopOnSignal() as stop, ending(run, config):
        if leads():
            listener.begin(run, *images)
        precision = training.machine["precision"]
        learner = make_learner(training.model, training.loaders, config.train, precision)
        _fit(run, learner, training, stop, listener)
        if not leads():
            return run
        if config.train.select == "best":
            learner.model.load_state_dict(load_best_weights(run.checkpoints))
        looking = partial(listener.step, "learning what valid images look like")
        limits, facts = learn_limits(*images, learner.model, config, looking)
        info = describe(run, *images, learner, config, facts)
        for warning in calibration_warnings(info):
            listener.note(warning)
        write_bundle(run.bundle, learner.model, info, limits)
    if stop.signal_number is not None:  # while the model was saved: whoever called must stop too
        done = f"stopped by {stop.name_of_signal}; the run had just been finished"
        raise Interrupted(f"{done}; next: alld evaluate {run.folder}", stop.exit_status)
    return run


def _fit(
    run: Run, learner: Learner, training: _Training, stop: StopOnSignal, listener: Listener
) -> None:
    config, checkpoint = training.config, training.checkpoint
    history = list(checkpoint.history) if checkpoint else []
    if checkpoint:
        checkpoint.restore_weights(learner.model)

    def notify(progress: Progress) -> None:
        if progress.epoch_done and leads():
            run.write_history(map(asdict, history))
            losses = [record.valid_loss for record in history]
            best = config.train.select == "best" and losses[-1] == min(losses)
            state = (learner.model, learner.opt, history, origin(config, run.info))
            save_checkpoint(run.checkpoints, *state, best=best)
        listener.progress(progress)

    with tracking(run, config) as tracker:
        if not fit(learner, config, history, stop, notify, tracker, checkpoint):
            raise interrupted(run, len(history), stop)
