"""An evaluation: the held-out images once, every number with its counts, written whole."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import alld.audit.background
from alld.audit.background import background_auc
from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.errors import AlldError, ConfigError, RunError
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import caveats
from alld.inference.prediction import COLUMNS
from alld.inference.predictor import Predictor
from alld.report.metric_text import format_metric
from alld.stats.metrics import Metric, brier
from alld.stats.ranking import roc_auc
from alld.stats.shift import predictive_values


def metrics_of(run_folder: Path) -> dict:
    return json.loads((run_folder / "evaluation" / "metrics.json").read_text())


def rows_of(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "evaluation" / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_of_the_design_are_written(run_folder: Path) -> None:
    """Numbers, tables, rows, pictures, report and card; nothing half written beside them."""
    names = {path.name for path in (run_folder / "evaluation").iterdir()}
    assert names == {
        "metrics.json", "table.csv", "table.md", "predictions.csv",
        "confusion.png", "roc.png", "loss.png", "report.html", "model_card.md",
    }  # fmt: skip


def test_the_rows_are_the_test_images_of_the_split(run_folder: Path) -> None:
    """Each held-out image once, no other, with its label."""
    with (run_folder / "split.csv").open(newline="") as file:
        held_out = {row["path"]: row for row in csv.DictReader(file) if row["part"] == "test"}
    rows = rows_of(run_folder)
    assert list(rows[0]) == [*COLUMNS, "label"]
    assert {Path(row["path"]).name for row in rows} == set(held_out)
    assert len(rows) == len(held_out) == 8
    for row in rows:
        assert row["label"] == held_out[Path(row["path"]).name]["label"]


def test_the_numbers_follow_from_the_rows(run_folder: Path) -> None:
    """Counts, accuracy, ROC AUC and Brier score recomputed from predictions.csv."""
    rows, found = rows_of(run_folder), metrics_of(run_folder)
    truth = np.array([row["label"] == "blast" for row in rows], dtype=int)
    prob = np.array([float(row["probability"]) for row in rows])
    right = int(((prob >= 0.5) == truth).sum())
    accuracy = found["metrics"]["accuracy"]
    assert (accuracy["k"], accuracy["n"]) == (right, len(rows))
    assert accuracy["ci_low"] < accuracy["value"] <= accuracy["ci_high"]
    assert found["metrics"]["roc_auc"]["value"] == pytest.approx(roc_auc(truth, prob))
    assert found["metrics"]["brier"]["value"] == pytest.approx(brier(truth, prob))
    assert sum(found["confusion"].values()) == len(rows)
    assert found["metrics"]["sensitivity"]["n"] == truth.sum()


def test_predicting_a_test_image_gives_the_written_probability(run_folder: Path) -> None:
    """For each row of predictions.csv, `predict` on that file alone agrees to 1e-5."""
    predictor = Predictor.load(run_folder, "cpu")
    for row in rows_of(run_folder):
        [prediction] = predictor.predict([row["path"]])
        assert prediction.probability == pytest.approx(float(row["probability"]), abs=1e-5)
        assert prediction.sha256 == row["sha256"]
        assert prediction.model == row["model"]


def test_drawn_images_are_called_synthetic_everywhere(run_folder: Path) -> None:
    """metrics.json, table.md and the model say so."""
    assert metrics_of(run_folder)["synthetic"] is True
    assert "SYNTHETIC" in (run_folder / "evaluation" / "table.md").read_text()
    assert json.loads((run_folder / "model.alld" / "alld.json").read_text())["data"]["synthetic"]


def test_the_table_says_what_the_numbers_are_not(run_folder: Path) -> None:
    """Cells not patients, no patient ids, not a medical device."""
    text = (run_folder / "evaluation" / "table.md").read_text()
    for words in ("never a patient", "nothing about real cells", "Not a medical device"):
        assert words in text


def test_the_caveats_of_real_images(run_folder: Path, tmp_path: Path) -> None:
    """ALL-IDB2 lacks patient ids, leaks flatter, random weights are no transfer learning."""
    evaluation = evaluate(Path(shutil.copytree(run_folder, tmp_path / "run")))
    data = {**evaluation.data, "synthetic": False, "leaking_groups": 3, "split": "random"}
    model = {**evaluation.model, "initial_weights": "random"}
    told = " ".join(caveats(replace(evaluation, data=data, model=model)))
    for words in ("no patient ids", "3 groups of same cells", "random weights"):
        assert words in told
    assert "SYNTHETIC" not in told


def test_the_pictures_are_pictures(run_folder: Path) -> None:
    """Each PNG opens, is large enough for a slide, and is not blank."""
    for name in ("confusion", "roc", "loss"):
        with Image.open(run_folder / "evaluation" / f"{name}.png") as picture:
            assert min(picture.size) >= 700
            assert np.asarray(picture.convert("L")).std() > 5


def test_an_evaluation_is_repeated_to_the_same_numbers(run_folder: Path, tmp_path: Path) -> None:
    """Evaluating again replaces the folder by equal numbers."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (copy / "evaluation" / "stale.txt").touch()
    evaluate(copy)
    assert not (copy / "evaluation" / "stale.txt").exists()
    assert metrics_of(copy)["metrics"] == metrics_of(run_folder)["metrics"]


def test_an_altered_split_is_refused(run_folder: Path, tmp_path: Path) -> None:
    """Moving an image from training to test would make the numbers a lie."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    split = (copy / "split.csv").read_text()
    (copy / "split.csv").write_text(split.replace(",train", ",test", 1))
    with pytest.raises(RunError, match=r"split\.csv: altered"):
        evaluate(copy)


def test_other_images_are_refused(run_folder: Path, drawn_set: Path, tmp_path: Path) -> None:
    """A test image that changed since the training stops the evaluation."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    data = Path(shutil.copytree(drawn_set, tmp_path / "set"))
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace(str(drawn_set), str(data)))
    evaluate(copy)
    shutil.copy(data / "Im001_1.tif", data / "Im002_1.tif")
    with pytest.raises(AlldError, match="not the images that"):
        evaluate(copy)


def test_a_prevalence_adds_two_rows_that_name_it(run_folder: Path, tmp_path: Path) -> None:
    """PPV and NPV of the run's own counts at 0.1, in metrics.json, table.csv and table.md."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    evaluation = evaluate(copy, prevalence=0.1)
    found = metrics_of(copy)["metrics"]
    for name, expected in predictive_values(evaluation.confusion, 0.1).items():
        assert found[f"{name}_at_0.1"] == expected.as_dict()
        assert f"\n{name}_at_0.1," in (copy / "evaluation" / "table.csv").read_text()
        table = (copy / "evaluation" / "table.md").read_text()
        assert f"| {name.upper()} at prevalence 0.1 |" in table
    assert "0.1 of all cells judged are blasts: that share is assumed" in table


def test_without_a_prevalence_there_is_no_predictive_value(run_folder: Path) -> None:
    """The share of blasts in a test set says nothing about the cells of a laboratory."""
    assert not [name for name in metrics_of(run_folder)["metrics"] if "_at_" in name]


def test_the_prevalence_may_stand_in_the_settings(run_folder: Path, tmp_path: Path) -> None:
    """`evaluate.prevalence` of the run is taken unless the caller gives another."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("prevalence: null", "prevalence: 0.25"))
    assert "ppv_at_0.25" in evaluate(copy).metrics
    assert "ppv_at_0.5" in evaluate(copy, prevalence=0.5).metrics


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 10.0, float("nan")])
def test_a_prevalence_out_of_range_is_refused(run_folder: Path, prevalence: float) -> None:
    """Ten per cent is 0.1; at 0 and 1 there is nothing to predict."""
    with pytest.raises(ConfigError, match=r"--prevalence .* between 0 and 1, such as 0\.1"):
        evaluate(run_folder, prevalence=prevalence)


def test_an_evaluation_explains_itself(run_folder: Path) -> None:
    """Settings, versions, device, threads, times and commit of the training and of the test."""
    found, run = (
        metrics_of(run_folder)["provenance"],
        json.loads((run_folder / "run.json").read_text()),
    )
    assert found["config"]["train"]["batch_size"] == 8
    for name in ("device", "threads", "seconds", "git_commit", "versions", "started"):
        assert found["training"][name] == run[name]
    assert found["evaluation"]["versions"]["torch"] == run["versions"]["torch"]
    assert found["evaluation"]["seconds"] > 0
    assert found["evaluation"]["threads"] >= 1


def test_the_background_of_the_set_stands_beside_the_numbers(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is that of the whole set, comes from the cache the second time, and can be left out."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "run"))
    manifest = load_manifest(load_config(copy / "config.yaml").data)
    whole = background_auc(manifest, load_groups(manifest).of_image)
    assert whole.n == 40
    assert metrics_of(run_folder)["background"] == whole.as_dict()
    monkeypatch.setattr(alld.audit.background, "background_features", None)  # not called again
    assert evaluate(copy).background == whole
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("background: true", "background: false"))
    left_out = evaluate(copy).background
    assert left_out.value is None
    assert "evaluate.background is false" in str(left_out.reason)
    assert "is not known: evaluate.background" in (copy / "evaluation" / "table.md").read_text()


def test_groups_have_intervals_of_their_own(run_folder: Path) -> None:
    """Beside Wilson's: the same values and counts, resampled by groups."""
    found = metrics_of(run_folder)
    for name, grouped in found["grouped_metrics"].items():
        plain = found["metrics"][name]
        assert (grouped["value"], grouped["k"], grouped["n"]) == (
            plain["value"], plain["k"], plain["n"],
        )  # fmt: skip
        assert grouped["method"] != plain["method"]


def test_metrics_read_as_a_person_says_them() -> None:
    """Percent with counts for proportions, plain numbers for areas, words for the undefined."""
    assert format_metric(Metric(50 / 52, 50, 52, 0.87, 0.989, "Wilson 95 %")) == (
        "96.2 %", "50/52", "87.0 to 98.9 %",
    )  # fmt: skip
    assert format_metric(Metric(0.9, None, 52, 0.8, 0.95, "x")) == (
        "0.900", "n = 52", "0.800 to 0.950",
    )  # fmt: skip
    assert format_metric(Metric(None, None, 0, None, None, None, "no blast"))[0] == "undefined"
