"""Options, settings and exit statuses of the scripts that reproduce both tables."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from alld import display
from alld.config.files import load_config
from alld.config.schema import Config
from alld.errors import AlldError, Interrupted, mishap
from alld.runtime.process import TERMINATED

QUICK = {
    "data.image_size": 32,
    "train.frozen_epochs": 1,
    "train.epochs": 1,
    "train.batch_size": 16,
    "evaluate.bootstrap_draws": 200,
    "evaluate.background": False,
}


def parser_of(description: str, out: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both scripts have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="ALL-IDB2 (default: data/)")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seeds", type=int, help="paper-shaped tests (default: 10)")
    parser.add_argument("--device", help="auto, cpu, cuda or mps (default: auto)")
    parser.add_argument("--config", help="YAML file, or the name of a shipped one")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-pretrained", action="store_true", help="random initial weights")
    parser.add_argument("--allow-inexact", action="store_true",
                        help="mix versions, threads or devices; the table says so")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="drawn images, small, few tests")
    return parser


def status_of(work: Callable[[], int]) -> int:
    """Do the work and return the exit status of `alld`; print a line where it ended early."""
    try:
        return work()
    except (Interrupted, KeyboardInterrupt, SystemExit) as stopped:
        # SIGTERM between two trainings is a SystemExit; Ctrl-C there has no status.
        status = getattr(stopped, "exit_status", getattr(stopped, "code", 130))
        if status not in (130, TERMINATED):
            raise
        display.say("stopped; the same command goes on where this one ends")
        return int(status)
    except AlldError as error:
        display.fail(str(error))
        return error.exit_status
    except Exception as error:
        if reason := mishap(error):
            display.fail(f"{reason}; then the same command goes on")
            return 2
        raise


def settings_of(
    options: argparse.Namespace, chosen: Mapping[str, object], drawn_images: int
) -> Config:
    """Return the settings of all trainings; `--quick` without `--data` draws so many images.

    `chosen` holds dotted keys of the script's own options; None for one that was left out.
    """
    named = {"data.root": options.data, "runtime.device": options.device, **chosen}
    if options.quick and options.data is None:
        drawn = options.out / "drawn"
        if not (drawn / "truth.csv").exists():
            from alld.synthetic.dataset import draw_set
            from alld.synthetic.plan import Recipe

            draw_set(drawn, Recipe(n=drawn_images, sessions=4))
        named["data.root"] = drawn
    if options.no_pretrained:
        named["model.pretrained"] = False
    given = {key: value for key, value in named.items() if value is not None}
    overridden = {assignment.partition("=")[0].strip() for assignment in options.set}
    quick = {key: value for key, value in QUICK.items() if options.quick and key not in overridden}
    return load_config(options.config, options.set, {**quick, **given})
