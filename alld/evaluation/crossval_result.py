"""What a cross-validation found, and how a person reads it: two spreads, apart, and the caveats."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alld import NOTICE
from alld.data.manifest import LABEL_NAMES
from alld.evaluation.out_of_fold import HeldOut, Spread
from alld.evaluation.result import TITLES, format_metric
from alld.evaluation.verdict import origin, random_weights
from alld.files import new_folder, write_csv, write_json, write_text
from alld.stats.metrics import Metric

ROWS = ("repeat", "fold", "path", "sha256", "group", "label", "probability", "threshold", "verdict")
TABLE = ("metric", "value", "k", "n", "ci_low", "ci_high", "method", "reason",
         "repeats", "sd", "lowest", "highest")  # fmt: skip
HEADINGS = ("Metric", "Value", "Counts", "95 % interval (sampling)", "Over repeats (training)")
FOLD_HEADINGS = ("Repeat", "Fold", "Right", "Blasts found", "Healthy passed")
PROPORTIONS = ("accuracy", "sensitivity", "specificity")


@dataclass(frozen=True)
class CrossValidation:
    """What all folds together say; every number counts cell images."""

    folder: Path
    plan: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Metric]
    per_repeat: tuple[dict[str, Metric], ...]
    spread: dict[str, Spread]
    rows: tuple[HeldOut, ...]

    @property
    def title(self) -> str:
        """What was validated, in one line."""
        plan = self.plan
        mark = "SYNTHETIC: " if self.synthetic else ""
        times = f", {plan['repeats']} repeats" if plan["repeats"] > 1 else ""
        kind = f"{plan['split']} {plan['folds']}-fold cross-validation{times}"
        return f"{mark}{plan['arch']}, {kind}, seed {plan['seed']}"

    @property
    def synthetic(self) -> bool:
        """The images were drawn, not photographed."""
        return bool(self.data["synthetic"])

    def as_dict(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return {
            "notice": NOTICE,
            "synthetic": self.synthetic,
            "unit": "cell image",
            "positive_class": "blast",
            "plan": self.plan,
            "model": {"initial_weights": self.plan["initial_weights"]},
            "data": self.data,
            "metrics": _as_dicts(self.metrics),
            "per_repeat": [_as_dicts(metrics) for metrics in self.per_repeat],
            "training_spread": {name: asdict(spread) for name, spread in self.spread.items()},
        }


def write_crossval(result: CrossValidation) -> None:
    """Write `evaluation/`: numbers, tables, out-of-fold predictions; and the groups beside it."""
    groups = {row.path: {"path": row.path, "group": row.group} for row in result.rows}
    write_csv(result.folder.parent / "split.csv", ("path", "group"), groups.values())
    with new_folder(result.folder) as folder:
        write_json(folder / "metrics.json", result.as_dict())
        write_csv(folder / "predictions.csv", ROWS, _prediction_rows(result.rows))
        write_csv(folder / "table.csv", TABLE, _table_rows(result))
        write_text(folder / "table.md", markdown(result))


def readable_rows(result: CrossValidation) -> list[tuple[str, ...]]:
    """A row a metric under `HEADINGS`, to read."""
    return [
        (
            TITLES[name],
            *format_metric(metric, percent=name in PROPORTIONS),
            _format_spread(result.spread[name], percent=name in PROPORTIONS),
        )
        for name, metric in result.metrics.items()
    ]


def caveats(result: CrossValidation) -> list[str]:
    """What a reader must know before quoting a number, a sentence each."""
    data, plan = result.data, result.plan
    sentences = [
        f"The unit is a cell image, never a patient: {data['images']} in {data['groups']} groups, "
        "each tested by a model that did not see it.",
        "Intervals show the sampling spread: a bootstrap over groups. The training spread, over "
        "repeats with other folds and seeds, stands beside them and is not part of them.",
    ]
    if data["torn_groups"]:
        sentences.append(
            f"{data['torn_groups']} groups of same cells or overlapping crops are tested in more "
            f"than one fold of this {plan['split']} split, which flatters the numbers."
        )
    facts = result.as_dict()
    return [*sentences, *origin(facts), *random_weights(facts)]


def markdown(result: CrossValidation) -> str:
    """`table.md`: the numbers, both spreads, the folds, the caveats."""
    lines = [f"# {result.title}", "", f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in readable_rows(result)]
    lines += ["", f"| {' | '.join(FOLD_HEADINGS)} |", "|---" * len(FOLD_HEADINGS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in fold_rows(result)]
    lines += ["", *(f"- {sentence}" for sentence in caveats(result)), f"- {NOTICE}"]
    return "\n".join(lines) + "\n"


def fold_rows(result: CrossValidation) -> list[tuple[str, ...]]:
    """Repeat, fold, and k/n of all images, blasts and healthy cells for each fold."""
    folds: dict[tuple[int, int], list[HeldOut]] = {}
    for row in result.rows:
        folds.setdefault((row.repeat, row.fold), []).append(row)
    return [
        (str(repeat), str(fold), *(_right(rows, label) for label in (None, 1, 0)))
        for (repeat, fold), rows in folds.items()
    ]


def _right(rows: Sequence[HeldOut], label: int | None) -> str:
    among = [row for row in rows if label is None or row.label == label]
    return f"{sum(row.verdict == row.label for row in among)}/{len(among)}"


def _format_spread(spread: Spread, *, percent: bool) -> str:
    if spread.sd is None or spread.low is None or spread.high is None:
        return "one repeat" if spread.repeats == 1 else "undefined"
    scale, digits = (100, 1) if percent else (1, 3)
    sd, low, high = (f"{x * scale:.{digits}f}" for x in (spread.sd, spread.low, spread.high))
    return f"sd {sd}, {low} to {high}"


def _table_rows(result: CrossValidation) -> list[dict[str, Any]]:
    return [
        {
            "metric": name,
            "reason": None,
            **metric.as_dict(),
            "repeats": result.spread[name].repeats,
            "sd": result.spread[name].sd,
            "lowest": result.spread[name].low,
            "highest": result.spread[name].high,
        }
        for name, metric in result.metrics.items()
    ]


def _prediction_rows(rows: Sequence[HeldOut]) -> Iterator[dict[str, Any]]:
    for row in rows:
        names = {"label": LABEL_NAMES[row.label], "verdict": LABEL_NAMES[row.verdict]}
        yield {**asdict(row), **names}


def _as_dicts(metrics: dict[str, Metric]) -> dict[str, Any]:
    return {name: metric.as_dict() for name, metric in metrics.items()}
