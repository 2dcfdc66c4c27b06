"""Repeat the paper's Table 1: five earlier systems and ALLD's on the same splits.

    python scripts/reproduce_table1.py --data ALL-IDB2     # what needs no training: minutes
    python scripts/reproduce_table1.py --data ALL-IDB2 --arch efficientnet_lite0  # ALLD's, trained
    python scripts/reproduce_table1.py --data ALL-IDB2 --crossval runs/FOLDER    # or finished
    python scripts/reproduce_table1.py --data ALL-IDB2 --baseline unsharp         # hours
    python scripts/reproduce_table1.py --data ALL-IDB2 --set split.kind=blocks    # other folds
    python scripts/reproduce_table1.py --quick             # drawn images, shows that it runs

Stop it whenever you like: the same command goes on, and nothing finished is computed twice.
"""

import argparse
from functools import partial
from pathlib import Path

import activated  # noqa: F401 - says which environment to activate
from reproducing import parser_of, settings_of, status_of

from alld import display
from alld.config.schema import Config, parse_config
from alld.errors import ConfigError
from alld.model.architectures import check_arch
from alld.runtime import process
from alld.runtime.locks import live

FITTED = ("lbp", "swarm", "morphology")
TRAINED = ("unsharp", "pretrained")  # networks: hours where the others take minutes


def main() -> int:
    """Fit, train what is asked for, write the table; exit statuses are those of `alld`."""
    return status_of(partial(reproduce, parse()))


def reproduce(options: argparse.Namespace) -> int:
    if "pretrained" in options.baseline and options.weights is None:
        raise ConfigError("--baseline pretrained: needs --weights FILE; alld pretrain makes one")
    for arch in [*options.arch, options.backbone]:
        check_arch(arch)
    own = {"model.arch": options.backbone, "seed": options.seed}
    config = settings_of(options, own, drawn_images=40)
    # Only now, when signals are watched for; see `alld.runtime.process`.
    from alld.baselines.bench import Bench, folds_config
    from alld.baselines.systems import BACKGROUND, BASELINES, PROBE
    from alld.data.directions import count_directions
    from alld.data.groups.load import load_groups
    from alld.data.sources.find import load_manifest
    from alld.paper.grid import check_experiments, compute, plan_experiments, unlike
    from alld.paper.systems import baseline_system, network_systems, runs_behind
    from alld.paper.table import markdown, write_table
    from alld.paper.table1 import make_table1
    from alld.training.train import Listener

    manifest = load_manifest(config.data)
    for warning in manifest.warnings:
        display.warn(warning)
    split = config.split
    groups = load_groups(manifest, split.groups, fields=split.joins_fields)
    bench = Bench(manifest, groups, config)
    chosen = [BASELINES[key] for key in options.baseline if key in FITTED]
    inexact = options.allow_inexact
    directions, _ = count_directions(manifest)
    recipes = [
        (plan_experiments(folder, [arch], options.trained_seeds, directions), settings)
        for folder, arch, settings in trainings(options, config)
    ]
    with live(options.out):
        for experiments, settings in recipes:
            check_experiments(experiments, settings, allow_inexact=inexact)
        fitted = [
            baseline_system(baseline, bench, options.out / "fitted", options.repeats,
                            options.seeds, display.say)
            for baseline in (BACKGROUND, *chosen, PROBE)
        ]  # fmt: skip
        for experiments, settings in recipes:
            for experiment in experiments:
                display.say(str(experiment.folder))
                listener = Listener(note=display.warn)
                compute(experiment, settings, listener, allow_inexact=inexact)
        made = [experiment for experiments, _ in recipes for experiment in experiments]
        trained = network_systems(made, options.crossval, bench, config.runtime.device)
    measured = [system.name for system in trained if system.quote is None]
    reference = measured[0] if measured else PROBE.name(config)
    conditions = unlike(runs_behind(made, options.crossval))
    folds = folds_config(config).split.kind
    table = make_table1([*fitted, *trained], manifest, reference, conditions, folds)
    write_table(options.out / "table", table)
    print(markdown(table))
    display.say(f"written: {options.out / 'table'}")
    return 0


def trainings(options: argparse.Namespace, config: Config) -> list[tuple[Path, str, Config]]:
    """Return folder, network and settings of each recipe that is to be trained."""
    found = [(options.out, arch, config) for arch in options.arch]
    for key in options.baseline:
        settings = config.model_dump(mode="json")
        if key == "unsharp":
            settings["augment"]["unsharp"] = "adaptive"
        elif key == "pretrained":
            settings["model"]["weights"] = str(options.weights.resolve())
        else:
            continue
        own = parse_config(settings, f"--baseline {key}")
        found.append((options.out / key, options.backbone, own))
    return found


def parse() -> argparse.Namespace:
    parser = parser_of(__doc__, "runs/table1")
    parser.add_argument("--baseline", action="append", choices=FITTED + TRAINED,
                        help=f"repeatable (default: {', '.join(FITTED)})")  # fmt: skip
    parser.add_argument("--rival", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--arch", action="append", default=[],
                        help="train ALLD's recipe with this network; repeatable")  # fmt: skip
    parser.add_argument("--crossval", action="append", default=[], type=Path, metavar="FOLDER",
                        help="a finished cross-validation, grouped 5-fold or of other sessions; "
                        "repeatable")  # fmt: skip
    parser.add_argument("--backbone", default="efficientnet_lite0",
                        help="network that [3] and the probe read features of, and that unsharp "
                        "and pretrained train (default: efficientnet_lite0)")  # fmt: skip
    parser.add_argument("--weights", type=Path, help="of --baseline pretrained: see alld pretrain")
    parser.add_argument("--repeats", type=int, default=None, help="of the folds (default: 3)")
    parser.add_argument("--trained-seeds", type=int, default=None,
                        help="of networks that are trained (default: as --seeds)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=None, help="of the first repeat (default: 0)")
    options = parser.parse_args()
    if options.rival:
        parser.error("--rival is now called --baseline")
    options.baseline = list(dict.fromkeys(options.baseline or FITTED))
    options.repeats = (1 if options.quick else 3) if options.repeats is None else options.repeats
    options.seeds = (0 if options.quick else 10) if options.seeds is None else options.seeds
    if options.trained_seeds is None:
        options.trained_seeds = options.seeds
    if options.repeats < 1 or min(options.seeds, options.trained_seeds) < 0:
        parser.error("--repeats takes 1 or more, --seeds and --trained-seeds 0 or more")
    return options


if __name__ == "__main__":
    process.run(main)
