"""The report page and the model card: every number is that of metrics.json, nothing is external."""

import base64
import csv
import io
import json
import re
import shutil
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ARCH
from pages import Page, called_in, check_marks, check_page, metric_fields, shows
from PIL import Image

from alld.evaluation.crossval.folds import read_plan, read_rows
from alld.evaluation.crossval.pool import pool
from alld.evaluation.out_of_fold import HeldOut, missed_images
from alld.evaluation.write import material_of, write_result
from alld.report.facts import Fact, as_html, as_markdown, as_text, show
from alld.report.material import Material
from alld.report.page import render_card, render_page
from alld.report.sentences import say, sentences
from alld.stats.confusion import Confusion
from alld.stats.metrics import Metric, accuracy

Facts = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What an evaluation wrote, and the rows that its report can be made from again."""

    folder: Path
    rows: list[HeldOut]

    @property
    def facts(self) -> Facts:
        facts: Facts = json.loads((self.folder / "metrics.json").read_text())
        return facts

    @property
    def page(self) -> Page:
        return Page((self.folder / "report.html").read_text())

    @property
    def card(self) -> str:
        return (self.folder / "model_card.md").read_text()

    @property
    def numbers(self) -> Facts:
        """The facts of which the page shows numbers."""
        if "plan" in self.facts:
            return self.facts
        return {**self.facts, "predictions": [vars(row) for row in self.rows]}

    def material(self, facts: Facts, root: Path = Path()) -> Material:
        return material_of(facts, self.rows, [], root)

    def rendered(self, facts: Facts, root: Path = Path()) -> Page:
        return Page(render_page(self.material(facts, root)))

    def all_wrong(self) -> tuple["Result", Facts]:
        """The same with labels that contradict every verdict (of the first repeat)."""
        facts = self.facts
        label = {row.path: 1 - row.verdict for row in self.rows if row.repeat == 1}
        rows = [replace(row, label=label[row.path]) for row in self.rows]
        facts["wrong"] = sum(row.verdict != row.label for row in rows)
        if "plan" in facts:
            facts["missed"] = [vars(one) for one in missed_images(rows)]
            facts["missed_images"] = len(facts["missed"])
        return replace(self, rows=rows), facts


@pytest.fixture(scope="module")
def run(run_folder: Path) -> Result:
    """A held-out test of eight images."""
    with (run_folder / "evaluation" / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    rows = [
        HeldOut(1, 1, row["path"], row["sha256"], "", int(row["label"] == "blast"),
                float(row["probability"]), float(row["threshold"]))
        for row in table
    ]  # fmt: skip
    return Result(run_folder / "evaluation", rows)


@pytest.fixture(scope="module")
def repeated(validated: Path) -> Result:
    """Two folds, twice."""
    return Result(validated / "evaluation", read_rows(read_plan(validated)))


@pytest.fixture(scope="module")
def once(validated: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The first repeat alone: its two folds, pooled as if they were all of the plan."""
    folder = tmp_path_factory.mktemp("once") / "evaluation"
    result = replace(pool(replace(read_plan(validated), repeats=1)), folder=folder)
    write_result(result)
    return Result(folder, list(result.rows))


@pytest.fixture(params=["run", "once", "repeated"])
def result(request: pytest.FixtureRequest) -> Result:
    """Each kind: a run, one repeat that counts images, and two that count predictions."""
    found: Result = request.getfixturevalue(request.param)
    return found


def verdict_of(page: Page) -> str:
    return page.text[: page.text.index("All counts are of cell images")]


def test_the_page_shows_the_numbers_of_the_file_and_is_self_contained(result: Result) -> None:
    """Each number is marked with its field and rounded from it; no host, no script, no loose digit.

    Drawn images are called SYNTHETIC in title, banner and source; the notice is at both ends.
    """
    check_page(result.page, result.numbers)
    check_marks(result.page)


def test_every_number_of_the_file_is_in_the_page(result: Result) -> None:
    """Metrics with both spreads, each fold, confusion, bins, background, plan and hashes."""
    facts = result.facts
    wanted = {f"confusion.{name}" for name in facts["confusion"]}
    wanted |= {"background.value", "data.fingerprint"}
    for name, metric in facts["metrics"].items():
        wanted |= metric_fields(name, metric)
    for number, point in enumerate(facts["reliability"]):
        wanted |= {f"reliability.{number}.{key}" for key in point}
    if "plan" in facts:
        wanted |= {"plan.folds", "plan.repeats", "plan.runs"}
    else:
        wanted |= {"data.split_sha256", "model.identity", "model.threshold"}
    for name, spread in facts.get("training_spread", {}).items():
        keys = ("sd", "low", "high") if spread["sd"] is not None else ()
        wanted |= {f"training_spread.{name}.{key}" for key in keys}
    for number in range(len(facts.get("folds", ()))):
        wanted |= {f"folds.{number}.{key}" for key in ("repeat", "fold", "threshold")}
        wanted |= {f"folds.{number}.{key}.k" for key in ("accuracy", "sensitivity", "specificity")}
        wanted |= {f"folds.{number}.roc_auc.value"}
    assert wanted <= {marked.field for marked in result.page.marked}


def test_a_wrong_number_would_be_seen(run: Result) -> None:
    """The reading above fails on another value, and on a text rounded from another one."""
    value = run.facts["metrics"]["accuracy"]["value"]
    text = next(m.text for m in run.page.marked if m.field == "metrics.accuracy.value")
    assert shows(text, value)
    assert not shows(text, value - 0.002)
    assert not shows("0.500", 0.6)


def test_the_card_holds_the_same_facts(result: Result) -> None:
    """Every metric and its method as the page shows it, the intended use, SYNTHETIC, the notice."""
    card = result.card
    for marked in result.page.marked:
        if marked.field.startswith("metrics.") and marked.field.endswith((".value", ".method")):
            assert marked.text in card, marked
    several = result.facts.get("plan", {}).get("repeats", 1) > 1
    assert ("| Metric | Standard deviation | Lowest | Highest |" in card) is several
    assert card.startswith(f"# Model card: SYNTHETIC: {ARCH}, grouped")
    for words in ("Not for diagnosis", "never a patient", "## Intended use", "## Performance"):
        assert words in card
    assert card.count("Not a medical device") == 2
    assert "\n\n\n" not in card


def test_a_page_on_photographs_says_what_all_idb2_cannot_answer(result: Result) -> None:
    """No patients, no second reading, no other laboratory; and SYNTHETIC nowhere."""
    facts = result.facts
    real = {**facts, "synthetic": False, "data": {**facts["data"], "synthetic": False}}
    text = result.rendered(real).text
    assert "SYNTHETIC" not in text
    assert text.count("ALL-IDB2 cannot answer") == 5
    for words in ("no patient ids", "No reader study", "No external test", "One laboratory"):
        assert words in text


def test_leaking_groups_and_random_weights_are_limitations(result: Result) -> None:
    """What makes a number look better is said above it, and the support it takes away is gone."""
    facts = result.facts
    crossval = "plan" in facts
    facts["data"]["leaking_groups"] = 3
    facts["plan" if crossval else "data"]["split"] = "random"
    facts["model"].update(initial_weights="random", threshold_warning="few", threshold_warnings=2)
    verdict = verdict_of(result.rendered(facts))
    where = "tested in more than one fold of" if crossval else "on both sides of"
    for words in (
        "3 groups of images of the same cell or of overlapping crops",
        f" are {where} this random split",
        "not the transfer learning of the paper",
        f"in 2 of {facts['plan']['runs']} folds: few." if crossval else "About the threshold: few.",
    ):
        assert words in verdict
    assert "No group is" not in verdict


@pytest.mark.parametrize(
    ("low", "words"),
    [
        (0.84, "alone predicts the class"),
        (0.45, "is not shown to predict the class better than chance"),
    ],
)
def test_the_background_is_part_of_the_verdict(run: Result, low: float, words: str) -> None:
    """Above chance it is a limitation, at chance a support, each with its interval."""
    background = Metric(0.89, None, 260, low, 0.92, "group bootstrap").as_dict()
    verdict = verdict_of(run.rendered({**run.facts, "background": background}))
    assert words in verdict
    assert f"ROC AUC 0.890 ({low:.3f} to 0.920)" in verdict


@pytest.mark.parametrize(("right", "said"), [(4, True), (7, False)])
def test_a_change_that_chance_does_not_explain_is_a_limitation(
    run: Result, right: int, said: bool
) -> None:
    """Half of the images under the worst change is said; what chance explains is not."""
    facts = run.facts
    facts["metrics"]["accuracy"] = same = accuracy(Confusion(50, 0, 50, 0)).as_dict()
    rates = {name: facts["metrics"][name] for name in ("sensitivity", "specificity")}
    worst = accuracy(Confusion(right, 8 - right, 0, 0)).as_dict()
    facts["robustness"] = [
        {"change": "none", "level": "", "accuracy": same, "flipped": 0, **rates},
        {"change": "blur", "level": "2 px", "accuracy": worst, "flipped": 0, **rates},
    ]
    sentence = f"after blur 2 px, {right} of 8 images are classified correctly"
    assert (sentence in verdict_of(run.rendered(facts))) is said


@pytest.mark.parametrize("name", ["run", "repeated"])
def test_an_undefined_metric_is_its_reason_and_never_0(
    request: pytest.FixtureRequest, name: str
) -> None:
    """Healthy cells only, and no interval: reasons in verdict, tables and folds, no curves."""
    result: Result = request.getfixturevalue(name)
    facts, n = result.facts, len(result.facts["folds"]) if name == "repeated" else 0
    reason = "none of the images is a blast"
    for metric in ("sensitivity", "roc_auc", "pr_auc"):
        facts["metrics"][metric] = Metric(None, None, 8, None, None, None, reason).as_dict()
        facts.get("training_spread", {}).get(metric, {}).update(sd=None, reason="undefined")
    if n:
        facts["folds"][0] |= {m: facts["metrics"][m] for m in ("sensitivity", "roc_auc")}
    else:
        facts["grouped_metrics"]["sensitivity"] = facts["metrics"]["sensitivity"]
    narrow = Metric(1.0, None, 40, None, None, None, "no interval: one group only")
    facts["metrics"]["accuracy"] = narrow.as_dict()
    result = replace(result, rows=[replace(row, label=0) for row in result.rows])
    page = result.rendered(facts)
    fields = {marked.field for marked in page.marked}
    assert not {"metrics.sensitivity.value", "metrics.roc_auc.value"} & fields
    # In the verdict and three times in the table; the fold's two.
    assert page.text.count(f"undefined: {reason}") == 4 + (2 if n else 0)
    assert page.text.count("Not drawn: one class only") == 2
    assert "no interval: one group only" in verdict_of(page)
    assert "is compatible with any accuracy" not in verdict_of(page)
    assert f"| Sensitivity | undefined: {reason} |" in render_card(result.material(facts))


def test_predictions_are_never_called_images(repeated: Result, once: Result) -> None:
    """Of several repeats every pooled count says what it counts; of one there is no such word."""
    told, text = "80 predictions, 2 of each image", repeated.page.text
    assert f"the misclassified images count {told}" in verdict_of(repeated.page)
    assert f"class predicted by the model of the fold; {told}" in text
    assert "Predictions by P(blast)" in text
    assert f"{repeated.facts['wrong']} of 80 predictions, on " in text
    assert "larger dot stands for more predictions" in text
    assert not re.search(r"\d predictions|Predictions by|more predictions", once.page.text)


def test_a_crossval_validates_a_recipe_and_tells_both_spreads(
    repeated: Result, once: Result
) -> None:
    """Page and card give the number of models; one repeat does not show the training spread."""
    for result in (repeated, once):
        runs = result.facts["plan"]["runs"]
        assert runs == 2 * result.facts["plan"]["repeats"]
        for text in (verdict_of(result.page), result.card):
            assert f"validates a recipe, not one model: {runs} models were trained" in text
        assert "**nor their mean**" in result.card
        assert f"Identity of the mean `{result.facts['model']['identity']}`" in result.card
        assert "never a patient: 20 blast, 20 healthy" in verdict_of(result.page)
    assert "gave accuracies from" in verdict_of(repeated.page)
    assert "One repeat does not show" not in verdict_of(repeated.page)
    assert "One repeat does not show" in verdict_of(once.page)


def test_thresholds_that_differ_are_told_as_a_range(repeated: Result) -> None:
    """Each fold has its own; no single one is called that of the model."""
    facts = repeated.facts
    facts["model"]["threshold"] = {"low": 0.25, "high": 0.75}
    assert repeated.rendered(facts).text.count("the threshold of its fold (0.25 to 0.75)") == 2
    assert "the threshold of its fold (0.5)" in repeated.page.text


def test_the_pictures_are_those_of_the_wrong_predictions(run: Result) -> None:
    """Each image that was misclassified once, the surest first, its own pixels made small."""
    result, facts = run.all_wrong()
    page = result.rendered(facts)
    surest = sorted(run.rows, key=lambda p: -abs(p.probability - p.threshold))
    assert page.files == [Path(prediction.path).name for prediction in surest]
    sources = page.values("src", "img")
    assert len(sources) == len(run.rows) == 8
    for source, prediction in zip(sources, surest, strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))
        original = Image.open(prediction.path).convert("RGB")
        original.thumbnail((144, 144), Image.Resampling.LANCZOS)
        assert np.array_equal(np.asarray(shown), np.asarray(original))
    assert all(alt.startswith("Cell labelled ") for alt in page.values("alt", "img"))


def test_an_image_that_several_repeats_misclassify_is_shown_once(
    repeated: Result, drawn_set: Path
) -> None:
    """All 40 are wrong: the first 24 have one picture each, which says in how many repeats."""
    result, facts = repeated.all_wrong()
    times = Counter(row.path for row in result.rows if row.verdict != row.label)
    page = result.rendered(facts, drawn_set)
    assert page.files == [one["path"] for one in facts["missed"]][:24]
    assert len(set(page.files)) == len(page.values("src", "img")) == 24
    assert "on 40 of 40 images" in page.text
    assert "the first 24 are shown, and predictions.csv lists all" in page.text
    shown = [marked.text for marked in page.marked if marked.field.endswith(".times")]
    assert shown == [str(times[name]) for name in page.files]
    assert shown == sorted(shown, reverse=True)
    assert "in 2 of 2 repeats" in page.text
    check_page(page, facts)


def test_the_page_shows_its_own_mistakes(result: Result) -> None:
    """The files in the gallery are the rows whose class is not the label, readable again."""
    with (result.folder / "predictions.csv").open(newline="") as file:
        wrong = {Path(r["path"]).name for r in csv.DictReader(file) if called_in(r) != r["label"]}
    page = result.page
    assert set(page.files) <= wrong
    assert len(page.files) == len(page.values("src", "img")) == min(len(wrong), 24)


def test_an_image_that_changed_is_said_and_not_shown(run: Result, tmp_path: Path) -> None:
    """Missing or changed since the test: its place says so, and the others are shown."""
    rows = list(run.rows)
    shutil.copy(rows[1].path, tmp_path / "cell.tif")
    rows[0] = replace(rows[0], path=str(tmp_path / "cell.tif"))
    rows[1] = replace(rows[1], path=str(tmp_path / "gone.tif"))
    result, facts = replace(run, rows=rows).all_wrong()
    page = result.rendered(facts)
    assert len(page.values("src", "img")) == 6
    assert page.text.count("This image cannot be read again: changed since it was classified") == 1
    assert page.text.count("This image cannot be read again: no file has that name") == 1
    assert str(tmp_path) not in page.html


HOSTILE = "<img src=x onerror=alert(1)>&\"'\u202e.tif"


@pytest.mark.parametrize("name", ["run", "repeated"])
def test_texts_from_outside_stay_text(
    request: pytest.FixtureRequest, name: str, tmp_path: Path
) -> None:
    """Markup in the name of a file, of groups or of a network is shown and does nothing."""
    result, facts = request.getfixturevalue(name).all_wrong()
    path = result.rows[0].path
    hostile = str(tmp_path / HOSTILE) if name == "run" else HOSTILE
    rows = [replace(row, path=hostile) if row.path == path else row for row in result.rows]
    facts = deepcopy(facts)
    for one in facts.get("missed", ()):
        one["path"] = HOSTILE if one["path"] == path else one["path"]
    facts["title"] = facts["model"]["arch"] = f"</title>{HOSTILE}"
    facts["data"]["groups"] = facts["data"]["groups_source"] = facts["title"]
    result = replace(result, rows=rows)
    page = result.rendered(facts, tmp_path)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert all(source.startswith("data:") for source in page.values("src"))
    assert "<img src=x" not in page.html
    assert str(tmp_path) not in page.html
    assert name == "repeated" or HOSTILE.replace("\u202e", "\\u202e") in page.files
    assert not re.search(r"(?<!\\)<img", render_card(result.material(facts)))


def test_equal_file_names_are_told_apart_by_their_folder(run: Result) -> None:
    """blast/000.tif and healthy/000.tif are two images."""
    names = ["set/blast/000.tif", "set/healthy/000.tif", "set/blast/001.tif"]
    rows = [replace(row, path=name) for row, name in zip(run.rows, names, strict=False)]
    result, facts = replace(run, rows=rows).all_wrong()
    page = result.rendered(facts)
    assert set(page.files) == {"blast/000.tif", "healthy/000.tif", "001.tif"}


def test_no_word_of_a_picture_is_cut_off(result: Result) -> None:
    """Confusion, ROC and losses under the same names; their margins are white."""
    pictures = sorted(result.folder.glob("*.png"))
    assert [path.name for path in pictures] == ["confusion.png", "loss.png", "roc.png"]
    for path in pictures:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert pixels[:, [0, 1, -2, -1]].min() == 255, path.name


def test_a_fact_is_written_with_its_path_and_escaped() -> None:
    """Plain, as Markdown and as HTML; null is undefined; a missing key is an error."""
    facts = {"k": 3, "share": 0.123456, "names": ["<b>|"], "none": None}
    text, markdown, html = (Fact(facts, form, "a") for form in (as_text, as_markdown, as_html))
    assert f"{text['k']}: {show(text['share'], 'percent')} of {text['names'][0]}" == (
        "3: 12.3 % of <b>|"
    )
    assert str(markdown["names"][0]) == r"\<b\>\|"
    assert str(html["names"][0]) == '<span data-field="a.names.0">&lt;b&gt;|</span>'
    assert show(html["share"], "percent") == (
        '<span data-field="a.share" data-value="0.123456">12.3 %</span>'
    )
    assert show(text["none"], "score") == "undefined"
    with pytest.raises(KeyError, match="b"):
        text["b"]


def test_a_sentence_is_the_same_as_text_and_as_html(result: Result) -> None:
    """The terminal says what the page says, word for word."""
    assert say("headline", result.facts) in result.page.text
    for name in ("supports.j2", "limits.j2"):
        for sentence in sentences(name, result.facts):
            assert sentence in verdict_of(result.page)
