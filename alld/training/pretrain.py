"""Pretrain a network on classes of other cells or tissue and save its body for `--weights`.

Row [6] of the paper's Table 1 begins with such weights. The file is written at the end: a stopped
pretraining leaves nothing and begins anew.
"""

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
from alld.data.dealing import deal
from alld.data.manifest import Manifest, Part
from alld.data.sources.class_folders import load_classes
from alld.data.splits import Split
from alld.errors import ConfigError, Interrupted, RunError, out_of_memory
from alld.model.backbones import Body, create_model, whole_state
from alld.model.bundle import library_versions
from alld.model.heads import create_head
from alld.model.weights import PRETRAINED, save_file
from alld.runs.create import default_place
from alld.runs.machine import prepare_machine
from alld.runtime.files import write_bytes
from alld.training.callbacks import StopOnSignal
from alld.training.checkpoints import EpochRecord
from alld.training.describe import initial_weights
from alld.training.learner import fit, make_learner
from alld.training.loaders import make_loaders
from alld.training.recording import smaller
from alld.training.train import Listener


@dataclass(frozen=True)
class Pretrained:
    """A file of initial weights: it got `right` of `tested` held-out images right.

    `commonest` is how many of these are of the commonest class. Copies and overlapping crops of
    one cell were not searched for: with them these counts are too good.
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
        ConfigError, DataError, ImageError: an input is wrong; nothing was written.
        RunError: the loss diverged, or memory ran out.
        Interrupted: Ctrl-C or SIGTERM; nothing was written.
    """
    listener = listener or Listener()
    if config.runtime.log != "none":
        raise ConfigError("runtime.log: a pretraining leaves no run that could be tracked")
    path = _free(out or default_place(f"{config.model.arch}-pretrained", ".safetensors"))
    machine = prepare_machine(config.runtime)
    manifest, classes = load_classes(config.data.root, partial(listener.step, "reading images"))
    for warning in manifest.warnings:
        listener.note(warning)
    split = _hold_out(manifest, config)
    torch.manual_seed(config.seed)
    model = _with_head(config, len(classes))
    step = partial(listener.step, "decoding images")
    loaders = make_loaders(manifest, split, config, torch.device(machine["device"]), step)
    history: list[EpochRecord] = []
    with StopOnSignal() as stop, _explaining_memory(config):
        learner = make_learner(model, loaders, config.train, machine["precision"])
        if not fit(learner, config, history, stop, listener.progress):
            message = f"stopped by {stop.name_of_signal}; nothing was written, begin anew"
            raise Interrupted(message, stop.exit_status)
        found = _result(path, config, manifest, classes, split, history[-1])
        state = whole_state(found.arch, learner.model[0])
        save_file(path, state, _facts(found, config))
    return found


@contextmanager
def _explaining_memory(config: Config) -> Iterator[None]:
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
    write_bytes(path, b"")  # fail now, and not after the last epoch
    path.unlink()
    return path


def _hold_out(manifest: Manifest, config: Config) -> Split:
    """Draw the same share of each class for validation; the rest trains."""
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
    return Pretrained(
        path=path,
        arch=config.model.arch,
        classes={name: counts[label] for label, name in enumerate(classes)},
        started_from=initial_weights(config.model),
        synthetic=manifest.synthetic,
        right=round(last.valid_accuracy * len(tested)),
        tested=len(tested),
        commonest=tested.count(counts.most_common(1)[0][0]),
    )


def _facts(found: Pretrained, config: Config) -> dict[str, str]:
    """Return the metadata of the file; `origin_of` shows the first."""
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
