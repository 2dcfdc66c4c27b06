"""Measure the arithmetic alone, on random data in memory, for `scripts/benchmark.py`.

    python scripts/floor.py train --arch resnet50 --training 166 --validation 42
    python scripts/floor.py predict --arch efficientnet_lite0 --files 2600

Same network, optimiser, batches and phases as `alld train`, freed memory kept, batch norm folded
for prediction. The last line is JSON: seconds and images.
"""

import argparse
import json
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `alld` does, before torch is loaded

import activated  # noqa: F401 - says which environment to activate
import torch
from torch import Tensor, nn

from alld.model.backbones import create_model, layer_groups
from alld.model.torch_network import fold_batch_norm
from alld.runtime.device import keep_freed_memory, resolve_device, set_threads
from alld.training.learner import FusedAdam

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Batches:
    """One batch in memory, cut to the batch sizes of a part of so many images."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        size, batch = options.image_size, options.batch_size
        images = torch.randn(batch, 3, size, size)
        self.images = images.to(device, memory_format=FORMATS[options.format])
        self.labels = torch.randint(0, 2, (batch,)).to(device)
        self.batch = batch

    def of(self, images: int) -> list[tuple[Tensor, Tensor]]:
        full, rest = divmod(images, self.batch)
        sizes = [self.batch] * full + ([rest] if rest > 1 else [])
        return [(self.images[:size], self.labels[:size]) for size in sizes]


def main() -> None:
    """Train or predict, and print how long it took."""
    options = parse()
    device = resolve_device(options.device)
    keep_freed_memory()
    set_threads(None)
    torch.manual_seed(0)
    model = create_model(options.arch, pretrained=False)
    print(json.dumps((train if options.task == "train" else predict)(model, device, options)))


def train(
    model: nn.Sequential, device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    model.to(device).to(memory_format=FORMATS[options.format])
    batches = Batches(options, device)
    groups = layer_groups(model)
    loss = nn.CrossEntropyLoss()
    began = time.perf_counter()
    for frozen, epochs in ((True, options.frozen_epochs), (False, options.epochs)):
        model[0].requires_grad_(not frozen)
        optimiser = FusedAdam(groups, lr=1e-5)
        for _ in range(epochs):
            model.train()
            if frozen:
                model[0].eval()
            for images, labels in batches.of(options.training):
                with precision(device):
                    value = loss(model(images), labels)
                value.backward()
                optimiser.step()
                optimiser.zero_grad()
            model.eval()
            with torch.no_grad(), precision(device):
                for images, _ in batches.of(options.validation):
                    model(images)
    synchronise(device)
    images = options.training * (options.epochs + options.frozen_epochs)
    return {"seconds": time.perf_counter() - began, "images": images}


def predict(
    model: nn.Sequential, device: torch.device, options: argparse.Namespace
) -> dict[str, float]:
    model = fold_batch_norm(model, options.image_size)
    model = model.to(device).to(memory_format=FORMATS[options.format])
    batches = Batches(options, device)
    began = time.perf_counter()
    with torch.inference_mode():
        for images, _ in batches.of(options.files):
            model(images)
    synchronise(device)
    return {"seconds": time.perf_counter() - began, "images": options.files}


def precision(device: torch.device) -> torch.autocast:
    """bf16 on CUDA, as `alld train` computes there."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["train", "predict"])
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("--training", type=int, default=166, help="images of an epoch")
    parser.add_argument("--validation", type=int, default=42)
    parser.add_argument("--files", type=int, default=2600)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--frozen-epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--format", choices=list(FORMATS), default="channels_last")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
