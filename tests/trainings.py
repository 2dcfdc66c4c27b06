"""Small trainings for the tests, and how they are stopped and compared."""

import signal
from pathlib import Path

import torch
from conftest import SMALL
from fastai.data.core import DataLoaders
from safetensors.torch import load_file

from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.data.splits import Split, make_split
from alld.training.callbacks import Progress
from alld.training.loaders import make_loaders


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.alld" / "model.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    left, right = weights(first), weights(second)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def with_settings(drawn_set: Path, **changed: object) -> Config:
    settings = {key.replace("__", "."): value for key, value in changed.items()}
    return load_config(options={**SMALL, "data.root": drawn_set, **settings})


def loaders_of(config: Config) -> tuple[Manifest, Split, DataLoaders]:
    manifest = load_manifest(config.data)
    groups = load_groups(manifest)
    split = make_split(manifest, groups.of_image, groups.source, config.split, 0)
    return manifest, split, make_loaders(manifest, split, config, torch.device("cpu"))


def replace_in(file: Path, old: str, new: str) -> None:
    """Replace the first `old` in a text file; it must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def flip_last_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


class Stop:
    """Sends a signal to this process when a given batch has been trained."""

    def __init__(self, epoch: int, batch: int, number: int = signal.SIGINT) -> None:
        self.epoch, self.batch, self.number = epoch, batch, number

    def __call__(self, progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (self.epoch, self.batch):
            signal.raise_signal(self.number)
