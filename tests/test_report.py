"""The report page: every number is that of metrics.json, and nothing in it comes from elsewhere."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Sequence
from copy import deepcopy
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
    shows,
)
from PIL import Image

from alld.evaluation.out_of_fold import HeldOut
from alld.evaluation.write import material_of
from alld.inference.prediction import Prediction
from alld.report.facts import as_html, as_markdown, as_text, look_up
from alld.report.material import Material
from alld.report.page import render_card, render_page
from alld.stats.metrics import Confusion, Metric, accuracy

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def facts(run_folder: Path) -> Facts:
    return json.loads((run_folder / "evaluation" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def rows(run_folder: Path) -> list[dict[str, Any]]:
    with (run_folder / "evaluation" / "predictions.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    return [{**row, "probability": float(row["probability"])} for row in rows]


@pytest.fixture(scope="module")
def page(run_folder: Path) -> Page:
    return Page((run_folder / "evaluation" / "report.html").read_text())


@pytest.fixture(scope="module")
def predictions(rows: Sequence[dict[str, Any]]) -> list[Prediction]:
    return [
        Prediction(
            path=row["path"],
            sha256=row["sha256"],
            verdict=row["verdict"],
            probability=row["probability"],
            threshold=float(row["threshold"]),
            model=row["model"],
        )
        for row in rows
    ]


def all_wrong(facts: Facts, predictions: Sequence[Prediction]) -> tuple[Facts, list[int]]:
    """Facts and labels that contradict every verdict."""
    labels = [0 if prediction.call == "blast" else 1 for prediction in predictions]
    return {**facts, "wrong": len(labels)}, labels


def material(facts: Facts, predictions: Sequence[Prediction], labels: Sequence[int]) -> Material:
    pairs = zip(predictions, labels, strict=True)
    rows = [
        HeldOut(1, 1, p.path, str(p.sha256), "", label, p.probability or 0, p.threshold)
        for p, label in pairs
    ]
    return material_of(facts, rows, [[]])


def rendered(facts: Facts, predictions: Sequence[Prediction], labels: Sequence[int]) -> Page:
    return Page(render_page(material(facts, predictions, labels)))


def test_every_number_of_the_page_is_that_of_the_file(
    page: Page, facts: Facts, rows: list[dict[str, Any]]
) -> None:
    """Each marked element holds the full value of its field, and shows it, rounded at most."""
    check_numbers(page, {**facts, "predictions": rows})


def test_no_number_stands_in_the_page_unmarked(page: Page) -> None:
    """Outside marked elements there is no digit but those of a few constant words."""
    check_nothing_loose(page)


def test_every_metric_of_the_file_is_in_the_page(page: Page, facts: Facts) -> None:
    """Value, interval and counts of all metrics, the confusion, the bins and the background."""
    wanted = {f"confusion.{name}" for name in facts["confusion"]} | {"background.value"}
    for name, metric in facts["metrics"].items():
        wanted |= metric_fields(name, metric)
    for number, point in enumerate(facts["reliability"]):
        wanted |= {f"reliability.{number}.{key}" for key in point}
    wanted |= {"data.fingerprint", "data.split_sha256", "model.identity", "model.threshold"}
    assert wanted <= {marked.field for marked in page.marked}


def test_a_wrong_number_would_be_seen(facts: Facts, page: Page) -> None:
    """The reading above fails on another value, and on a text rounded from another one."""
    value = facts["metrics"]["accuracy"]["value"]
    text = next(m.text for m in page.marked if m.field == "metrics.accuracy.value")
    assert shows(text, value)
    assert not shows(text, value - 0.002)
    assert not shows("0.500", 0.6)


def test_the_page_needs_no_other_host_and_no_script(page: Page) -> None:
    """Links lead into the page, pictures are in it, and its policy forbids the rest."""
    check_self_contained(page)


def test_drawn_images_and_the_notice_are_told(page: Page) -> None:
    """SYNTHETIC in title, banner and source; no medical device, at both ends."""
    check_marks(page)


def test_a_page_on_photographs_says_what_all_idb2_cannot_answer(
    facts: Facts, predictions: list[Prediction]
) -> None:
    """No patients, no second reading, no other laboratory; and SYNTHETIC nowhere."""
    real = {**facts, "synthetic": False}
    text = rendered(real, predictions, all_wrong(real, predictions)[1]).text
    assert "SYNTHETIC" not in text
    assert text.count("ALL-IDB2 cannot answer") == 5
    for words in ("no patient ids", "No reader study", "No external test", "One laboratory"):
        assert words in text


def test_leaking_groups_and_random_weights_stand_in_the_verdict(
    facts: Facts, predictions: list[Prediction]
) -> None:
    """What flatters a number is said above it, not in a footnote."""
    leaking = deepcopy(facts)
    leaking["data"].update(leaking_groups=3, split="random")
    leaking["model"]["initial_weights"] = "random"
    page = rendered(leaking, predictions, all_wrong(leaking, predictions)[1])
    verdict = page.text[: page.text.index("Every number counts")]
    for words in ("3 groups of same cells", "random split, which flatters", "not the paper's"):
        assert words in verdict
    assert "None of the groups lies on both sides" not in verdict


@pytest.mark.parametrize(
    ("low", "words"),
    [(0.84, "predicts the label"), (0.45, "shows nothing of the class")],
)
def test_the_background_is_part_of_the_verdict(
    facts: Facts, predictions: list[Prediction], low: float, words: str
) -> None:
    """Above chance it is a warning, at chance a support, each with its interval."""
    background = Metric(0.89, None, 260, low, 0.92, "group bootstrap").as_dict()
    judged = {**facts, "background": background}
    page = rendered(judged, predictions, all_wrong(facts, predictions)[1])
    verdict = page.text[: page.text.index("Every number counts")]
    assert f"{words}" in verdict
    assert f"ROC AUC 0.890 ({low:.3f} to 0.920)" in verdict


@pytest.mark.parametrize(("right", "said"), [(4, True), (7, False)])
def test_a_change_that_breaks_the_model_is_part_of_the_verdict(
    facts: Facts, predictions: list[Prediction], right: int, said: bool
) -> None:
    """Half of the images under the worst change is said; what chance explains is not."""
    shaken = deepcopy(facts)
    shaken["metrics"]["accuracy"] = accuracy(Confusion(50, 0, 50, 0)).as_dict()
    rates = {"sensitivity": shaken["metrics"]["sensitivity"], "flipped": 0}
    rates["specificity"] = shaken["metrics"]["specificity"]
    worst = accuracy(Confusion(right, 8 - right, 0, 0)).as_dict()
    same = shaken["metrics"]["accuracy"]
    shaken["robustness"] = [
        {"change": "none", "level": "", "accuracy": same, **rates},
        {"change": "blur", "level": "2 px", "accuracy": worst, **rates},
    ]
    page = rendered(shaken, predictions, all_wrong(facts, predictions)[1])
    sentence = f"blur 2 px leaves {right} of 8 images judged as labelled"
    assert (sentence in page.text) is said


def test_an_undefined_metric_is_its_reason_and_never_0(
    facts: Facts, predictions: list[Prediction]
) -> None:
    """Healthy cells only: no sensitivity and no curves, and the page says why."""
    alone = deepcopy(facts)
    reason = "none of the 8 images is a blast"
    for name in ("sensitivity", "roc_auc", "pr_auc"):
        alone["metrics"][name] = Metric(None, None, 8, None, None, None, reason).as_dict()
    alone["grouped_metrics"]["sensitivity"] = alone["metrics"]["sensitivity"]
    page = rendered(alone, predictions, [0] * len(predictions))
    fields = {marked.field for marked in page.marked}
    assert "metrics.sensitivity.reason" in fields
    assert not {"metrics.sensitivity.value", "metrics.roc_auc.value"} & fields
    assert (
        page.text.count(f"undefined: {reason}") == 4
    )  # in the verdict and three times in the table
    assert page.text.count("Not drawn: one class only") == 2
    card = render_card(material(alone, predictions, [0] * len(predictions)))
    assert f"| Sensitivity | undefined: {reason} |" in card


def test_the_pictures_are_those_of_the_wrong_predictions(
    run_folder: Path, facts: Facts, predictions: list[Prediction]
) -> None:
    """Each image that was misjudged once, the surest first, its own pixels made small."""
    wrong, labels = all_wrong(facts, predictions)
    page = rendered(wrong, predictions, labels)
    surest = sorted(predictions, key=lambda p: -abs((p.probability or 0) - p.threshold))
    assert page.files == [Path(prediction.path).name for prediction in surest]
    sources = page.values("src", "img")
    assert len(sources) == len(predictions) == 8
    for source, prediction in zip(sources, surest, strict=True):
        shown = Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))
        original = Image.open(prediction.path).convert("RGB")
        original.thumbnail((144, 144), Image.Resampling.LANCZOS)
        assert np.array_equal(np.asarray(shown), np.asarray(original))
    assert all(alt.startswith("Cell labelled ") for alt in page.values("alt", "img"))


def test_the_evaluation_shows_its_own_mistakes(page: Page, run_folder: Path) -> None:
    """The files in the gallery are the rows called what they are not."""
    with (run_folder / "evaluation" / "predictions.csv").open(newline="") as file:
        wrong = {Path(r["path"]).name for r in csv.DictReader(file) if called_in(r) != r["label"]}
    assert set(page.files) == wrong
    assert len(page.files) == len(wrong)


def test_many_mistakes_are_counted_and_not_all_shown(
    facts: Facts, predictions: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page stays small: it says how many there are, and where all of them are listed."""
    monkeypatch.setattr("alld.report.page.MOST_MISTAKES", 3)
    wrong, labels = all_wrong(facts, predictions)
    page = rendered(wrong, predictions, labels)
    assert len(page.files) == 3
    assert "Verdicts that are not the label: 8 of 8" in page.text
    assert "the first 3 are shown, and predictions.csv has all" in page.text


def test_an_image_that_changed_is_said_and_not_shown(
    facts: Facts, predictions: list[Prediction], tmp_path: Path
) -> None:
    """Missing or changed since it was judged: its place says so, and the others are shown."""
    changed = [Prediction(**vars(prediction)) for prediction in predictions]
    copy = tmp_path / "cell.tif"
    shutil.copy(predictions[1].path, copy)
    changed[0] = Prediction(**{**vars(changed[0]), "path": str(copy)})
    changed[1] = Prediction(**{**vars(changed[1]), "path": str(tmp_path / "gone.tif")})
    wrong, labels = all_wrong(facts, changed)
    page = rendered(wrong, changed, labels)
    assert len(page.values("src", "img")) == 6
    assert page.text.count("This image cannot be read again: changed since it was judged") == 1
    assert page.text.count("This image cannot be read again: no file is called so") == 1
    assert str(tmp_path) not in page.html


HOSTILE = "<img src=x onerror=alert(1)>&\"'\u202e.tif"


def test_texts_from_outside_stay_text(
    facts: Facts, predictions: list[Prediction], tmp_path: Path
) -> None:
    """Markup in the name of a file, a groups table or a model is shown and does nothing."""
    file = tmp_path / HOSTILE
    try:
        shutil.copy(predictions[0].path, file)
    except OSError:
        pytest.skip("this file system has no such names")
    named = [Prediction(**{**vars(predictions[0]), "path": str(file)}), *predictions[1:]]
    wrong, labels = all_wrong(deepcopy(facts), named)
    wrong["title"] = wrong["data"]["groups"] = wrong["model"]["arch"] = f"</title>{HOSTILE}"
    page = rendered(wrong, named, labels)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert len(page.values("src")) == len(page.values("src", "img")) == 8
    assert "<img src=x" not in page.html
    assert HOSTILE.replace("\u202e", "\\u202e") in page.files
    card = render_card(material(wrong, named, labels))
    assert not re.search(r"(?<!\\)<img", card)


def test_equal_file_names_are_told_apart_by_their_folder(
    facts: Facts, predictions: list[Prediction]
) -> None:
    """blast/000.tif and healthy/000.tif are two images."""
    names = ["set/blast/000.tif", "set/healthy/000.tif", "set/blast/001.tif"]
    named = [
        Prediction(**{**vars(prediction), "path": name})
        for prediction, name in zip(predictions, names, strict=False)
    ]
    wrong, labels = all_wrong(facts, named)
    page = rendered(wrong, named, labels)
    assert set(page.files) == {"blast/000.tif", "healthy/000.tif", "001.tif"}


def test_the_model_card_holds_the_same_facts(run_folder: Path, page: Page) -> None:
    """Every metric as the page shows it, the intended use, and what the numbers are not."""
    card = (run_folder / "evaluation" / "model_card.md").read_text()
    for marked in page.marked:
        if marked.field.startswith("metrics.") and marked.field.endswith((".value", ".method")):
            assert marked.text in card, marked
    for words in ("Not for diagnosis", "SYNTHETIC", "never a patient", "## Intended use"):
        assert words in card
    assert card.count("Not a medical device") == 2
    assert "\n\n\n" not in card


def test_a_sentence_looks_its_numbers_up() -> None:
    """Plain, as Markdown and as HTML; what is not there is a mistake, not an empty place."""
    facts = {"a": {"k": 3, "share": 0.123456}, "names": ["<b>|", "x"], "none": None}
    sentence = "{a.k} < 5: {a.share:percent} of {names.0}"
    assert as_text(sentence, facts) == "3 < 5: 12.3 % of <b>|"
    assert as_markdown(sentence, facts) == r"3 < 5: 12.3 % of \<b\>\|"
    assert as_html(sentence, facts) == (
        '<span data-field="a.k">3</span> &lt; 5: '
        '<span data-field="a.share" data-value="0.123456">12.3 %</span> of '
        '<span data-field="names.0">&lt;b&gt;|</span>'
    )
    assert as_text("{none:score}", facts) == "undefined"
    with pytest.raises(KeyError, match="b"):
        look_up(facts, "a.b")
