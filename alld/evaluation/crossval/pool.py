"""Read the folds of a cross-validation back and measure them together."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alld.data.manifest import LABEL_NAMES, class_counts
from alld.evaluation.crossval.folds import Plan, TestedFold, outside_test, read_fold_result
from alld.evaluation.explanation import summarise
from alld.evaluation.measure import NAMED, abstention, finished_now, shared_numbers
from alld.evaluation.out_of_fold import (
    HeldOut,
    by_repeat,
    metrics_of_repeat,
    missed_images,
    pooled_metrics,
    training_spread,
)
from alld.evaluation.outside import Outside, measure_outside
from alld.evaluation.result import FoldMetrics, Result
from alld.inference.prediction import OUT_OF_DOMAIN, UNCERTAIN, called
from alld.model.joint import joint_identity
from alld.stats.reliability import reliability_curve
from alld.stats.selective import Band, uncertain_band


def pool(plan: Plan) -> Result:
    """Read the test images of every fold back and measure them together.

    Raises:
        RunError: a fold is missing, damaged, or was made from other images than the plan says.
    """
    config, draws = plan.config, plan.config.evaluate.bootstrap_draws
    folds = [read_fold_result(fold, plan.fingerprint) for fold in plan.all_folds()]
    first = folds[0]
    rows = cross_fitted([row for fold in folds for row in fold.rows], config.abstain.uncertain)
    repeats = by_repeat(rows)
    per_repeat = tuple(metrics_of_repeat(repeat, draws) for repeat in repeats)
    return Result(
        folder=plan.folder / "evaluation",
        root=Path(first.info["data"]["root"]),
        plan=_plan_facts(plan, first),
        model=_model_facts(folds),
        data=_data_facts(first, repeats),
        metrics=pooled_metrics(repeats, draws),
        per_repeat=per_repeat,
        training_spread=training_spread(per_repeat),
        folds=tuple(map(_fold_metrics, folds)),
        outside=_outside(plan, draws) if config.split.kind == "session" else None,
        reliability=reliability_curve(
            [row.label for row in rows],
            [row.probability for row in rows],
            groups=[row.group for row in rows],
        ),
        # All folds have the same images and groups, and so the same background.
        background=first.result.background,
        abstention={
            **abstention(rows, draws),
            "band": _band_facts(rows, config.abstain.uncertain),
            "limits": first.result.abstention["limits"],
        },
        heat_maps=_heat_maps(folds, draws),
        missed=missed_images(rows),
        histories=tuple(fold.history for fold in folds),
        provenance=pooled_provenance(
            config.model_dump(mode="json"), [fold.result.provenance for fold in folds]
        ),
        **shared_numbers(rows, draws),
    )


def cross_fitted(rows: Sequence[HeldOut], error: float | None) -> list[HeldOut]:
    """Return the rows with verdicts by a band of uncertainty found without their own fold.

    A single run takes its band from its validation images. A cross-validation has more images: the
    band for one fold is found in the out-of-fold predictions of the other folds of its repeat.

    Args:
        rows: the predictions of all repeats.
        error: `abstain.uncertain`; None for no band at all.
    """
    bands: dict[tuple[int, int], Band | None] = {}
    for repeat, fold in dict.fromkeys((row.repeat, row.fold) for row in rows):
        others = [row for row in rows if row.repeat == repeat and row.fold != fold]
        bands[repeat, fold] = None if error is None else _band_of(others, error)
    return [replace(row, answer=_answer(row, bands[row.repeat, row.fold])) for row in rows]


def _band_of(rows: Sequence[HeldOut], error: float) -> Band:
    """The band in which verdicts are unreliable; images out of domain do not count."""
    known = [row for row in rows if row.answer != OUT_OF_DOMAIN] or rows
    return uncertain_band(
        [row.label for row in known],
        [row.probability for row in known],
        [row.threshold for row in known],
        error=error,
    )


def _answer(row: HeldOut, band: Band | None) -> str:
    if row.answer == OUT_OF_DOMAIN:
        return OUT_OF_DOMAIN
    if band is not None and band.holds([row.probability], row.threshold)[0]:
        return UNCERTAIN
    return called(row.probability, row.threshold)


def _band_facts(rows: Sequence[HeldOut], error: float | None) -> dict[str, Any] | None:
    """The band that all out-of-fold predictions give together."""
    if error is None:
        return None
    band = _band_of(rows, error)
    low, high = band.ends(0.5)
    return {"low": low, "high": high, "how": band.how}


def _heat_maps(folds: Sequence[TestedFold], draws: int) -> dict[str, Any]:
    """The checks of all folds' heat maps; where a fold has none, its reason."""
    reasons = [fold.result.heat_maps["reason"] for fold in folds]
    if any(reasons):
        return {"reason": next(filter(None, reasons))}
    checked = [one for fold in folds for one, _ in fold.checked]
    groups = [group for fold in folds for _, group in fold.checked]
    summary = summarise(checked, groups, draws)
    return {"reason": None, "erased": folds[0].result.heat_maps["erased"], "verdicts": summary}


def _plan_facts(plan: Plan, first: TestedFold) -> dict[str, Any]:
    config = plan.config
    return {
        "started": plan.started,
        "arch": config.model.arch,
        "initial_weights": first.result.model["initial_weights"],
        "folds": plan.folds,
        "repeats": plan.repeats,
        "runs": plan.folds * plan.repeats,
        "seed": config.seed,
        "split": config.split.kind,
        "split_seed": config.split_seed,
    }


def _model_facts(folds: Sequence[TestedFold]) -> dict[str, Any]:
    """What all models share, and the ranges of their thresholds and temperatures."""
    models = [fold.result.model for fold in folds]
    shared = ("arch", "initial_weights", "image_size", "resize", "tta")
    warnings = [model["threshold_warning"] for model in models if model["threshold_warning"]]
    fitted = {name: [model[name] for model in models] for name in ("threshold", "temperature")}
    return {
        "identity": joint_identity([model["identity"] for model in models]),  # of their mean
        **{name: models[0][name] for name in shared},
        **{name: {"low": min(values), "high": max(values)} for name, values in fitted.items()},
        "threshold_warning": warnings[0] if warnings else None,
        "threshold_warnings": len(warnings),
    }


def _data_facts(first: TestedFold, repeats: Sequence[Sequence[HeldOut]]) -> dict[str, Any]:
    labels = [row.label for row in repeats[0]]
    folds_of = Counter(group for group, _ in {(row.group, row.fold) for row in repeats[0]})
    leaking = sorted(group for group, folds in folds_of.items() if folds > 1)
    return {
        **{name: first.info["data"][name] for name in ("name", "fingerprint", "synthetic")},
        "images": class_counts(labels),
        "classes": {name: labels.count(label) for label, name in enumerate(LABEL_NAMES)},
        "predictions": sum(map(len, repeats)),
        "groups": len(folds_of),
        "groups_source": first.info["groups"],
        # Some cells of a group tested in several folds trained the model that tests the others.
        "domains": first.result.data.get("domains"),
        "leaking_groups": len(leaking),
        "leaking": leaking[:NAMED],
    }


def _fold_metrics(tested: TestedFold) -> FoldMetrics:
    metrics, model = tested.result.metrics, tested.result.model
    return FoldMetrics(
        repeat=tested.fold.repeat,
        fold=tested.fold.fold,
        threshold=model["threshold"],
        temperature=model["temperature"],
        tested=", ".join(tested.result.data.get("tested_domains", ())),
        **{name: metrics[name] for name in ("accuracy", "sensitivity", "specificity", "roc_auc")},
    )


def _outside(plan: Plan, draws: int) -> Outside:
    tests = [outside_test(fold, plan.fingerprint) for fold in plan.all_folds()]
    return measure_outside(tests, draws)


def pooled_provenance(
    config: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the provenance of all folds as one, their settings, and when they were pooled."""
    return {
        "config": config,
        "training": _together([fold["training"] for fold in folds]),
        "evaluation": _together([fold["evaluation"] for fold in folds]),
        "pooling": finished_now(),
    }


def _together(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for record in records for name in record)
    return {name: _one(name, [record.get(name) for record in records]) for name in names}


_SUMMARIES: dict[str, Callable[[Sequence[Any]], Any]] = {
    "seconds": lambda values: round(sum(values), 1),
    "started": min,
    "finished": max,
}


def _one(name: str, values: Sequence[Any]) -> Any:
    """Sum seconds, take the first start and last end; else the shared value, or all values."""
    if isinstance(values[0], Mapping):
        return _together(values)
    if name in _SUMMARIES:
        return None if None in values else _SUMMARIES[name](values)
    distinct = list(dict.fromkeys(values))
    return distinct[0] if len(distinct) == 1 else distinct
