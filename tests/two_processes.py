"""Train in two processes, undisturbed and disturbed, and record what each of them saw.

    torchrun --nproc_per_node 2 tests/two_processes.py SET OUT

Each process writes `OUT/<rank>.json`; runs go to `OUT/<name>`. test_distributed.py reads both.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL
from torch import nn

from alld.cli import run_command
from alld.config.files import load_config
from alld.config.schema import Config
from alld.errors import AlldError
from alld.model.backbones import Body
from alld.model.heads import create_head
from alld.runtime import files
from alld.training import distributed
from alld.training import train as training
from alld.training.batches import MemorySource
from alld.training.callbacks import Journal
from alld.training.train import resume, train

# 26 training images make batches of 10, 10 and 6; validation has 6.
SETTINGS = {**SMALL, "train.batch_size": 10, "runtime.threads": 1, "train.epochs": 1}
OPTIONS = [f"--set={key}={value}" for key, value in SETTINGS.items()]


def settings(data: Path, **changed: object) -> Config:
    changed = {key.replace("__", "."): value for key, value in changed.items()}
    return load_config(options={**SETTINGS, "data.root": data, **changed})


def plain_network(*_: object, **__: object) -> nn.Sequential:
    """Two convolutions and the head, without batch norm and dropout."""
    layers = [nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2)]
    head = create_head(16)
    for name, layer in head.named_children():
        if isinstance(layer, nn.BatchNorm1d | nn.Dropout):
            setattr(head, name, nn.Identity())
    return nn.Sequential(Body(nn.Sequential(*layers), 16, ["0.weight", "0.bias"]), head)


def plain_settings(data: Path) -> Config:
    """Batches of 13, which two processes divide unequally, and no random transforms."""
    still = {"probability": 0, "horizontal_flip": 0, "vertical_flip": 0}
    return settings(
        data,
        model__pretrained=False,
        train__batch_size=13,
        train__frozen_epochs=0,
        train__epochs=2,
        train__lr_span=1,
        **{f"augment__{name}": value for name, value in still.items()},
    )


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    rank = int(os.environ["RANK"])
    with pytest.MonkeyPatch.context() as patch:
        seen = {
            "whole": whole(patch, data, out),
            "stopped": stopped(patch, data, out, rank),
            "resumed": outcome(lambda: resume(out / "stopped")),
            "apart": apart(patch, data, out, rank),
            "failed": failed(patch, data, out, rank),
        }
        patch.setattr(training, "create_model", plain_network)
        train(plain_settings(data), out / "plain")
    (out / f"{rank}.json").write_text(json.dumps(seen))


def outcome(work: Callable[[], object]) -> dict[str, Any]:
    try:
        work()
    except AlldError as error:
        return {"error": str(error), "status": error.exit_status, "everywhere": error.everywhere}
    return {}


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Any]]]:
    """Record the images of each batch, the files written, and the weights compared."""
    seen: dict[str, list[Any]] = {"batches": [], "written": [], "weights": []}
    serve, beside, agree = MemorySource.batches, files._beside, distributed.agree

    def batches(self: MemorySource, chosen: Any) -> Any:
        chosen = list(chosen)
        seen["batches"].append(chosen)
        return serve(self, chosen)

    def writing(path: Path) -> Path:
        seen["written"].append(str(path))
        return beside(path)

    def agreeing(facts: dict[str, str], advice: str) -> None:
        seen["weights"].append(facts["weights"])
        agree(facts, advice)

    with patch.context() as inner:
        inner.setattr(MemorySource, "batches", batches)
        inner.setattr(files, "_beside", writing)
        inner.setattr(distributed, "agree", agreeing)
        yield seen


def whole(patch: pytest.MonkeyPatch, data: Path, out: Path) -> dict[str, Any]:
    """A whole training as a user starts it."""
    with watched(patch) as seen:
        status = run_command(["train", "--data", str(data), "--out", str(out / "whole"), *OPTIONS])
    return {"status": status, **seen}


def stopped(patch: pytest.MonkeyPatch, data: Path, out: Path, rank: int) -> dict[str, Any]:
    """SIGTERM reaches the second process alone, in the second batch of the second epoch."""
    batches: list[tuple[int, int]] = []
    after = Journal.after_batch

    def after_batch(self: Journal) -> None:
        after(self)
        batches.append((self._epoch, self.batch))
        if rank == 1 and batches[-1] == (2, 2):
            signal.raise_signal(signal.SIGTERM)

    with patch.context() as inner:
        inner.setattr(Journal, "after_batch", after_batch)
        ended = outcome(lambda: train(settings(data), out / "stopped"))
    if rank == 0:
        shutil.copytree(out / "stopped", out / "left")
    return {**ended, "last": batches[-1]}


def apart(patch: pytest.MonkeyPatch, data: Path, out: Path, rank: int) -> dict[str, Any]:
    """One process computes otherwise, by a little."""
    after = distributed.Distributed.after_train

    def after_train(self: distributed.Distributed) -> None:
        after(self)
        if rank == 1:
            next(self.model.parameters()).data.add_(1e-6)

    with patch.context() as inner:
        inner.setattr(distributed.Distributed, "after_train", after_train)
        return outcome(lambda: train(settings(data, train__epochs=0), out / "apart"))


def failed(patch: pytest.MonkeyPatch, data: Path, out: Path, rank: int) -> dict[str, Any]:
    """The second process alone lacks an image before the training begins."""

    def missing(*_: object) -> None:
        raise AlldError("cell.tif: gone")

    with patch.context() as inner:
        if rank == 1:
            inner.setattr(training, "load_manifest", missing)
        return outcome(lambda: train(settings(data, train__epochs=0), out / "failed"))


if __name__ == "__main__":
    main()
