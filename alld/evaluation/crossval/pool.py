"""The folds of a cross-validation read back from their files and measured together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alld.config.schema import Config
from alld.data.manifest import LABEL_NAMES, class_counts
from alld.evaluation.abstention import abstention, band_of, cross_fitted
from alld.evaluation.crossval.folds import JudgedFold, Plan, read_judged
from alld.evaluation.crossval.result import CrossValidation
from alld.evaluation.heat_checks import as_facts, summarise
from alld.evaluation.out_of_fold import (
    HeldOut,
    metrics_of_repeat,
    missed_images,
    pooled_by_patient,
    pooled_metrics,
    training_spread,
)
from alld.evaluation.provenance import provenance_of_folds
from alld.stats.reliability import reliability_curve


def pool(plan: Plan) -> CrossValidation:
    """Read every fold's test images back and measure them together.

    Raises:
        RunError: a fold is missing, damaged, or was made from other images than the plan says.
    """
    config = plan.config
    judged = [read_judged(fold, plan.fingerprint) for fold in plan.all_folds()]
    rows = [row for fold in judged for row in fold.rows]
    verdicts = cross_fitted(rows, config.abstain.uncertain)
    numbers = range(1, plan.repeats + 1)
    repeats = [[row for row in rows if row.repeat == number] for number in numbers]
    draws = config.evaluate.bootstrap_draws
    per_repeat = tuple(metrics_of_repeat(some, draws) for some in repeats)
    return CrossValidation(
        folder=plan.folder / "evaluation",
        root=Path(judged[0].info["data"]["root"]),
        plan=_plan_facts(plan, judged[0]),
        model=_model_facts(judged),
        data=_data_facts(judged[0], repeats),
        metrics=pooled_metrics(repeats, draws),
        per_repeat=per_repeat,
        spread=training_spread(per_repeat),
        by_patient=pooled_by_patient(repeats, draws),
        folds=tuple(_fold_facts(fold) for fold in judged),
        reliability=reliability_curve(
            [row.label for row in rows],
            [row.probability for row in rows],
            groups=[row.group for row in rows],
        ),
        # All folds have the same set and the same groups, and so the same background.
        background=judged[0].facts["background"],
        abstention=_abstention(rows, verdicts, config, judged[0]),
        heat_maps=_heat_maps(judged, draws),
        missed=missed_images(rows),
        rows=tuple(rows),
        verdicts=tuple(verdicts),
        histories=tuple(fold.history for fold in judged),
        provenance=provenance_of_folds(
            config.model_dump(mode="json"), [fold.facts["provenance"] for fold in judged]
        ),
    )


def _abstention(
    rows: Sequence[HeldOut], verdicts: Sequence[str], config: Config, first: JudgedFold
) -> dict[str, Any]:
    """As of a run, and the band that all out-of-fold predictions show together."""
    error, band = config.abstain.uncertain, None
    if error is not None:
        found = band_of(rows, error)
        low, high = found.ends(0.5)
        band = {"low": low, "high": high, "how": found.how}
    facts = abstention(
        [LABEL_NAMES[row.label] for row in rows],
        [row.probability for row in rows],
        [row.threshold for row in rows],
        list(verdicts),
        [row.group for row in rows],
        config.evaluate.bootstrap_draws,
    )
    return {**facts, "band": band, "limits": first.facts["abstention"]["limits"]}


def _heat_maps(judged: Sequence[JudgedFold], draws: int) -> dict[str, Any]:
    """The checks of all folds' heat maps; where a fold has none, its reason."""
    reasons = [fold.facts["heat_maps"]["reason"] for fold in judged]
    if any(reasons):
        return {"reason": next(filter(None, reasons))}
    checked = [one for fold in judged for one, _ in fold.checked]
    groups = [group for fold in judged for _, group in fold.checked]
    return as_facts(summarise(checked, groups, draws), judged[0].facts["heat_maps"]["erased"])


def _plan_facts(plan: Plan, first: JudgedFold) -> dict[str, Any]:
    config = plan.config
    return {
        "started": plan.started,
        "arch": config.model.arch,
        "initial_weights": first.facts["model"]["initial_weights"],
        "folds": plan.folds,
        "repeats": plan.repeats,
        "runs": plan.folds * plan.repeats,
        "seed": config.seed,
        "split": config.split.kind,
        "split_seed": config.split_seed,
    }


def _model_facts(judged: Sequence[JudgedFold]) -> dict[str, Any]:
    """What all models share, and how far apart their thresholds and temperatures are."""
    models = [fold.facts["model"] for fold in judged]
    shared = {
        name: models[0][name] for name in ("arch", "initial_weights", "image_size", "resize", "tta")
    }
    warnings = [model["threshold_warning"] for model in models if model["threshold_warning"]]
    return {
        **shared,
        **{name: _ends([model[name] for model in models]) for name in ("threshold", "temperature")},
        "threshold_warning": warnings[0] if warnings else None,
        "threshold_warnings": len(warnings),
    }


def _ends(values: Sequence[float]) -> dict[str, float]:
    return {"low": min(values), "high": max(values)}


def _data_facts(first: JudgedFold, repeats: Sequence[Sequence[HeldOut]]) -> dict[str, Any]:
    labels = [row.label for row in repeats[0]]
    return {
        "name": first.info["data"]["name"],
        "fingerprint": first.info["data"]["fingerprint"],
        "synthetic": first.info["data"]["synthetic"],
        "images": class_counts(labels),
        "classes": {name: labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        "predictions": sum(map(len, repeats)),
        "groups": len({row.group for row in repeats[0]}),
        "groups_source": first.info["groups"],
        "leaking_groups": _leaking(repeats[0]),
    }


def _leaking(rows: Sequence[HeldOut]) -> int:
    """Groups that are tested in more than one fold: their cells trained the model that tests."""
    folds_of: dict[str, set[int]] = {}
    for row in rows:
        folds_of.setdefault(row.group, set()).add(row.fold)
    return sum(len(folds) > 1 for folds in folds_of.values())


def _fold_facts(fold: JudgedFold) -> dict[str, Any]:
    """A row of the table of folds."""
    names = ("accuracy", "sensitivity", "specificity", "roc_auc")
    return {
        "repeat": fold.cell.repeat,
        "fold": fold.cell.fold,
        **{name: fold.facts["metrics"][name] for name in names},
        "threshold": fold.facts["model"]["threshold"],
        "temperature": fold.facts["model"]["temperature"],
    }
