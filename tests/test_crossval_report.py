"""The page of a cross-validation: the numbers of its metrics.json, and what they are numbers of."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import (
    Page,
    called_in,
    check_marks,
    check_nothing_loose,
    check_numbers,
    check_self_contained,
    metric_fields,
)
from PIL import Image

from alld.audit.background import background_auc
from alld.config.schema import DataConfig
from alld.data.groups.load import load_groups
from alld.data.manifest import LABEL_NAMES
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.crossval.pool import pool, pooled_provenance
from alld.evaluation.out_of_fold import HeldOut, missed_images
from alld.evaluation.write import material_of, write_result
from alld.report.charts import pr_chart, roc_chart
from alld.report.material import Material
from alld.report.page import render_card, render_page
from alld.stats.metrics import Metric

Facts = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """What a cross-validation left in its `evaluation/`."""

    folder: Path
    rows: list[HeldOut]

    @property
    def facts(self) -> Facts:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def page(self) -> Page:
        return Page((self.folder / "report.html").read_text())

    @property
    def card(self) -> str:
        return (self.folder / "model_card.md").read_text()


@pytest.fixture(scope="module")
def repeated(validated: Path) -> Written:
    """Two folds, twice."""
    return Written(validated / "evaluation", read_rows(read_plan(validated)))


@pytest.fixture(scope="module")
def once(validated: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The first repeat alone: its two folds, pooled as if they were all of the plan."""
    folder = tmp_path_factory.mktemp("once") / "evaluation"
    result = replace(pool(replace(read_plan(validated), repeats=1)), folder=folder)
    write_result(result)
    return Written(folder, list(result.rows))


@pytest.fixture(params=["once", "repeated"])
def written(request: pytest.FixtureRequest) -> Written:
    """Both: one repeat counts images, several count predictions."""
    return request.getfixturevalue(request.param)


def material(facts: Facts, rows: Sequence[HeldOut], root: Path = Path()) -> Material:
    return material_of(facts, rows, [], root)


def rendered(facts: Facts, rows: Sequence[HeldOut], root: Path = Path()) -> Page:
    return Page(render_page(material(facts, rows, root)))


def verdict_of(page: Page) -> str:
    return page.text[: page.text.index("Every count is of cell images")]


def relabelled(facts: Facts, rows: Sequence[HeldOut]) -> tuple[Facts, list[HeldOut]]:
    """Facts and rows in which the first repeat misjudges every image."""
    label = {row.path: 1 - row.verdict for row in rows if row.repeat == 1}
    changed = [replace(row, label=label[row.path]) for row in rows]
    missed = missed_images(changed)
    wrong = sum(row.verdict != row.label for row in changed)
    told = {"wrong": wrong, "missed": [vars(one) for one in missed], "missed_images": len(missed)}
    return {**facts, **told}, changed


def test_every_number_of_the_page_is_that_of_the_file(written: Written) -> None:
    """Each marked element holds the full value of its field, and shows it, rounded at most."""
    check_numbers(written.page, written.facts)


def test_no_number_stands_in_the_page_unmarked(written: Written) -> None:
    """Outside marked elements there is no digit but those of a few constant words."""
    check_nothing_loose(written.page)


def test_every_number_of_the_file_is_in_the_page(written: Written) -> None:
    """Metrics with both spreads, each fold, confusion, bins, background, plan and fingerprint."""
    facts = written.facts
    wanted = {f"confusion.{name}" for name in facts["confusion"]}
    wanted |= {"background.value", "data.fingerprint", "plan.folds", "plan.repeats", "plan.runs"}
    for name, metric in facts["metrics"].items():
        wanted |= metric_fields(name, metric)
    for name, spread in facts["training_spread"].items():
        keys = ("sd", "low", "high") if spread["repeats"] > 1 else ()
        wanted |= {f"training_spread.{name}.{key}" for key in keys}
    for number, point in enumerate(facts["reliability"]):
        wanted |= {f"reliability.{number}.{key}" for key in point}
    for number in range(len(facts["folds"])):
        wanted |= {f"folds.{number}.{key}" for key in ("repeat", "fold", "threshold")}
        wanted |= {f"folds.{number}.{key}.k" for key in ("accuracy", "sensitivity", "specificity")}
        wanted |= {f"folds.{number}.roc_auc.value"}
    assert wanted <= {marked.field for marked in written.page.marked}


def test_the_page_needs_no_other_host_and_no_script(written: Written) -> None:
    """Links lead into the page, pictures are in it, and its policy forbids the rest."""
    check_self_contained(written.page)


def test_drawn_images_and_the_notice_are_told(written: Written) -> None:
    """SYNTHETIC in title, banner and source, in the card too; no medical device, at both ends."""
    check_marks(written.page)
    assert written.card.startswith("# Model card: SYNTHETIC: efficientnet_lite0, grouped 2-fold")
    assert written.card.count("Not a medical device") == 2


def test_a_page_on_photographs_says_what_all_idb2_cannot_answer(repeated: Written) -> None:
    """No patients, no second reading, no other laboratory; and SYNTHETIC nowhere."""
    text = rendered({**repeated.facts, "synthetic": False}, repeated.rows).text
    assert "SYNTHETIC" not in text
    assert text.count("ALL-IDB2 cannot answer") == 5
    for words in ("no patient ids", "No reader study", "No external test", "One laboratory"):
        assert words in text


def test_the_numbers_follow_from_the_rows(written: Written) -> None:
    """Confusion, wrong verdicts, missed images and folds, counted from predictions.csv."""
    with (written.folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    facts = written.facts
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


def test_the_background_is_that_of_the_whole_set(repeated: Written, drawn_set: Path) -> None:
    """Once for all folds: what `evaluate` measures on the set and its groups."""
    manifest = load_manifest(DataConfig(root=drawn_set))
    whole = background_auc(manifest, load_groups(manifest).of_image)
    assert repeated.facts["background"] == whole.as_dict()


def test_predictions_are_never_called_images(repeated: Written, once: Written) -> None:
    """Of several repeats every pooled count says what it counts; of one there is no such word."""
    told = "80 predictions, 2 of each image"
    text = repeated.page.text
    assert f"Confusion, bins and wrong verdicts count {told}" in verdict_of(repeated.page)
    assert f"Columns: what the model of its fold says; {told}" in text
    assert "Predictions by P(blast)" in text
    assert f"{repeated.facts['wrong']} of 80 predictions, on " in text
    assert "larger dot holds more predictions" in text
    assert not re.search(r"\d predictions|Predictions by|more predictions", once.page.text)


def test_a_recipe_is_validated_and_no_model(written: Written) -> None:
    """Page and card say how many models there were, and that the numbers are of none of them."""
    runs = written.facts["plan"]["runs"]
    assert runs == 2 * written.facts["plan"]["repeats"]
    for text in (verdict_of(written.page), written.card):
        assert f"validates a recipe, not one model: {runs} models were trained" in text
    assert "**None.**" in written.card


def test_both_spreads_stand_in_the_verdict(repeated: Written, once: Written) -> None:
    """Repeats show a training spread beside the sampling interval; of one it is unknown."""
    assert "gave accuracies from" in verdict_of(repeated.page)
    assert "is not known from one repeat" not in verdict_of(repeated.page)
    assert "is not known from one repeat" in verdict_of(once.page)
    for written in (repeated, once):
        assert "never a patient: 20 blast, 20 healthy" in verdict_of(written.page)


def test_leaking_groups_and_random_weights_stand_in_the_verdict(repeated: Written) -> None:
    """What flatters a number is said above it, and the support it takes away is gone."""
    leaking = deepcopy(repeated.facts)
    leaking["data"]["leaking_groups"], leaking["plan"]["split"] = 3, "random"
    leaking["model"].update(initial_weights="random", threshold_warnings=2, threshold_warning="few")
    verdict = verdict_of(rendered(leaking, repeated.rows))
    for words in (
        "3 groups of same cells or overlapping crops are tested in more than one fold",
        "random split, which flatters",
        "not the paper's",
        "About the threshold, in 2 of 4 folds: few.",
    ):
        assert words in verdict
    assert "No group is tested in several folds" not in verdict


def test_thresholds_that_differ_are_told_as_a_range(repeated: Written) -> None:
    """Each fold has its own; no single one is called that of the model."""
    facts = deepcopy(repeated.facts)
    facts["model"]["threshold"] = {"low": 0.25, "high": 0.75}
    text = rendered(facts, repeated.rows).text
    assert text.count("the threshold of its fold (0.25 to 0.75)") == 2
    assert "the threshold of its fold (0.5)" in repeated.page.text


def test_an_undefined_metric_is_its_reason_and_never_0(repeated: Written) -> None:
    """Healthy cells only, and no interval: reasons in verdict, tables and folds, no curves."""
    alone = deepcopy(repeated.facts)
    reason = "none of the 40 images is a blast"
    for name in ("sensitivity", "roc_auc", "pr_auc"):
        alone["metrics"][name] = Metric(None, None, 40, None, None, None, reason).as_dict()
        alone["training_spread"][name].update(sd=None, reason="undefined in a repeat")
    for name in ("sensitivity", "roc_auc"):
        alone["folds"][0][name] = alone["metrics"][name]
    narrow = Metric(1.0, None, 40, None, None, None, "no interval: one group only")
    alone["metrics"]["accuracy"] = narrow.as_dict()
    page = rendered(alone, [replace(row, label=0) for row in repeated.rows])
    assert page.text.count(f"undefined: {reason}") == 4 + 2  # verdict, metrics; the fold's two
    assert page.text.count("Not drawn: one class only") == 2
    assert "them, no interval: one group only" in verdict_of(page)
    assert "every accuracy from" not in verdict_of(page)
    assert "metrics.sensitivity.value" not in {marked.field for marked in page.marked}
    assert f"| Sensitivity | undefined: {reason} |" in render_card(material(alone, repeated.rows))


def test_an_image_that_several_repeats_misjudge_is_shown_once(
    repeated: Written, drawn_set: Path
) -> None:
    """All 40 are misjudged: each has one picture, its own, and says in how many repeats."""
    facts, rows = relabelled(repeated.facts, repeated.rows)
    times = Counter(row.path for row in rows if row.verdict != row.label)
    subject = material(facts, rows, drawn_set)
    assert [one.file for one in subject.misjudged] == [
        drawn_set / m["path"] for m in facts["missed"]
    ]
    page = Page(render_page(subject))
    assert page.files == [one["path"] for one in facts["missed"]][:24]
    assert len(set(page.files)) == len(page.values("src", "img")) == 24
    assert "on 40 of 40 images" in page.text
    shown = [marked.text for marked in page.marked if marked.field.endswith(".times")]
    assert shown == [str(times[name]) for name in page.files]
    assert shown == sorted(shown, reverse=True)
    assert "in 2 of 2 repeats" in page.text
    check_numbers(page, facts)


def test_the_page_shows_its_own_mistakes(written: Written, drawn_set: Path) -> None:
    """The files in the gallery are the rows whose verdict is not the label, readable again."""
    wrong = {row.path for row in written.rows if row.verdict != row.label}
    assert set(written.page.files) <= wrong
    assert len(written.page.files) == len(written.page.values("src", "img")) == min(len(wrong), 24)


HOSTILE = "<img src=x onerror=alert(1)>&\"'\u202e.tif"


def test_texts_from_outside_stay_text(repeated: Written, tmp_path: Path) -> None:
    """Markup in the name of a file, of groups or of a network is shown and does nothing."""
    facts, rows = relabelled(repeated.facts, repeated.rows)
    path = facts["missed"][0]["path"]
    facts["missed"][0]["path"] = HOSTILE
    rows = [replace(row, path=HOSTILE) if row.path == path else row for row in rows]
    facts = deepcopy(facts)
    facts["title"] = facts["data"]["groups_source"] = facts["model"]["arch"] = f"</title>{HOSTILE}"
    page = rendered(facts, rows, tmp_path)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.values("src") == []
    assert "<img src=x" not in page.html
    assert HOSTILE.replace("\u202e", "\\u202e") in page.files
    assert page.text.count("This image cannot be read again") == 24
    assert str(tmp_path) not in page.html
    assert not re.search(r"(?<!\\)<img", render_card(material(facts, rows)))


def test_the_model_card_holds_the_same_facts(written: Written) -> None:
    """Every metric and its method as the page shows it, the training spread of several repeats."""
    card = written.card
    for marked in written.page.marked:
        if marked.field.startswith("metrics.") and marked.field.endswith((".value", ".method")):
            assert marked.text in card, marked
    several = written.facts["plan"]["repeats"] > 1
    assert ("| Measure | Standard deviation | Lowest | Highest |" in card) is several
    for words in ("Not for diagnosis", "never a patient", "## Intended use", "## Performance"):
        assert words in card
    assert "\n\n\n" not in card


def test_each_repeat_has_a_curve_with_its_own_area(repeated: Written) -> None:
    """The areas drawn are those of per_repeat, and the dots lie at its sensitivities."""
    tests = material(repeated.facts, repeated.rows).tests
    per_repeat = repeated.facts["per_repeat"]
    for chart, name in ((roc_chart, "roc_auc"), (pr_chart, "pr_auc")):
        drawn = chart(tests, "one repeat", "its verdicts")
        curves = [line for line in drawn.lines if line.kind == "curve"]
        areas = [area_under(line.points) for line in curves]
        assert areas == pytest.approx([one[name]["value"] for one in per_repeat], abs=3e-3)
    dots = roc_chart(tests, "one repeat", "its verdicts").dots
    found = [one["sensitivity"]["value"] for one in per_repeat]
    assert [(252 - dot.y) / 240 for dot in dots] == pytest.approx(found, abs=1e-3)


def area_under(points: str) -> float:
    """Between a line and the lower axis, the field being 296 x 240 units from (54, 252)."""
    xy = np.array([[float(v) for v in point.split(",")] for point in points.split()])
    x, y = (xy[:, 0] - 54) / 296, (252 - xy[:, 1]) / 240
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def test_the_pictures_are_those_of_a_run(written: Written, run_folder: Path) -> None:
    """Confusion, ROC and losses under the same names; no word is cut off at an edge."""
    pictures = sorted(written.folder.glob("*.png"))
    runs = sorted((run_folder / "evaluation").glob("*.png"))
    assert [path.name for path in pictures] == [path.name for path in runs]
    for path in pictures:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels[:, [0, 1, -2, -1]].min() == 255, path.name


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
    judged = [
        ("a", 1, 0.9),
        ("a", 2, 0.4),
        ("b", 1, 0.55),
        ("b", 2, 0.6),
        ("c", 1, 0.7),
        ("d", 1, 0.1),
    ]
    rows = [HeldOut(repeat, 1, name, name, name, 0, p, 0.5) for name, repeat, p in judged]
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
