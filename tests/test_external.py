"""External validation: the unchanged model on other images, compared with the run's own test."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ARCH, Answer
from drawn import draw_all_idb2, draw_cell, save_tiff
from pages import Page, check_nothing_loose, check_numbers, check_self_contained
from PIL import Image
from trainings import replace_in

from alld.config.schema import DataConfig
from alld.data.sources.find import load_manifest
from alld.errors import DataError
from alld.evaluation.external import check_other, own_images
from alld.evaluation.holdout import evaluate
from alld.evaluation.result import Result, caveats
from alld.model.bundle import read_info
from alld.report.sentences import caveats as caveats_of
from alld.report.sentences import supports
from alld.runs.folder import Run
from alld.runtime.files import write_csv
from alld.runtime.reading import read_csv

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def other_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 cells drawn in another way, a folder for each class. Read only."""
    folder = tmp_path_factory.mktemp("other") / "other lab"
    rng = np.random.default_rng(3)
    for number in range(12):
        for name, blast in (("blast", True), ("healthy", False)):
            save_tiff(folder / name / f"{number}.tif", draw_cell(rng, blast=blast))
    return folder


@pytest.fixture(scope="module")
def run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished and evaluated run, for its validations."""
    return Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("external") / "run"))


@pytest.fixture(scope="module")
def external(run: Path, other_set: Path) -> Result:
    """The run on the other set. Read only."""
    return evaluate(run, data=other_set)


@pytest.fixture(scope="module")
def healthy_only(run: Path, other_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run on the healthy cells of the other set alone. Read only."""
    folder = tmp_path_factory.mktemp("one-class")
    shutil.copytree(other_set / "healthy", folder / "healthy")
    return evaluate(run, data=folder)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def facts_of(result: Result) -> Facts:
    facts: Facts = json.loads((result.folder / "metrics.json").read_text())
    return facts


def compared(result: Result) -> Facts:
    assert result.external is not None
    return result.external


def quiet(step: str, done: int, total: int) -> None:
    """Show no progress."""


def told(result: Result) -> str:
    return " ".join(caveats(result))


def forget_images(run: Path, root: Path) -> None:
    """Let the settings and facts of the run name a folder that is gone."""
    for name in ("run.json", "config.yaml"):
        replace_in(run / name, str(root), f"{root}-gone")


def test_it_has_a_folder_and_title_of_its_own(
    run: Path, run_folder: Path, external: Result
) -> None:
    """Named after the set; page, card and table say what it is; the own test is left alone."""
    assert external.folder.parent == run / "external"
    assert external.folder.name.startswith("other-lab-")
    own = Path("evaluation") / "metrics.json"
    assert (run / own).read_bytes() == (run_folder / own).read_bytes()
    assert external.title == f"{ARCH}, external validation on other-lab"
    assert "External validation: " in Page(external.report.read_text()).text
    assert "**External validation**" in (external.folder / "model_card.md").read_text()
    table = (external.folder / "table.md").read_text()
    assert table.startswith(f"# SYNTHETIC: {ARCH}, external validation on other-lab")
    assert "| The run's own test |" in table


def test_nothing_is_fitted_to_the_other_set(
    alld: Callable[..., Answer], run: Path, other_set: Path, external: Result
) -> None:
    """With labels swapped by --positive, threshold, temperature and probabilities stay.

    The command prints title, comparison and SYNTHETIC.
    """
    info = read_info(run / "model.alld")
    assert len(external.predictions) == 24
    assert external.model["threshold"] == info.threshold
    assert external.model["temperature"] == info.temperature
    status, out, _ = alld("evaluate", run, "--data", other_set, "--positive", "healthy")
    assert status == 0
    for words in ("external validation on other-lab", "against the run's own test", "SYNTHETIC"):
        assert words in out
    [folder] = set((run / "external").glob("other-lab-*")) - {external.folder}
    swapped = json.loads((folder / "metrics.json").read_text())
    assert swapped["external"]["set"] == "other-lab"
    assert swapped["data"]["classes"] == {"healthy": 12, "blast": 12}
    assert swapped["model"] == external.model
    assert swapped["metrics"]["accuracy"]["k"] == external.wrong
    assert swapped["abstention"]["verdicts"] == external.abstention["verdicts"]
    status, _, err = alld("evaluate", run, "--positive", "healthy")
    assert status == 2
    assert "--positive goes with --data" in err


def test_each_difference_is_here_minus_there(run_folder: Path, external: Result) -> None:
    """Both values as their own files have them, side by side."""
    own = json.loads((run_folder / "evaluation" / "metrics.json").read_text())["metrics"]
    rows = facts_of(external)["external"]["comparison"]
    names = ["accuracy", "sensitivity", "specificity", "roc_auc", "brier", "ece", "out_of_domain"]
    assert list(rows) == names
    assert rows.pop("out_of_domain")["external"] == external.abstention["out_of_domain"]
    for name, row in rows.items():
        value = external.metrics[name].value
        assert value is not None
        assert row["internal"]["value"] == own[name]["value"]
        assert row["external"]["value"] == value
        assert row["difference"]["value"] == pytest.approx(value - own[name]["value"])


def test_nothing_is_compared_with_numbers_of_another_model_or_none(
    run: Path, copy: Path, other_set: Path
) -> None:
    """The reason stands in the comparison's place."""
    shutil.rmtree(copy / "evaluation")
    found = evaluate(copy, data=other_set)
    assert compared(found)["comparison"] is None
    assert "was not evaluated; for a comparison first: alld evaluate" in told(found)
    assert "Not possible: the run's own test" in Page(found.report.read_text()).text
    facts = json.loads((run / "evaluation" / "metrics.json").read_text())
    facts["model"]["identity"] = "0" * 64
    (copy / "evaluation").mkdir()
    (copy / "evaluation" / "metrics.json").write_text(json.dumps(facts))
    assert "of another model" in told(evaluate(copy, data=other_set))


def test_every_number_of_the_page_is_in_the_file(external: Result, healthy_only: Result) -> None:
    """The pages of both validations, read back; nothing comes from elsewhere."""
    for result in (external, healthy_only):
        page = Page(result.report.read_text())
        rows = [prediction.as_row() for prediction in result.predictions]
        check_numbers(page, {**facts_of(result), "predictions": rows})
        check_nothing_loose(page)
        check_self_contained(page)


def test_what_one_class_leaves_undefined_has_a_reason(healthy_only: Result) -> None:
    """It is null with its reason, and nothing of it is compared."""
    metrics = facts_of(healthy_only)["metrics"]
    assert metrics["specificity"]["n"] == metrics["accuracy"]["n"] == 12
    assert metrics["sensitivity"]["value"] is None
    assert metrics["sensitivity"]["reason"] == "none of the 12 images is a blast"
    assert metrics["roc_auc"]["reason"] == "one class only: all 12 images are healthy cells"
    rows = compared(healthy_only)["comparison"]
    assert rows["specificity"]["difference"]["value"] is not None
    for name in ("accuracy", "brier", "ece"):
        reason = rows[name]["difference"]["reason"]
        assert reason == "this set has one class, the run's own test has both"
    sentence = "All images are of one class, healthy: accuracy is the same as specificity"
    assert sentence in told(healthy_only)
    assert compared(healthy_only)["shift"]["blast"]["distance"] is None


def test_a_class_far_from_the_runs_own_is_reported(external: Result) -> None:
    """Discs in place of drawn cells: farther than chance, and than the run's own classes."""
    shift = compared(external)["shift"]
    for name in ("blast", "healthy"):
        assert shift[name]["distance"] > 2 * shift[name]["by_chance"]
        assert shift[name]["p_value"] < 0.01
        assert (shift[name]["first"], shift[name]["second"]) == (7, 12)
    assert "To the model, the blasts look different from the run's own" in told(external)


def test_images_that_trained_the_model_are_refused(
    run: Path,
    copy: Path,
    drawn_set: Path,
    other_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By content, whatever their names, and also where the run's own images are gone."""
    trained = next(row["path"] for row in read_csv(run / "split.csv") if row["part"] == "train")
    mixed = Path(shutil.copytree(other_set, tmp_path / "mixed"))
    shutil.copy(drawn_set / trained, mixed / "blast" / "renamed.tif")
    with pytest.raises(DataError, match=r"1 of these images trained .*\(first: blast/renamed"):
        evaluate(run, data=mixed)
    forget_images(copy, drawn_set)
    with pytest.raises(DataError, match="1 of these images trained"):
        evaluate(copy, data=mixed)
    monkeypatch.setenv("ALLD_CACHE", str(tmp_path / "cache"))
    away = evaluate(copy, data=other_set)
    assert compared(away)["not_checked"] is None
    assert "It is not known how far these images differ from the run's own" in told(away)
    assert "Not all other pictures of the cells that trained the model were sought" in told(away)


def trained_picture(run: Path, drawn_set: Path) -> Image.Image:
    name = next(row["path"] for row in read_csv(run / "split.csv") if row["part"] == "train")
    return Image.open(drawn_set / name)


def test_training_images_saved_anew_are_refused(
    run: Path, drawn_set: Path, other_set: Path, tmp_path: Path
) -> None:
    """The same pixels in a BMP are recognised by the hash of the pixels."""
    mixed = Path(shutil.copytree(other_set, tmp_path / "mixed"))
    trained_picture(run, drawn_set).save(mixed / "blast" / "anew.bmp")
    with pytest.raises(DataError, match=r"1 of these images trained .*\(first: blast/anew.bmp"):
        evaluate(run, data=mixed)


def test_near_copies_of_training_images_are_refused(
    run: Path, copy: Path, drawn_set: Path, other_set: Path, tmp_path: Path
) -> None:
    """A turned JPEG of one shows its cell, also to a run that recorded no pixel hashes."""
    mixed = Path(shutil.copytree(other_set, tmp_path / "mixed"))
    picture = trained_picture(run, drawn_set).transpose(Image.Transpose.ROTATE_90)
    picture.save(mixed / "blast" / "turned.jpg", quality=92)
    said = r"1 of these images show cells .*\(first: blast/turned.jpg shows the cell of .*, turned"
    with pytest.raises(DataError, match=said):
        evaluate(run, data=mixed)
    rows = read_csv(copy / "images.csv")
    old = [{name: row[name] for name in ("path", "sha256")} for row in rows]
    write_csv(copy / "images.csv", ("path", "sha256"), old)
    with pytest.raises(DataError, match=said):
        evaluate(copy, data=mixed)


def test_an_older_run_is_checked_by_its_images(
    copy: Path, drawn_set: Path, other_set: Path
) -> None:
    """It recorded no hashes: they are read again, or the report says that nothing was checked."""
    (copy / "images.csv").unlink()
    own, mixed = own_images(Run(copy)), load_manifest(DataConfig(root=other_set))
    drawn = load_manifest(DataConfig(root=drawn_set))
    whole = (replace(record, path=str(drawn_set / record.path)) for record in drawn)
    mixed = replace(mixed, records=(*mixed, *whole))
    with pytest.raises(DataError, match="32 of these images trained"):
        check_other(Run(copy), mixed, own, quiet)
    forget_images(copy, drawn_set)
    away = evaluate(copy, data=other_set)
    assert "It was not checked whether the model was trained on some of these images" in told(away)
    assert "The model was not trained on any of these" not in " ".join(supports(facts_of(away)))


def test_an_altered_list_of_images_is_not_trusted(copy: Path) -> None:
    """Hashes, labels and names must give the fingerprint of the training; else the set is read."""
    sha256 = read_csv(copy / "images.csv")[0]["sha256"]
    replace_in(copy / "images.csv", sha256, "0" * 64)
    own = own_images(Run(copy)).manifest
    assert own is not None
    assert own.fingerprint == Run(copy).info["data"]["fingerprint"]


def test_a_changed_copy_of_the_runs_own_set_is_no_other_set(
    run: Path, drawn_set: Path, tmp_path: Path
) -> None:
    """One image less: the others trained the model."""
    changed = Path(shutil.copytree(drawn_set, tmp_path / "set"))
    (changed / "Im001_1.tif").unlink()
    with pytest.raises(DataError, match=r"not the images that .* \(39 images now, 40 then\)"):
        evaluate(run, data=changed)


def test_a_copy_of_the_real_all_idb2_is_never_external(copy: Path, tmp_path: Path) -> None:
    """Not even one with other bytes in every file."""
    drawn = load_manifest(DataConfig(root=draw_all_idb2(tmp_path / "a")))
    replace_in(copy / "run.json", '"synthetic": true', '"synthetic": false')
    with pytest.raises(DataError, match="No copy of it is an external test"):
        check_other(Run(copy), replace(drawn, synthetic=False), own_images(Run(copy)), quiet)


def test_the_runs_own_test_images_are_reported(run: Path, drawn_set: Path, tmp_path: Path) -> None:
    """They are unseen, so they are accepted, but the report says where they come from."""
    rows = [row for row in read_csv(run / "split.csv") if row["part"] == "test"]
    table = tmp_path / "own.csv"
    lines = [f"{drawn_set / row['path']},{row['label']}\n" for row in rows]
    table.write_text("".join(["path,label\n", *lines]))
    found = evaluate(run, data=table)
    assert compared(found)["held_out_there"] == 8
    assert "8 of these images are the run's own test images" in told(found)


def test_the_origin_of_both_sets_is_reported(external: Result) -> None:
    """ALL-IDB1 is the source of ALL-IDB2; a model of drawn images is SYNTHETIC on real ones."""
    facts = facts_of(external)
    assert any("would not be an external test" in sentence for sentence in caveats_of(facts))
    facts["external"]["fields_of_all_idb1"] = 3
    assert any("this is not an external test" in sentence for sentence in caveats_of(facts))
    facts["external"]["trained_on"]["name"] = "folders"
    assert not any("ALL-IDB1" in sentence for sentence in caveats_of(facts))
    real = replace(external, data={**external.data, "synthetic": False})
    assert real.synthetic
    assert "SYNTHETIC: the model was trained on drawn images" in told(real)
