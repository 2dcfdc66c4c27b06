"""Repeat the paper's Table 2: many tests of its shape, folds without leaks, intervals.

    python scripts/reproduce_table2.py --data ALL-IDB2
    python scripts/reproduce_table2.py --data ALL-IDB2 --arch efficientnet_lite0 --seeds 5
    python scripts/reproduce_table2.py --data ALL-IDB2 --evening      # three tests in place of ten
    python scripts/reproduce_table2.py --quick          # drawn images, minutes, shows that it runs

Stop it whenever you like: the same command goes on, and computes no finished experiment twice.
"""

import argparse
import time
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import activated  # noqa: F401 - says which environment to activate
from reproducing import parser_of, settings_of, status_of

from alld import display
from alld.config.schema import Config
from alld.model.architectures import check_arch
from alld.runtime import process
from alld.runtime.cluster import Cluster
from alld.runtime.locks import live

if TYPE_CHECKING:
    from alld.paper.grid import Experiment

PAPERS = ("vgg16", "vgg19", "resnet34", "resnet50")
EVENING_TESTS, EVENING_HOURS = 3, 6
STEP_IMAGES = 2  # of the step that is timed
TRAINING_IMAGES = 180  # of ALL-IDB2: 166, and 42 of validation at a third of the cost


def main() -> int:
    """Plan, compute what is missing, write the table; exit statuses are those of `alld`."""
    return status_of(partial(reproduce, parse()))


def reproduce(options: argparse.Namespace) -> int:
    # Only now, when signals are watched for: see `alld.runtime.process`.
    from alld.commands.options import Engine, cluster_for
    from alld.data.directions import count_directions
    from alld.data.sources.find import load_manifest
    from alld.paper.grid import check_experiments, plan_experiments
    from alld.paper.table import markdown, write_table
    from alld.paper.table2 import collect

    archs = options.arch or (["efficientnet_lite0"] if options.quick else list(PAPERS))
    for arch in archs:
        check_arch(arch)
    # The paper's test is 52 of 260 images.
    config = settings_of(options, {}, drawn_images=260)
    directions, _ = count_directions(load_manifest(config.data))
    experiments = plan_experiments(options.out, archs, options.seeds, directions)
    if options.dry_run:
        check_experiments(experiments, config, here=False)
        show_plan(experiments, config)
        return 0
    engine, threads = Engine(options.engine), config.runtime.threads
    with live(options.out), cluster_for(engine, options.address, options.gpus, threads) as cluster:
        inexact = options.allow_inexact
        check_experiments(experiments, config, here=cluster is None, allow_inexact=inexact)
        if options.evening:
            display.say(hours_here(sum(costs(experiments, config)), len(experiments)))
        compute_missing(experiments, config, cluster, allow_inexact=inexact)
        table = collect(experiments, config, display.say)
    write_table(options.out / "table", table)
    print(markdown(table))
    display.say(f"written: {options.out / 'table'}")
    return 0


def compute_missing(
    experiments: "list[Experiment]", config: Config, cluster: Cluster | None, *, allow_inexact: bool
) -> None:
    """Compute one experiment after another here, or side by side on a cluster."""
    from alld.paper.grid import compute, compute_on_cluster
    from alld.training.train import Listener

    began, waiting = time.monotonic(), [one for one in experiments if not one.done]
    numbers = count()

    def say(experiment: "Experiment") -> None:
        number, seconds = next(numbers), time.monotonic() - began
        left = f", {seconds / number * (len(waiting) - number) / 60:.0f} min left" if number else ""
        place = len(experiments) - len(waiting) + number + 1
        display.say(f"experiment {place} of {len(experiments)}: {experiment}{left}")

    if cluster is not None:
        compute_on_cluster(cluster, waiting, config, say, display.warn, allow_inexact=allow_inexact)
        return
    for experiment in waiting:
        say(experiment)
        compute(experiment, config, Listener(note=display.warn), allow_inexact=allow_inexact)


def show_plan(experiments: "list[Experiment]", config: Config) -> None:
    """Print what would be computed, and about how long it takes here."""
    seconds = costs(experiments, config)
    for experiment, cost in zip(experiments, seconds, strict=True):
        state = "done" if experiment.done else f"about {cost / 60:.1f} min"
        print(f"{experiment!s:<46} {state}")
    print(f"in all about {sum(seconds) / 3600:.1f} h, from one training step of each network here")


def costs(experiments: "list[Experiment]", config: Config) -> list[float]:
    """Estimate the seconds of each experiment here; 0 for one that is done."""
    missing = {one.arch for one in experiments if not one.done}
    training = {arch: estimate_seconds(arch, config) for arch in sorted(missing)}
    return [0.0 if one.done else training[one.arch] * one.runs for one in experiments]


def hours_here(seconds: float, experiments: int) -> str:
    """Say how long an evening takes on this machine, and what to do where it is no evening."""
    hours = seconds / 3600
    text = f"about {hours:.1f} h for {experiments} experiments, from one training step here"
    if hours <= EVENING_HOURS:
        return text
    return f"{text}: more than an evening; --arch resnet34 takes one network, --device cuda a GPU"


def estimate_seconds(arch: str, config: Config) -> float:
    """Estimate the time of one training here: a step on noise, times the images of all epochs."""
    import torch

    from alld.model.backbones import create_model
    from alld.runtime.device import keep_freed_memory, resolve_device, set_threads

    device = resolve_device(config.runtime.device)
    keep_freed_memory()
    set_threads(config.runtime.threads)
    model = create_model(arch, pretrained=False).to(device).to(memory_format=torch.channels_last)
    side = config.data.image_size
    images = torch.randn(STEP_IMAGES, 3, side, side).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    for _ in range(2):  # the first step takes memory and threads from the system
        began = time.perf_counter()
        model(images).square().sum().backward()
        seconds = time.perf_counter() - began
    # A frozen epoch takes about a quarter of another.
    epochs = config.train.epochs + config.train.frozen_epochs / 4
    return seconds / STEP_IMAGES * TRAINING_IMAGES * epochs


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/table2")
    parser.add_argument("--arch", action="append", help="in place of the paper's four; repeatable")
    parser.add_argument("--engine", choices=["local", "ray"], default="local",
                        help="one experiment after another, or tasks of a Ray cluster")  # fmt: skip
    parser.add_argument("--address", help="of the cluster's head (default: one of this machine)")
    parser.add_argument("--gpus", type=float, help="of each task (default: 1, where there is one)")
    parser.add_argument("--evening", action="store_true",
                        help="three paper-shaped tests, not ten; says how many hours")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its time")
    options = parser.parse_args()
    fewer = 2 if options.quick else EVENING_TESTS if options.evening else 10
    options.seeds = options.seeds or fewer
    return options


if __name__ == "__main__":
    process.run(main)
