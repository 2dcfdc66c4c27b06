"""A set with patients: each on one side of a split, and counted as one observation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drawn import draw_c_nmc, draw_preliminary
from pages import Page, called_in, check_nothing_loose, check_numbers, check_self_contained
from trainings import with_settings

from alld.evaluation.compare.compare import compare
from alld.evaluation.crossval.train import crossval
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import caveats
from alld.report.sentences import caveats as caveats_of
from alld.report.sentences import supports
from alld.runtime.reading import read_csv


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
def folds(c_nmc: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cross-validation in two repeats. Read only."""
    folder = tmp_path_factory.mktemp("by-patient") / "cv"
    config = with_settings(c_nmc / "C-NMC_training_data", train__epochs=0)
    crossval(config, folds=2, repeats=2, out=folder)
    return folder


@pytest.fixture(scope="module")
def run(folds: Path) -> Path:
    """Its first fold: a finished and evaluated run. Read only."""
    return folds / "repeat-1" / "fold-1"


def facts_of(run: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return facts


def rows_of(run: Path) -> list[dict[str, str]]:
    return read_csv(run / "evaluation" / "predictions.csv")


def test_the_numbers_by_patient_follow_from_the_rows(run: Path, folds: Path) -> None:
    """Mean over subjects of the share classified as labelled, from predictions.csv by hand."""
    for folder, patients in ((run, 8), (folds, 16)):
        found = facts_of(folder)["by_patient"]
        shares: dict[str, list[bool]] = {}
        for row in rows_of(folder):
            subject = Path(row["path"]).name.split("_")[1]
            shares.setdefault(subject, []).append(called_in(row) == row["label"])
        means = [sum(correct) / len(correct) for correct in shares.values()]
        assert found["patients"] == found["accuracy"]["n"] == len(means) == patients
        assert found["accuracy"]["value"] == pytest.approx(sum(means) / patients)
        assert sum(found["kinds"].values()) == patients
    assert found["kinds"] == {"blast": 8, "healthy": 8, "both": 0}


def test_every_interval_counts_patients(run: Path) -> None:
    """No interval takes the cells of one subject for independent; the text says so."""
    facts = facts_of(run)
    assert facts["data"]["groups"] == "patients as the set names them"
    assert facts["data"]["test_groups"] == facts["by_patient"]["patients"]
    for metric in facts["metrics"].values():
        assert metric["method"] is None or "Wilson" not in metric["method"]
    told = " ".join(caveats_of(facts))
    assert "The unit of every number except those by patient is a cell image" in told
    assert "No sensitivity or specificity for patients is given" in told
    assert "Every patient here has cells of one class only" in told
    assert "No patient is on both sides" in " ".join(supports(facts))
    # A random split has cells of one subject on both sides.
    facts["data"]["leaking_groups"] = 5
    told = " ".join(caveats_of(facts))
    assert "5 patients are on both sides of this grouped split" in told
    assert "No patient is on both sides" not in " ".join(supports(facts))


def test_the_pages_show_patients(run: Path, folds: Path) -> None:
    """In the report of a run and of folds, in card and table; every number is of the file."""
    for folder in (run, folds):
        facts = facts_of(folder)
        page = Page((folder / "evaluation" / "report.html").read_text())
        assert "By patient" in page.text
        assert "ROC AUC of the share classified as blast" in page.text
        rows = rows_of(folder)
        numbers = [{**row, "probability": float(row["probability"])} for row in rows]
        check_numbers(page, {**facts, "predictions": numbers})
        check_nothing_loose(page)
        check_self_contained(page)
        for name in ("model_card.md", "table.md"):
            assert "By patient" in (folder / "evaluation" / name).read_text()


def test_a_set_without_patients_says_nothing_of_them(run_folder: Path) -> None:
    """Not zero patients: null, and no table."""
    assert facts_of(run_folder)["by_patient"] is None
    assert "By patient" not in (run_folder / "evaluation" / "report.html").read_text()
    assert "patient" not in (run_folder / "split.csv").read_text()


def test_folds_keep_patients_apart(folds: Path) -> None:
    """Each subject is tested in one fold of a repeat."""
    rows = rows_of(folds)
    places = {(row["repeat"], row["patient"], row["fold"]) for row in rows}
    assert len(places) == len({place[:2] for place in places}) == 2 * 16


def test_a_comparison_counts_patients(run: Path, tmp_path: Path) -> None:
    """`alld compare` resamples what the split keeps together: the subjects."""
    other = Path(shutil.copytree(run, tmp_path / "other"))
    found = compare([run, other], draws=200)
    assert found.groups == facts_of(run)["by_patient"]["patients"]


def test_the_preliminary_test_is_an_external_one(run: Path, c_nmc: Path, tmp_path: Path) -> None:
    """By subject, against the run's own test; names of subjects that trained are told."""
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    found = evaluate(copy, data=c_nmc / "C-NMC_test_prelim_phase_data_labels.csv")
    assert found.by_patient is not None
    assert found.by_patient.patients == 8
    assert found.external is not None
    assert found.external["shared_patients"] == 0
    facts = {**found.external, "shared_patients": 2}
    told = " ".join(caveats(replace(found, external=facts)))
    assert "2 patients here have the same names as patients of the training set" in told
    again = tmp_path / "again"
    draw_preliminary(again, ["UID_1_9_9_all.bmp", "UID_99_9_9_all.bmp", "UID_H99_9_9_hem.bmp"])
    split = {row["patient"]: row["part"] for row in read_csv(run / "split.csv")}
    known = int(split["1"] != "test")
    found = evaluate(copy, data=again / "C-NMC_test_prelim_phase_data_labels.csv")
    assert found.external is not None
    assert found.external["shared_patients"] == known
