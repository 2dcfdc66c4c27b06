"""First weights from other cells or tissue: a network learns any classes, its body is kept.

Row [6] of the paper's Table 1 begins with such weights. What comes out is a file for `--weights`.
It is written once, at the end: a stopped pretraining leaves nothing and begins anew.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from alld.config.schema import Config
from alld.data.manifest import Manifest
from alld.data.sources.class_folders import load_classes
from alld.data.splits import Part, Split, deal
from alld.errors import ConfigError, Interrupted, RunError, out_of_memory
from alld.model.backbones import Body, create_head, create_model, whole_state
from alld.model.bundle import library_versions
from alld.model.weights import PRETRAINED, origin_of, save_file
from alld.runs.folder import RUNS
from alld.runtime.files import write_bytes
from alld.training.callbacks import EpochSeed, FrozenBody, Journal
from alld.training.checkpoints import EpochRecord
from alld.training.ending import smaller
from alld.training.learner import fit_phase, make_learner
from alld.training.loaders import make_loaders
from alld.training.machine import prepare_machine
from alld.training.phases import phases
from alld.training.signals import StopOnSignal
from alld.training.train import Listener


@dataclass(frozen=True)
class Pretrained:
    """A file of first weights and what they know: `right` of `tested` images it never saw.

    `commonest` is how many of those always naming the commonest class would get right. Copies and
    overlapping crops of one cell were not looked for: with them these counts flatter.
    """

    path: Path
    arch: str
    classes: dict[str, int]  # name to images
    started_from: str
    synthetic: bool
    right: int
    tested: int
    commonest: int


def pretrain(
    config: Config, out: Path | None = None, listener: Listener | None = None
) -> Pretrained:
    """Train a network on the class folders in `data.root` and write its body's weights.

    Args:
        config: as for `train`; `split.valid_fraction` of each class is held out, nothing else.
        out: a new .safetensors file, by default one under `runs/`.

    Raises:
        ConfigError, DataError, ImageError: something to mend.
        RunError: the loss diverged, or memory ran out.
        Interrupted: Ctrl-C or SIGTERM; nothing was written.
    """
    listener = listener or Listener()
    if config.runtime.log != "none":
        raise ConfigError("runtime.log: a pretraining leaves no run that could be tracked")
    path = _free(out or _default_path(config.model.arch))
    machine = prepare_machine(config)
    manifest, classes = load_classes(config.data.root, partial(listener.step, "reading images"))
    split = _hold_out(manifest, config)
    torch.manual_seed(config.seed)
    model = _with_head(config, len(classes))
    loaders = make_loaders(
        manifest, split, config, torch.device(machine["device"]),
        partial(listener.step, "decoding images"),
    )  # fmt: skip
    history: list[EpochRecord] = []
    with StopOnSignal() as stop, _saying_what_fits(config):
        learner = make_learner(model, loaders, config)
        for phase in phases(config.train):
            epochs = config.train.frozen_epochs + config.train.epochs
            learner.freeze() if phase.frozen else learner.unfreeze()
            still = [FrozenBody()] if phase.frozen and config.train.recipe == "paper" else []
            journal = Journal(phase, epochs, history, listener.progress)
            fit_phase(learner, phase, 0, [EpochSeed(config.seed, phase), journal, *still, stop])
            if stop.signal_number is not None:
                said = f"stopped by {stop.name_of_signal}; nothing was written, begin anew"
                raise Interrupted(said, stop.exit_status)
        found = _result(path, config, manifest, classes, split, history[-1])
        state = whole_state(found.arch, learner.model[0])
        save_file(path, state, _facts(found, config))
    return found


@contextmanager
def _saying_what_fits(config: Config) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise RunError(smaller(config)) from error
        raise


def _free(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise ConfigError(f"--out {path}: the weights go into a .safetensors file; name it so")
    if path.exists():
        raise ConfigError(f"--out {path}: is there already; give a new name")
    write_bytes(path, b"")  # what cannot be written is noticed now, and not after the last epoch
    path.unlink()
    return path


def _default_path(arch: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{arch.replace(':', '-').replace('/', '-')}-pretrained-{stamp}.safetensors"


def _hold_out(manifest: Manifest, config: Config) -> Split:
    """Validation images at random, the same share of each class; the rest trains."""
    labels = np.array(manifest.labels)
    totals = np.bincount(labels)
    valid = np.round(config.split.valid_fraction * totals).astype(int)
    if not valid.any():
        raise ConfigError(
            f"{manifest.root}: {len(labels)} images leave none to validate by; bring more, or "
            "raise split.valid_fraction"
        )
    units = [[index] for index in range(len(labels))]
    capacities = np.stack([valid, totals - valid])
    dealt = deal(units, labels, capacities, np.random.default_rng(config.split_seed))
    parts: tuple[Part, ...] = tuple("valid" if part == 0 else "train" for part in dealt)
    names = tuple(record.path for record in manifest)
    return Split("random", config.split_seed, parts, names, "not looked for")


def _with_head(config: Config, classes: int) -> nn.Sequential:
    wanted = config.model
    body = create_model(wanted.arch, pretrained=wanted.pretrained, weights=wanted.weights)[0]
    assert isinstance(body, Body)
    return nn.Sequential(body, create_head(body.channels, classes))


def _result(
    path: Path,
    config: Config,
    manifest: Manifest,
    classes: tuple[str, ...],
    split: Split,
    last: EpochRecord,
) -> Pretrained:
    counts = Counter(manifest.labels)
    tested = [manifest.records[index].label for index in split.indices("valid")]
    model = config.model
    random = "ImageNet" if model.pretrained else "random"
    return Pretrained(
        path=path,
        arch=model.arch,
        classes={name: counts[label] for label, name in enumerate(classes)},
        started_from=origin_of(model.weights) if model.weights else random,
        synthetic=manifest.synthetic,
        right=round(last.valid_accuracy * len(tested)),
        tested=len(tested),
        commonest=tested.count(counts.most_common(1)[0][0]),
    )


def _facts(found: Pretrained, config: Config) -> dict[str, str]:
    """What the file says of itself; `origin_of` repeats the first."""
    mark = "SYNTHETIC: " if found.synthetic else ""
    images = sum(found.classes.values())
    said = f"{mark}{len(found.classes)} classes, {images} images, begun from {found.started_from}"
    return {
        PRETRAINED: said,
        "arch": found.arch,
        "classes": ", ".join(f"{name} {count}" for name, count in found.classes.items()),
        "validation": f"{found.right}/{found.tested}",
        "settings": config.model_dump_json(exclude={"data": {"root"}, "model": {"weights"}}),
        "versions": ", ".join(f"{name} {version}" for name, version in library_versions().items()),
    }
