"""A cross-validation on disk: its plan, the folders of its folds, and what they predicted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alld.config.schema import Config, parse_config
from alld.errors import RunError
from alld.evaluation.heat_checks import Checked, read_checked
from alld.evaluation.out_of_fold import HeldOut, read_fold
from alld.runs.folder import Run
from alld.runtime.reading import read_json

PLAN = "crossval.json"


@dataclass(frozen=True)
class Fold:
    """One cell of the plan: which fold of which repeat, both from 1, and where its run lies."""

    repeat: int
    fold: int
    folder: Path

    @classmethod
    def of(cls, folder: Path, repeat: int, fold: int) -> "Fold":
        """One cell of the cross-validation in `folder`."""
        return cls(repeat, fold, folder / f"repeat-{repeat}" / f"fold-{fold}")

    @property
    def done(self) -> bool:
        """Trained and evaluated."""
        return (self.folder / "evaluation" / "metrics.json").is_file()


@dataclass(frozen=True)
class JudgedFold:
    """One finished fold: what it predicted, and what its training and evaluation recorded."""

    cell: Fold
    rows: list[HeldOut]
    info: dict[str, Any]  # run.json
    facts: dict[str, Any]  # metrics.json of its evaluation
    history: list[dict[str, str]]
    checked: list[tuple[Checked, str]]  # of its heat maps, each with its group


def plan_folds(folder: Path, folds: int, repeats: int) -> list[Fold]:
    """All cells in their order, done or not."""
    return [
        Fold.of(folder, repeat, fold)
        for repeat in range(1, repeats + 1)
        for fold in range(1, folds + 1)
    ]


def read_plan(folder: Path) -> tuple[dict[str, Any], Config]:
    """The plan and the settings that all folds share.

    Raises:
        RunError: no cross-validation there, or a damaged plan.
    """
    try:
        plan = read_json(folder / PLAN)
        _ = plan["folds"], plan["repeats"], plan["fingerprint"]
        return plan, parse_config(plan["config"], str(folder / PLAN))
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no cross-validation there (no {PLAN})") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / PLAN}: damaged ({error}); start anew") from error


def read_rows(folder: Path) -> list[HeldOut]:
    """The out-of-fold predictions of a finished cross-validation.

    Raises:
        RunError: there is none, or a fold is missing.
    """
    plan, _ = read_plan(folder)
    cells = plan_folds(folder, plan["folds"], plan["repeats"])
    return [row for cell in cells for row in rows_of(cell, plan["fingerprint"])]


def read_judged(cell: Fold, fingerprint: str) -> JudgedFold:
    """All that a finished fold has to tell.

    Raises:
        RunError: as `rows_of`, or its evaluation is damaged or of a version that recorded less.
    """
    rows, run = rows_of(cell, fingerprint), Run(cell.folder)
    try:
        facts = read_json(cell.folder / "evaluation" / "metrics.json")
        _ = facts["model"]["initial_weights"], facts["model"]["threshold_warning"]
        _ = facts["background"]["value"], facts["metrics"]["roc_auc"]
        _ = facts["abstention"]["limits"]["reason"]
        _ = facts["provenance"]["training"], facts["provenance"]["evaluation"]
        _ = facts["heat_maps"]["reason"]
        groups = {row.sha256: row.group for row in rows}
        maps = read_checked(cell.folder / "evaluation")
        checked = [(one, groups[one.sha256]) for one in maps]
        return JudgedFold(cell, rows, run.info, facts, run.history(), checked)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{cell.folder}: its evaluation cannot be pooled ({error!r}); repeat it: "
            f"alld evaluate {cell.folder}"
        ) from error


def rows_of(cell: Fold, fingerprint: str) -> list[HeldOut]:
    """What one fold predicted.

    Raises:
        RunError: it is missing, or was trained on other images than the plan says.
    """
    if Run(cell.folder).info["data"]["fingerprint"] != fingerprint:
        raise RunError(f"{cell.folder}: trained on other images than the folds before it")
    return read_fold(cell.folder, cell.repeat, cell.fold)
