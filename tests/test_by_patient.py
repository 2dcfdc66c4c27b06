"""A set with patients from training to report: on one side, counted once, and said so."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from drawn import draw_c_nmc, draw_preliminary
from pages import Page, called_in, check_nothing_loose, check_numbers, check_self_contained
from trainings import with_settings

from alld.evaluation.compare.compare import compare
from alld.evaluation.crossval.train import crossval
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import caveats
from alld.report.run_words import limits, supports
from alld.training.train import train

TINY = {"train__frozen_epochs": 1, "train__epochs": 0}


@pytest.fixture(scope="module")
def c_nmc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C-NMC's folds with eight subjects a class, and a preliminary test. Read only."""
    folder = tmp_path_factory.mktemp("c-nmc") / "PKG"
    draw_c_nmc(folder / "C-NMC_training_data", subjects=8, cells=2)
    names = [f"UID_{57 + n // 2}_1_{n}_all.bmp" for n in range(8)]
    names += [f"UID_H{49 + n // 2}_1_{n}_hem.bmp" for n in range(8)]
    draw_preliminary(folder, names)
    return folder


@pytest.fixture(scope="module")
def run(c_nmc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and evaluated run on the folds. Read only."""
    config = with_settings(c_nmc / "C-NMC_training_data", **TINY)
    folder = train(config, tmp_path_factory.mktemp("by-patient") / "run").folder
    evaluate(folder)
    return folder


@pytest.fixture(scope="module")
def folds(c_nmc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cross-validation on the folds, twice over. Read only."""
    folder = tmp_path_factory.mktemp("by-patient") / "cv"
    config = with_settings(c_nmc / "C-NMC_training_data", **TINY)
    crossval(config, folds=2, repeats=2, out=folder)
    return folder


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_numbers_by_patient_follow_from_the_rows(run: Path) -> None:
    """Mean over subjects of the share judged as labelled, from predictions.csv by hand."""
    found = facts_of(run / "evaluation")["by_patient"]
    shares: dict[str, list[bool]] = {}
    for row in rows_of(run / "evaluation" / "predictions.csv"):
        subject = Path(row["path"]).name.split("_")[1]
        shares.setdefault(subject, []).append(called_in(row) == row["label"])
    means = [sum(right) / len(right) for right in shares.values()]
    assert found["patients"] == found["accuracy"]["n"] == len(means)
    assert found["accuracy"]["value"] == pytest.approx(sum(means) / len(means))
    assert sum(found["kinds"].values()) == len(means)


def test_every_interval_counts_patients(run: Path) -> None:
    """No interval takes the cells of one subject for independent; the text says so."""
    facts = facts_of(run / "evaluation")
    assert facts["data"]["groups"] == "patients as the set names them"
    assert facts["data"]["test_groups"] == facts["by_patient"]["patients"]
    for metric in facts["metrics"].values():
        assert metric["method"] is None or "Wilson" not in metric["method"]
    told = " ".join(limits(facts))
    assert "The unit of every number but those by patient is a cell image" in told
    assert "No sensitivity or specificity of patients is given" in told
    assert "Every patient here has cells of one class only" in told
    assert "No patient lies on both sides" in " ".join(supports(facts))


def test_leaking_patients_are_reported(run: Path) -> None:
    """A random split has cells of one subject on both sides."""
    facts = facts_of(run / "evaluation")
    facts["data"]["leaking_groups"] = 5
    told = " ".join(limits(facts))
    assert "{data.leaking_groups} patients lie on both sides of this {data.split} split" in told
    assert "No patient lies on both sides" not in " ".join(supports(facts))


def test_the_pages_show_patients(run: Path, folds: Path) -> None:
    """In the report of a run and of folds, in card and table; every number is of the file."""
    for folder in (run, folds):
        facts = facts_of(folder / "evaluation")
        page = Page((folder / "evaluation" / "report.html").read_text())
        assert "By patient" in page.text
        assert "ROC AUC of the share called blast" in page.text
        rows = rows_of(folder / "evaluation" / "predictions.csv")
        numbers = [{**row, "probability": float(row["probability"])} for row in rows]
        check_numbers(page, {**facts, "predictions": numbers})
        check_nothing_loose(page)
        check_self_contained(page)
        for name in ("model_card.md", "table.md"):
            assert "By patient" in (folder / "evaluation" / name).read_text()


def test_a_set_without_patients_says_nothing_of_them(run_folder: Path) -> None:
    """Not zero patients: null, and no table."""
    assert facts_of(run_folder / "evaluation")["by_patient"] is None
    assert "By patient" not in (run_folder / "evaluation" / "report.html").read_text()
    assert "patient" not in (run_folder / "split.csv").read_text()


def test_folds_keep_patients_apart(folds: Path) -> None:
    """Each subject is tested in one fold of a repeat; both repeats are averaged."""
    rows = rows_of(folds / "evaluation" / "predictions.csv")
    places = {(row["repeat"], row["patient"]): set() for row in rows}
    for row in rows:
        places[row["repeat"], row["patient"]].add(row["fold"])
    assert len(places) == 2 * 16
    assert all(len(tested) == 1 for tested in places.values())
    found = facts_of(folds / "evaluation")["by_patient"]
    assert found["patients"] == 16
    assert found["kinds"] == {"blast": 8, "healthy": 8, "both": 0}
    shares: dict[str, list[bool]] = {}
    for row in rows:
        shares.setdefault(row["patient"], []).append(called_in(row) == row["label"])
    means = [sum(right) / len(right) for right in shares.values()]
    assert found["accuracy"]["value"] == pytest.approx(sum(means) / 16)


def test_a_comparison_counts_patients(run: Path, tmp_path: Path) -> None:
    """`alld compare` resamples what the split keeps together: the subjects."""
    other = Path(shutil.copytree(run, tmp_path / "other"))
    found = compare([run, other], draws=200)
    assert found.groups == facts_of(run / "evaluation")["by_patient"]["patients"]


def test_the_preliminary_test_is_an_external_one(run: Path, c_nmc: Path, tmp_path: Path) -> None:
    """By subject, against the run's own test; names of subjects that trained are told."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    found = evaluate(copy, data=c_nmc / "C-NMC_test_prelim_phase_data_labels.csv")
    assert found.by_patient.patients == 8
    assert found.external["shared_patients"] == 0
    facts = {**found.external, "shared_patients": 2}
    told = " ".join(caveats(replace(found, external=facts)))
    assert "2 patients here have the names of patients who trained the model" in told
    again = tmp_path / "again"
    draw_preliminary(again, ["UID_1_9_9_all.bmp", "UID_99_9_9_all.bmp", "UID_H99_9_9_hem.bmp"])
    split = {row["patient"]: row["part"] for row in rows_of(run / "split.csv")}
    known = int(split["1"] != "test")
    found = evaluate(copy, data=again / "C-NMC_test_prelim_phase_data_labels.csv")
    assert found.external["shared_patients"] == known
