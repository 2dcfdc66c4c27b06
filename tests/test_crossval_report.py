"""What a cross-validation writes follows from its folds and their predictions."""

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import called_in

from alld.auditing.background import background_auc
from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import LABEL_NAMES
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.crossval.pool import pool, pooled_provenance
from alld.evaluation.out_of_fold import HeldOut, missed_images
from alld.evaluation.write import material_of
from alld.stats.ranking import pr_auc, roc_auc

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def facts(validated: Path) -> Facts:
    """The metrics.json of two folds, twice."""
    facts: Facts = json.loads((validated / "evaluation" / "metrics.json").read_text())
    return facts


def test_the_numbers_follow_from_the_rows(validated: Path, facts: Facts) -> None:
    """Confusion, wrong verdicts, missed images and folds, counted from predictions.csv."""
    with (validated / "evaluation" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = Counter((row["label"], called_in(row)) for row in rows)
    assert facts["confusion"] == {
        "true_positive": pairs["blast", "blast"],
        "false_negative": pairs["blast", "healthy"],
        "true_negative": pairs["healthy", "healthy"],
        "false_positive": pairs["healthy", "blast"],
    }
    assert facts["data"]["predictions"] == len(rows)
    wrong = Counter(row["path"] for row in rows if row["label"] != called_in(row))
    assert facts["wrong"] == wrong.total()
    assert {one["path"]: one["times"] for one in facts["missed"]} == wrong
    assert facts["missed_images"] == len(wrong)
    for fold in facts["folds"]:
        place = (str(fold["repeat"]), str(fold["fold"]))
        own = [row for row in rows if (row["repeat"], row["fold"]) == place]
        assert fold["accuracy"]["n"] == len(own)
        assert fold["accuracy"]["k"] == sum(row["label"] == called_in(row) for row in own)
    assert sum(point["n"] for point in facts["reliability"]) == len(rows)


def test_each_repeat_is_a_test_of_its_own(validated: Path, facts: Facts) -> None:
    """The curves of a report have the areas, and their dots the rates, of per_repeat."""
    tests = material_of(facts, read_rows(read_plan(validated)), []).tests
    for test, metrics in zip(tests, facts["per_repeat"], strict=True):
        assert roc_auc(test.y_true, test.y_prob) == pytest.approx(metrics["roc_auc"]["value"])
        assert pr_auc(test.y_true, test.y_prob) == pytest.approx(metrics["pr_auc"]["value"])
        rates = 1 - metrics["specificity"]["value"], metrics["sensitivity"]["value"]
        assert test.roc_point == pytest.approx(rates)


def test_the_background_is_that_of_the_whole_set(facts: Facts, drawn_set: Path) -> None:
    """Once for all folds: what `evaluate` measures on the set and its groups."""
    manifest = load_manifest(DataConfig(root=drawn_set))
    whole = background_auc(manifest, load_groups(manifest).of_image)
    assert facts["background"] == whole.as_dict()


def test_folds_of_several_machines_are_told_as_such() -> None:
    """What they share stands once, what differs is listed; seconds are summed, ends are kept."""
    first = {"started": "2026-01-02", "seconds": 1.5, "device": "cpu", "versions": {"torch": "2"}}
    second = {"started": "2026-01-01", "seconds": 2.0, "device": "cuda", "versions": {"torch": "2"}}
    ended = [{"finished": f"2026-01-0{day}", "seconds": 1.0} for day in (3, 4)]
    folds = [
        {"training": training, "evaluation": evaluation}
        for training, evaluation in zip((first, second), ended, strict=True)
    ]
    together = pooled_provenance({"seed": 0}, folds)
    assert together["config"] == {"seed": 0}
    assert together["training"] == {
        "started": "2026-01-01",
        "seconds": 3.5,
        "device": ["cpu", "cuda"],
        "versions": {"torch": "2"},
    }
    assert together["evaluation"] == {"finished": "2026-01-04", "seconds": 2.0}
    assert together["pooling"]["versions"]["alld"]


def test_missed_images_are_ranked_by_repeats_then_by_sureness() -> None:
    """Twice wrong before once wrong, surely wrong before nearly right, each image once."""
    predicted = {"a": (0.9, 0.4), "b": (0.55, 0.6), "c": (0.7,), "d": (0.1,)}
    rows = [
        HeldOut(repeat, 1, name, name, name, 0, probability, 0.5)
        for name, probabilities in predicted.items()
        for repeat, probability in enumerate(probabilities, start=1)
    ]
    missed = missed_images(rows)
    assert [(one.path, one.times) for one in missed] == [("b", 2), ("a", 1), ("c", 1)]
    assert (missed[1].lowest, missed[1].highest) == (0.4, 0.9)
    assert missed[0].label == LABEL_NAMES[0]


def test_an_evaluation_that_recorded_too_little_is_named(validated: Path, tmp_path: Path) -> None:
    """A fold evaluated by an older version cannot be pooled, and the line says what to repeat."""
    shutil.copytree(validated / "repeat-1", tmp_path / "repeat-1")
    fold = tmp_path / "repeat-1" / "fold-2"
    facts = json.loads((fold / "evaluation" / "metrics.json").read_text())
    del facts["background"]
    (fold / "evaluation" / "metrics.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=f"background.*alld evaluate {fold}"):
        pool(replace(read_plan(validated), folder=tmp_path, repeats=1))
