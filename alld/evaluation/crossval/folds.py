"""Read the folder of a cross-validation: its plan, and what each of its folds predicted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.config.schema import Config, parse_config
from alld.errors import RunError
from alld.evaluation.explanation import Checked, read_checked
from alld.evaluation.out_of_fold import HeldOut, read_fold
from alld.evaluation.outside import INSIDE, OutsideTest
from alld.evaluation.result import Result, as_metric, read_result
from alld.model.bundle import read_info
from alld.model.place import PLAN
from alld.report.material import History
from alld.runs.folder import Run
from alld.runtime.files import write_json
from alld.runtime.reading import read_json


@dataclass(frozen=True)
class Fold:
    """One fold of one repeat, both counted from 1, and the folder of its run."""

    repeat: int
    fold: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / "evaluation" / "metrics.json").is_file()


@dataclass(frozen=True)
class Plan:
    """What a cross-validation consists of: the content of its `crossval.json`."""

    folder: Path
    started: str
    folds: int
    repeats: int
    fingerprint: str  # of the images
    config: Config  # shared by all folds but for seeds and split

    def fold(self, repeat: int, fold: int) -> Fold:
        """Return one fold, done or not."""
        return Fold(repeat, fold, self.folder / f"repeat-{repeat}" / f"fold-{fold}")

    def all_folds(self) -> list[Fold]:
        """Return every fold of every repeat in the order of their training."""
        repeats, folds = range(1, self.repeats + 1), range(1, self.folds + 1)
        return [self.fold(repeat, fold) for repeat in repeats for fold in folds]

    def config_of(self, repeat: int, fold: int) -> Config:
        """Return the settings of one fold: repeat r adds r - 1 to both seeds.

        Raises:
            ConfigError: the settings allow no such fold.
        """
        settings, later = self.config.model_dump(mode="json"), repeat - 1
        settings["seed"] = self.config.seed + later
        seed = self.config.split_seed + later
        settings["split"] |= {"seed": seed, "folds": self.folds, "fold": fold}
        return parse_config(settings, f"--folds {self.folds}")

    def write(self) -> None:
        """Write `crossval.json`."""
        facts = {name: value for name, value in vars(self).items() if name != "folder"}
        write_json(self.folder / PLAN, {**facts, "config": self.config.model_dump(mode="json")})


def read_plan(folder: Path) -> Plan:
    """Read `crossval.json`.

    Raises:
        RunError: no cross-validation there, or a damaged plan.
    """
    path = folder / PLAN
    try:
        facts = read_json(path)
        facts["config"]["split"].setdefault("fields", False)  # begun by a version that ignored them
        return Plan(
            folder=folder,
            started=str(facts["started"]),
            folds=int(facts["folds"]),
            repeats=int(facts["repeats"]),
            fingerprint=str(facts["fingerprint"]),
            config=parse_config(facts["config"], str(path)),
        )
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no cross-validation there (no {PLAN})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: damaged ({error}); start anew") from error


def read_rows(plan: Plan) -> list[HeldOut]:
    """Return the out-of-fold predictions of a finished cross-validation.

    Raises:
        RunError: a fold is missing, or was trained on other images than the plan says.
    """
    return [row for fold in plan.all_folds() for row in rows_of(fold, plan.fingerprint)]


@dataclass(frozen=True)
class TestedFold:
    """A finished fold: its predictions, and what its training and evaluation recorded."""

    fold: Fold
    rows: list[HeldOut]
    info: dict[str, Any]  # run.json
    result: Result  # of its evaluation
    history: History
    checked: list[tuple[Checked, str]]  # of its heat maps, each with its group


def read_fold_result(fold: Fold, fingerprint: str) -> TestedFold:
    """Read everything that a finished fold recorded.

    Raises:
        RunError: as `rows_of`, or its evaluation is damaged or of a version that recorded less.
    """
    rows, run = rows_of(fold, fingerprint), Run(fold.folder)
    folder = fold.folder / "evaluation"
    try:
        result = read_result(folder)
        _ = result.model["initial_weights"], result.model["threshold_warning"]
        _ = result.abstention["limits"]["reason"], result.heat_maps["reason"]
        _ = result.provenance["training"], result.provenance["evaluation"]
        groups = {row.sha256: row.group for row in rows}
        checked = [(one, groups[one.sha256]) for one in read_checked(folder)]
        return TestedFold(fold, rows, run.info, result, run.history(), checked)
    except RunError as error:
        raise RunError(f"{error.message}; {_again(fold)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: cannot be pooled ({error!r}); {_again(fold)}") from error


def outside_test(fold: Fold, fingerprint: str) -> OutsideTest:
    """Return what the fold of a cross-validation of other sessions tested.

    Raises:
        RunError: as `read_fold_result`.
    """
    try:
        facts = read_result(fold.folder / "evaluation").data
        stored = read_info(Run(fold.folder).bundle).validation
        inside = {name: as_metric(stored[name]) for name in INSIDE}
        tested = ", ".join(facts["tested_domains"])
        return OutsideTest(tested, rows_of(fold, fingerprint), inside)
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{fold.folder}: cannot be read ({error!r}); {_again(fold)}") from error


def _again(fold: Fold) -> str:
    return f"repeat it: alld evaluate {fold.folder}"


def rows_of(fold: Fold, fingerprint: str) -> list[HeldOut]:
    """Return the predictions of one fold.

    Raises:
        RunError: the fold is missing, or was trained on other images than the plan says.
    """
    if Run(fold.folder).info["data"]["fingerprint"] != fingerprint:
        raise RunError(f"{fold.folder}: trained on other images than the folds before it")
    return read_fold(fold.folder, fold.repeat, fold.fold)
