"""Heat maps in an evaluation: measured, written, shown, left out when asked, pooled over folds."""

import base64
import io
import json
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import Page, called_in, check_marks, check_page
from PIL import Image
from trainings import with_settings

from alld.cli import run_command
from alld.evaluation.crossval.folds import read_plan
from alld.evaluation.crossval.pool import pool
from alld.evaluation.explanation import read_checked, summarise
from alld.evaluation.holdout import evaluate
from alld.inference.heat_map import heat_map, overlaid
from alld.inference.predictor import Predictor
from alld.report.sentences import caveats, supports
from alld.runtime.reading import read_csv
from alld.training.train import train

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def explained(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose last features have three places a side, evaluated. Read only."""
    config = with_settings(drawn_set, data__image_size=96, train__frozen_epochs=1, train__epochs=0)
    run = train(config, tmp_path_factory.mktemp("explained") / "run")
    evaluate(run.folder)
    return run.folder


@pytest.fixture(scope="module")
def facts(explained: Path) -> Facts:
    facts: Facts = json.loads((explained / "evaluation" / "metrics.json").read_text())
    return facts


@pytest.fixture(scope="module")
def page(explained: Path) -> Page:
    return Page((explained / "evaluation" / "report.html").read_text())


def rows_of(run: Path) -> list[dict[str, Any]]:
    rows: list[Any] = read_csv(run / "evaluation" / "predictions.csv")
    return [{**row, "probability": float(row["probability"])} for row in rows]


def test_every_test_image_is_explained(explained: Path, facts: Facts) -> None:
    """A row each in heat_maps.csv, and the means of metrics.json follow from these rows."""
    checked = read_checked(explained / "evaluation")
    assert [one.path for one in checked] == [row["path"] for row in rows_of(explained)]
    assert [one.verdict for one in checked] == [called_in(row) for row in rows_of(explained)]
    for measure in ("outside", "fall", "elsewhere", "other_background"):
        values = [getattr(one, measure) for one in checked]
        known = [value for value in values if value is not None]
        found = facts["heat_maps"]["verdicts"]["all"][measure]
        assert found["n"] == len(known)
        assert found["value"] == (pytest.approx(np.mean(known)) if known else None)


def test_the_page_shows_every_number_of_it(page: Page, facts: Facts, explained: Path) -> None:
    """Each as in metrics.json, none unmarked, nothing from elsewhere, SYNTHETIC."""
    check_page(page, {**facts, "predictions": rows_of(explained)})
    check_marks(page)
    shown = {marked.field for marked in page.marked}
    for verdict, measures in facts["heat_maps"]["verdicts"].items():
        for measure, metric in measures.items():
            key = "reason" if metric["value"] is None else "value"
            assert f"heat_maps.verdicts.{verdict}.{measure}.{key}" in shown


def test_the_pictures_are_the_images_beside_their_maps(page: Page, explained: Path) -> None:
    """One for each of the eight, wrong verdicts first: left the picture, right the overlay."""
    rows = rows_of(explained)
    wrong = sum(called_in(row) != row["label"] for row in rows)
    sources = page.values("src", "img")[wrong:]
    names = page.files[wrong:]
    assert len(sources) == len(names) == len(rows)
    assert set(names[:wrong]) == set(page.files[:wrong])
    paths = {Path(row["path"]).name: row["path"] for row in rows}
    predictor = Predictor.load(explained, "cpu")
    for source, name in zip(sources[:3], names, strict=False):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))
        with Image.open(paths[name]) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert shown.shape == (144, 288, 3)
        small = np.asarray(Image.fromarray(pixels).resize((144, 144), Image.Resampling.BILINEAR))
        assert np.array_equal(shown[:, :144], small)
        drawn = overlaid(small, heat_map(predictor, pixels)).astype(int)
        assert np.abs(drawn - shown[:, 144:]).mean() < 6


def test_at_one_place_the_reason_is_given(run_folder: Path, validated: Path) -> None:
    """32 px: no maps, no table, no file; the evaluation is whole, and so is that of folds."""
    facts = json.loads((run_folder / "evaluation" / "metrics.json").read_text())
    assert list(facts["heat_maps"]) == ["reason"]
    assert "1 x 1 cells" in facts["heat_maps"]["reason"]
    page = Page((run_folder / "evaluation" / "report.html").read_text())
    assert f"Not measured: {facts['heat_maps']['reason']}." in page.text
    assert "Does the model use the cell" not in page.text
    assert not (run_folder / "evaluation" / "heat_maps.csv").exists()
    pooled = json.loads((validated / "evaluation" / "metrics.json").read_text())["heat_maps"]
    assert "1 x 1 cells" in pooled["reason"]


def test_they_can_be_left_out(explained: Path, tmp_path: Path) -> None:
    """--no-heat-maps: nothing measured, and the page says so; the other numbers are the same."""
    copy = tmp_path / "run"
    shutil.copytree(explained, copy)
    assert run_command(["evaluate", str(copy), "--no-heat-maps"]) == 0
    facts = json.loads((copy / "evaluation" / "metrics.json").read_text())
    before = json.loads((explained / "evaluation" / "metrics.json").read_text())
    assert facts["heat_maps"] == {"reason": "left out of this evaluation (--no-heat-maps)"}
    assert facts["metrics"] == before["metrics"]
    assert "--no-heat-maps" in (copy / "evaluation" / "report.html").read_text()


def with_intervals(
    facts: Facts, erased: tuple[float, float], exchanged: tuple[float, float]
) -> Facts:
    changed = deepcopy(facts)
    measures = changed["heat_maps"]["verdicts"]["all"]
    for name, (low, high) in (("difference", erased), ("background_difference", exchanged)):
        measures[name] = {"value": (low + high) / 2, "k": None, "n": 52, "method": "drawn",
                          "ci_low": low, "ci_high": high}  # fmt: skip
        measures["same_background"] = {**measures[name], "value": 0.25}
        measures["other_background"] = {**measures[name], "value": 0.5}
        measures["elsewhere"] = {**measures[name], "value": 0.125}
    return changed


@pytest.mark.parametrize(
    ("exchanged", "supported", "limited"),
    [
        ((0.06, 0.1), None, "The model uses the background: "),
        ((-0.03, 0.04), "The model makes little use of the background: ", None),
        ((-0.03, 0.2), None, "It is not settled whether the model uses the background: "),
    ],
)
def test_the_use_of_the_background_is_part_of_the_verdict(
    facts: Facts, exchanged: tuple[float, float], supported: str | None, limited: str | None
) -> None:
    """Above 0 it is a limitation, surely small a support, else not settled, with both falls."""
    told = with_intervals(facts, (0.1, 0.2), exchanged)
    for sentences, expected in ((supports(told), supported), (caveats(told), limited)):
        found = [one for one in sentences if "use of the background" in one or "uses the" in one]
        assert len(found) == (expected is not None)
        for sentence in found:
            assert sentence.startswith(str(expected))
            assert "falls by 0.500; with that of an image of the same" in sentence
            assert f"(difference {sum(exchanged) / 2:.3f}, {exchanged[0]:.3f} to" in sentence


def test_maps_are_believed_only_where_they_mark_more_than_others(facts: Facts) -> None:
    """An interval above 0 is a support, any other a limitation."""
    good, bad = (with_intervals(facts, ends, (0.1, 0.2)) for ends in ((0.01, 0.1), (-0.01, 0.1)))
    shows, doubt = "Heat maps show part of what the model", "There is no evidence that heat maps"
    assert shows in " ".join(supports(good))
    assert doubt not in " ".join(caveats(good))
    assert doubt in " ".join(caveats(bad))
    assert shows not in " ".join(supports(bad))


def test_without_maps_the_verdict_says_nothing_of_them(facts: Facts) -> None:
    """What was not measured is neither for nor against the result."""
    none = {**facts, "heat_maps": {"reason": "left out"}}
    assert not re.search("eat maps|falls by", " ".join(supports(none) + caveats(none)))


def fold_with_maps(validated: Path, tmp_path: Path) -> Path:
    """A copy of a cross-validation whose folds have heat maps, as wide networks would give."""
    copy = tmp_path / "cv"
    shutil.copytree(validated, copy)
    for cell in read_plan(copy).all_folds():
        folder = cell.folder / "evaluation"
        rows = rows_of(cell.folder)
        lines = ["path,sha256,verdict,outside,even,fall,elsewhere,same_background,other_background"]
        for number, row in enumerate(rows):
            numbers = f"{0.01 * number},0.35,0.3,0.1,0.0,{0.1 * cell.fold}"
            lines.append(f"{row['path']},{row['sha256']},{row['verdict']},{numbers}")
        (folder / "heat_maps.csv").write_text("\n".join(lines) + "\n")
        facts = json.loads((folder / "metrics.json").read_text())
        facts["heat_maps"] = {"reason": None, "erased": 0.2, "verdicts": {}}
        (folder / "metrics.json").write_text(json.dumps(facts))
    return copy


def test_the_folds_of_a_crossval_are_pooled(validated: Path, tmp_path: Path) -> None:
    """All predictions of all folds, intervals over the groups of the split; on page and verdict."""
    folder = fold_with_maps(validated, tmp_path)
    assert run_command(["crossval", "--resume", str(folder)]) == 0
    facts = json.loads((folder / "evaluation" / "metrics.json").read_text())
    found = facts["heat_maps"]["verdicts"]["all"]
    assert found["fall"]["n"] == 80
    assert found["other_background"]["value"] == pytest.approx(0.15)
    assert pool(read_plan(folder)).as_dict()["heat_maps"] == facts["heat_maps"]
    page = Page((folder / "evaluation" / "report.html").read_text())
    check_page(page, facts)
    assert "Pictures of heat maps are in the reports of the folds" in page.text
    assert "The model uses the background" in " ".join(caveats(facts))


def test_groups_and_not_images_carry_the_pooled_interval(validated: Path, tmp_path: Path) -> None:
    """The interval is that of the rows with the groups of the split."""
    folder = fold_with_maps(validated, tmp_path)
    plan = read_plan(folder)
    groups = {row["path"]: row["group"] for row in read_csv(validated / "split.csv")}
    checked = [one for cell in plan.all_folds() for one in read_checked(cell.folder / "evaluation")]
    own = [groups[Path(one.path).name] for one in checked]
    wanted = summarise(checked, own, plan.config.evaluate.bootstrap_draws)["all"]["outside"]
    assert pool(plan).heat_maps["verdicts"]["all"]["outside"] == wanted


def test_a_fold_without_maps_leaves_all_without(validated: Path) -> None:
    """The pooled reason is that of the fold."""
    facts = json.loads((validated / "evaluation" / "metrics.json").read_text())
    assert "1 x 1 cells" in facts["heat_maps"]["reason"]
