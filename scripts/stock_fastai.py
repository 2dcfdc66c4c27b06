"""Train or predict as a user of fastai would write it: the baseline of `scripts/benchmark.py`.

    python scripts/stock_fastai.py train --data ALL-IDB2 --split runs/RUN/split.csv --arch resnet50
    python scripts/stock_fastai.py predict --data cells/ --arch efficientnet_lite0

DataBlock with ImageBlock, aug_transforms, fastai's own number of workers, `fine_tune` with the
paper's epochs and rate. Same files in training and validation, same network and initial weights as
ALLD's. The last line is JSON: seconds and images.
"""

import argparse
import csv
import json
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import activated  # noqa: E402, F401 - says which environment to activate
import fastai.vision.all as fv  # noqa: E402
import torch  # noqa: E402

from alld.model.architectures import normalisation  # noqa: E402
from alld.model.backbones import create_model, layer_groups  # noqa: E402

VALIDATION_FROM = 0.16  # share of files that `predict` mode calls validation; it trains nothing


class Clock(fv.Callback):  # type: ignore[misc]
    """Seconds from the first epoch's start to the last one's end, over both phases."""

    order = 100

    def __init__(self) -> None:
        self.began = 0.0

    def before_epoch(self) -> None:
        self.began = self.began or time.perf_counter()

    def after_epoch(self) -> None:
        self.seconds = time.perf_counter() - self.began


def main() -> None:
    """Train or predict, and print how long it took."""
    options = parse()
    torch.manual_seed(0)
    if options.task == "train":
        print(json.dumps(train(options)))
    else:
        print(json.dumps(predict(options)))


def train(options: argparse.Namespace) -> dict[str, float]:
    with open(options.split, newline="") as file:
        parts = {row["path"]: (row["part"], row["label"]) for row in csv.DictReader(file)}
    files = [options.data / name for name, (part, _) in parts.items() if part != "test"]
    learner = make_learner(
        files,
        label=lambda path: parts[path.name][1],
        held_out=lambda path: parts[path.name][0] == "valid",
        options=options,
    )
    clock = Clock()
    learner.fine_tune(options.epochs, 1e-3, freeze_epochs=options.frozen_epochs, cbs=clock)
    # fastai leaves out the last partial batch of every epoch: these images were trained on.
    an_epoch = len(learner.dls.train) * options.batch_size
    images = an_epoch * (options.epochs + options.frozen_epochs)
    loss, accuracy = map(float, learner.recorder.values[-1][1:])
    return {"seconds": clock.seconds, "images": images, "valid_loss": loss, "accuracy": accuracy}


def predict(options: argparse.Namespace) -> dict[str, float]:
    files = sorted(options.data.rglob("*.tif"))
    last = files[: max(2, int(len(files) * VALIDATION_FROM))]
    learner = make_learner(
        files,
        label=lambda path: path.stem[-1],
        held_out=lambda path: path in last[:2],
        options=options,
    )
    began = time.perf_counter()
    if options.loop:
        for file in files[: options.loop]:
            with learner.no_bar():
                learner.predict(file)
        return {"seconds": time.perf_counter() - began, "images": min(options.loop, len(files))}
    learner.get_preds(dl=learner.dls.test_dl(files))
    return {"seconds": time.perf_counter() - began, "images": len(files)}


def make_learner(
    files: list[Path], *, label: object, held_out: object, options: argparse.Namespace
) -> fv.Learner:
    """The usual few lines."""
    mean, std = normalisation(options.arch)
    block = fv.DataBlock(
        blocks=(fv.ImageBlock, fv.CategoryBlock),
        get_items=lambda _: files,
        get_y=label,
        splitter=fv.FuncSplitter(held_out),
        item_tfms=fv.Resize(options.image_size),
        batch_tfms=[
            *fv.aug_transforms(flip_vert=True, max_rotate=180.0),
            fv.Normalize.from_stats(mean, std),
        ],
    )
    loaders = block.dataloaders(options.data, bs=options.batch_size)
    if options.device != "auto":
        loaders = loaders.to(torch.device(options.device))
    model = create_model(options.arch, pretrained=options.pretrained)
    return fv.Learner(
        loaders,
        model,
        loss_func=fv.CrossEntropyLossFlat(),
        splitter=layer_groups,
        metrics=fv.accuracy,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["train", "predict"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, help="split.csv of a run of ALLD")
    parser.add_argument("--arch", default="efficientnet_lite0")
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--frozen-epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--loop", type=int, default=0, help="learn.predict on so many files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
