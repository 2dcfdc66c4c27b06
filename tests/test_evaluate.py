"""The held-out test of a run: which images, which numbers, which files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trainings import replace_in

import alld.auditing.background
from alld.auditing.background import background_auc
from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.errors import AlldError, ConfigError, RunError
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import caveats, read_result
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor
from alld.report.text import format_metric
from alld.runtime.reading import read_csv
from alld.stats.metrics import Metric, brier
from alld.stats.ranking import roc_auc
from alld.stats.shift import predictive_values


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return found


def predicted(run: Path) -> list[dict[str, str]]:
    return read_csv(run / "evaluation" / "predictions.csv")


def test_all_files_of_the_design_are_written(run_folder: Path) -> None:
    """They are numbers, tables, rows, report, card, and pictures large enough for a slide."""
    names = {path.name for path in (run_folder / "evaluation").iterdir()}
    assert names == {
        "metrics.json", "table.csv", "table.md", "table.tex", "predictions.csv",
        "confusion.png", "roc.png", "loss.png", "confusion.pdf", "roc.pdf", "loss.pdf",
        "report.html", "model_card.md",
    }  # fmt: skip
    for name in ("confusion", "roc", "loss"):
        with Image.open(run_folder / "evaluation" / f"{name}.png") as picture:
            assert min(picture.size) >= 700
            assert np.asarray(picture.convert("L")).std() > 5


def test_the_rows_are_the_test_images_of_the_split(run_folder: Path) -> None:
    """Each held-out image once, no other, with its label."""
    split = read_csv(run_folder / "split.csv")
    held_out = {row["path"]: row["label"] for row in split if row["part"] == "test"}
    rows = predicted(run_folder)
    assert list(rows[0]) == [*COLUMNS, "label"]
    assert len(rows) == len(held_out) == 8
    assert {Path(row["path"]).name: row["label"] for row in rows} == held_out


def test_the_numbers_follow_from_the_rows(run_folder: Path) -> None:
    """Counts, accuracy, ROC AUC and Brier score recomputed from predictions.csv."""
    rows, found = predicted(run_folder), metrics_of(run_folder)
    truth = np.array([row["label"] == "blast" for row in rows], dtype=int)
    prob = np.array([float(row["probability"]) for row in rows])
    correct = int(((prob >= 0.5) == truth).sum())
    accuracy = found["metrics"]["accuracy"]
    assert (accuracy["k"], accuracy["n"]) == (correct, len(rows))
    assert found["wrong"] == len(rows) - correct
    assert accuracy["ci_low"] < accuracy["value"] <= accuracy["ci_high"]
    assert found["metrics"]["roc_auc"]["value"] == pytest.approx(roc_auc(truth, prob))
    assert found["metrics"]["brier"]["value"] == pytest.approx(brier(truth, prob))
    assert sum(found["confusion"].values()) == len(rows)
    assert found["metrics"]["sensitivity"]["n"] == truth.sum()


def test_groups_have_intervals_of_their_own(run_folder: Path) -> None:
    """Beside Wilson's: the same values and counts, resampled by groups."""
    found = metrics_of(run_folder)
    for name, grouped in found["grouped_metrics"].items():
        plain = found["metrics"][name]
        assert all(grouped[key] == plain[key] for key in ("value", "k", "n"))
        assert grouped["method"] != plain["method"] or plain["value"] is None


def test_the_table_for_latex_has_every_metric_and_every_caveat(run_folder: Path) -> None:
    """Rows with escaped signs, and what must be known as comments."""
    lines = (run_folder / "evaluation" / "table.tex").read_text().splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    assert len(rows) == 1 + len(metrics_of(run_folder)["metrics"])
    assert r"95 \% interval" in rows[0]
    assert any(line.startswith("% SYNTHETIC") for line in lines)
    assert "% For research. Not a medical device, not for diagnosis." in lines


def test_right_and_wrong_cells_of_the_confusion_table_differ_in_colour(run_folder: Path) -> None:
    """The picture has blue and orange, so that errors are seen at once."""
    facts = metrics_of(run_folder)["confusion"]
    with Image.open(run_folder / "evaluation" / "confusion.png") as picture:
        red, _, blue = np.asarray(picture.convert("RGB"), dtype=int).transpose(2, 0, 1)
    wrong = facts["false_positive"] + facts["false_negative"]
    assert ((blue - red > 20).sum() > 10_000) == (wrong < sum(facts.values()))
    assert ((red - blue > 20).sum() > 10_000) == (wrong > 0)


def test_predicting_a_test_image_gives_the_written_probability(run_folder: Path) -> None:
    """For each row of predictions.csv, `predict` on that file alone agrees to 1e-5."""
    predictor = Predictor.load(run_folder, "cpu")
    for row in predicted(run_folder):
        [prediction] = predictor.predict([row["path"]])
        assert prediction.probability == pytest.approx(float(row["probability"]), abs=1e-5)
        assert prediction.sha256 == row["sha256"]
        assert prediction.model == row["model"]


def test_the_table_says_what_the_numbers_are_not(run_folder: Path) -> None:
    """Drawn cells, no patients, no medical device; the model says that its images were drawn."""
    text = (run_folder / "evaluation" / "table.md").read_text()
    for words in ("SYNTHETIC", "never a patient", "about real cells", "Not a medical device"):
        assert words in text
    assert metrics_of(run_folder)["synthetic"] is True
    assert json.loads((run_folder / "model.alld" / "alld.json").read_text())["data"]["synthetic"]


def test_the_caveats_of_real_images(run_folder: Path) -> None:
    """ALL-IDB2 has no patient ids, groups leak, and random weights are no transfer learning."""
    result = read_result(run_folder / "evaluation")
    data = {**result.data, "synthetic": False, "leaking_groups": 3, "split": "random"}
    model = {**result.model, "initial_weights": "random"}
    found = " ".join(caveats(replace(result, data=data, model=model)))
    for words in ("no patient ids", "3 groups of images of the same cell", "random weights"):
        assert words in found
    assert "SYNTHETIC" not in found


def test_the_stored_result_is_read_back_as_it_was(run_folder: Path, validated: Path) -> None:
    """Every key and number of metrics.json, of a run and of a cross-validation."""
    for folder, kind in ((run_folder, "holdout"), (validated, "crossval")):
        result = read_result(folder / "evaluation")
        assert result.kind == kind
        assert result.as_dict() == metrics_of(folder)


def test_a_damaged_result_is_refused_by_its_key(copy: Path) -> None:
    """One line with the file and the key."""
    facts = metrics_of(copy)
    facts["metrics"]["accuracy"]["value"] = "most"
    (copy / "evaluation" / "metrics.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=r"metrics\.json: cannot be read \(metrics\.accuracy\.value"):
        read_result(copy / "evaluation")


def test_an_evaluation_is_repeated_to_the_same_numbers(
    run_folder: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is replaced; the background of the whole set comes from the cache."""
    manifest = load_manifest(load_config(copy / "config.yaml").data)
    whole = background_auc(manifest, load_groups(manifest).of_image)
    assert whole.n == 40
    assert metrics_of(run_folder)["background"] == whole.as_dict()
    monkeypatch.setattr(alld.auditing.background, "background_features", None)  # not called again
    (copy / "evaluation" / "stale.txt").touch()
    assert evaluate(copy).background == whole
    assert not (copy / "evaluation" / "stale.txt").exists()
    assert metrics_of(copy)["metrics"] == metrics_of(run_folder)["metrics"]


def test_predictive_values_name_their_prevalence(run_folder: Path, copy: Path) -> None:
    """Without one there are none: the share of blasts in a test set is not that of a laboratory.

    The caller's prevalence overrides `evaluate.prevalence`. The background can be left out.
    """
    assert not [name for name in metrics_of(run_folder)["metrics"] if "_at_" in name]
    replace_in(copy / "config.yaml", "prevalence: null", "prevalence: 0.25")
    replace_in(copy / "config.yaml", "background: true", "background: false")
    confusion = read_result(run_folder / "evaluation").confusion
    for given, prevalence in ((None, 0.25), (0.1, 0.1)):
        result = evaluate(copy, prevalence=given, heat_maps=False)
        table = (copy / "evaluation" / "table.md").read_text()
        for name, expected in predictive_values(confusion, prevalence).items():
            assert result.metrics[f"{name}_at_{prevalence}"] == expected
            assert f"\n{name}_at_{prevalence}," in (copy / "evaluation" / "table.csv").read_text()
            assert f"| {name.upper()} at prevalence {prevalence} |" in table
        assert f"the share of blasts among all cells is {prevalence}; this share was" in table
    assert not any("0.25" in name for name in result.metrics)
    assert result.background.value is None
    assert "predicts the class: evaluate.background is false" in table


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 10.0, float("nan")])
def test_a_prevalence_out_of_range_is_refused(run_folder: Path, prevalence: float) -> None:
    """Ten per cent is 0.1; at 0 and 1 there is nothing to predict."""
    with pytest.raises(ConfigError, match=r"--prevalence .* between 0 and 1, such as 0\.1"):
        evaluate(run_folder, prevalence=prevalence)


def test_an_altered_split_is_refused(copy: Path) -> None:
    """Moving an image from training to test would falsify the numbers."""
    replace_in(copy / "split.csv", ",train", ",test")
    with pytest.raises(RunError, match=r"split\.csv: altered"):
        evaluate(copy)


def test_other_images_are_refused(copy: Path, drawn_set: Path, tmp_path: Path) -> None:
    """An image that changed since the training stops the evaluation."""
    data = Path(shutil.copytree(drawn_set, tmp_path / "set"))
    shutil.copy(data / "Im001_1.tif", data / "Im002_1.tif")
    replace_in(copy / "config.yaml", str(drawn_set), str(data))
    with pytest.raises(AlldError, match="not the images that"):
        evaluate(copy)


def test_an_evaluation_explains_itself(run_folder: Path) -> None:
    """Settings, versions, device, threads, times and commit of the training and of the test."""
    found = metrics_of(run_folder)["provenance"]
    run = json.loads((run_folder / "run.json").read_text())
    assert found["config"]["train"]["batch_size"] == 8
    for name in ("device", "threads", "seconds", "git_commit", "versions", "started"):
        assert found["training"][name] == run[name]
    assert found["evaluation"]["versions"]["torch"] == run["versions"]["torch"]
    assert found["evaluation"]["seconds"] > 0
    assert found["evaluation"]["threads"] >= 1


def test_metrics_read_as_a_person_says_them() -> None:
    """Percent with counts for proportions, plain numbers for areas, words for the undefined."""
    proportion = Metric(50 / 52, 50, 52, 0.87, 0.989, "Wilson 95 %")
    assert format_metric(proportion) == ("96.2 %", "50/52", "87.0 to 98.9 %")
    area = Metric(0.9, None, 52, 0.8, 0.95, "x")
    assert format_metric(area) == ("0.900", "n = 52", "0.800 to 0.950")
    assert format_metric(Metric(None, None, 0, None, None, None, "no blast"))[0] == "undefined"
