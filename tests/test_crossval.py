"""Cross-validation: each image tested once in a repeat, two spreads apart, nothing done twice."""

import csv
import json
import shutil
import signal
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from conftest import SMALL
from pages import called_in

from alld.cli import run_command
from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError, Interrupted, RunError
from alld.evaluation.crossval.train import CrossvalListener, crossval, resume_crossval
from alld.evaluation.out_of_fold import (
    HeldOut,
    metrics_of_repeat,
    pooled_metrics,
    training_spread,
)
from alld.evaluation.result import caveats
from alld.model.bundle import library_versions
from alld.training.train import Listener

FOLDS, REPEATS = 2, 2


def settings(drawn_set: Path, **changed: object) -> Config:
    tiny = {"train.frozen_epochs": 1, "train.epochs": 0, "data.root": drawn_set}
    dotted = {key.replace("__", "."): value for key, value in changed.items()}
    return load_config(options={**SMALL, **tiny, **dotted})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "evaluation" / "predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def set_of(config: Config) -> tuple[Manifest, tuple[str, ...]]:
    manifest = load_manifest(config.data)
    return manifest, load_groups(manifest).of_image


@pytest.mark.parametrize("kind", ["grouped", "blocks", "random"])
def test_every_image_is_tested_in_one_fold(drawn_set: Path, kind: str) -> None:
    """Folds of one seed part the set; what stays for each gives 16 % of all to validation."""
    config = settings(drawn_set, split__kind=kind, split__block=4)
    manifest, groups = set_of(config)
    tested: list[int] = []
    for fold in (1, 2, 3):
        chosen = config.split.model_copy(update={"folds": 3, "fold": fold})
        split = make_split(manifest, groups, "", chosen, seed=5)
        tested += split.indices("test")
        assert abs(len(split.indices("valid")) - 0.16 * len(manifest)) <= 2
        if kind != "random":
            assert split.leaking_groups == 0
    assert sorted(tested) == list(range(len(manifest)))


@pytest.mark.parametrize(
    ("split", "named"),
    [
        ({"folds": 5}, "go together"),
        ({"folds": 5, "fold": 6}, "no fold 6"),
        ({"folds": 5, "fold": 1, "kind": "paper"}, "no folds"),
    ],
)
def test_a_fold_that_cannot_be_is_a_config_error(split: dict[str, object], named: str) -> None:
    """One line with the setting."""
    with pytest.raises(ConfigError, match=named):
        load_config(options={f"split.{key}": value for key, value in split.items()})


def test_out_of_fold_predictions_are_those_of_the_folds(validated: Path, drawn_set: Path) -> None:
    """Each image once a repeat, with the probability of the run that held it out."""
    rows = rows_of(validated)
    for repeat in ("1", "2"):
        names = sorted(row["path"] for row in rows if row["repeat"] == repeat)
        assert names == sorted(path.name for path in drawn_set.glob("*.tif"))
    for row in rows:
        run = validated / f"repeat-{row['repeat']}" / f"fold-{row['fold']}"
        with open(run / "split.csv", newline="") as file:
            part = {line["path"]: line["part"] for line in csv.DictReader(file)}
        assert part[row["path"]] == "test"
        with open(run / "evaluation" / "predictions.csv", newline="") as file:
            found = {line["sha256"]: line["probability"] for line in csv.DictReader(file)}
        assert float(row["probability"]) == float(found[row["sha256"]])


def test_the_numbers_follow_from_the_rows(validated: Path) -> None:
    """Accuracy of each repeat, their mean and their deviation, recomputed from predictions.csv."""
    rows = rows_of(validated)
    shares = []
    for repeat in ("1", "2"):
        right = [row["label"] == called_in(row) for row in rows if row["repeat"] == repeat]
        shares.append(sum(right) / len(right))
    found = json.loads((validated / "evaluation" / "metrics.json").read_text())
    assert [repeat["accuracy"]["value"] for repeat in found["per_repeat"]] == shares
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(shares))
    assert found["metrics"]["accuracy"]["n"] == 40
    assert found["training_spread"]["accuracy"]["sd"] == pytest.approx(stdev(shares))
    assert found["synthetic"] is True


def test_the_table_shows_both_spreads_and_the_folds(validated: Path) -> None:
    """A person reads sampling and training apart, and that the images were drawn."""
    text = (validated / "evaluation" / "table.md").read_text()
    assert text.startswith("# SYNTHETIC: efficientnet_lite0, grouped 2-fold")
    assert "95 % interval (sampling) | Over repeats (training)" in text
    assert "| 2 | 2 | " in text
    assert "never a patient" in text


def test_a_stopped_cross_validation_goes_on_and_does_nothing_twice(
    drawn_set: Path, validated: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the third run: the first two stay as they are, and the end is the same."""
    folder, begun = tmp_path / "stopped", []

    def stop(_: object) -> None:
        if len(begun) == 3:
            signal.raise_signal(signal.SIGINT)

    listener = CrossvalListener(
        training=Listener(progress=stop), begin=lambda fold, *_: begun.append(fold)
    )
    with pytest.raises(Interrupted, match=f"crossval --resume {folder}") as caught:
        crossval(settings(drawn_set), FOLDS, REPEATS, folder, listener)
    assert caught.value.exit_status == 130
    first = folder / "repeat-1" / "fold-1" / "model.alld" / "model.safetensors"
    before = first.stat().st_mtime_ns
    (folder / "repeat-2" / "fold-2").mkdir()  # as a kill before the run's first file leaves it
    resume_crossval(folder)
    assert first.stat().st_mtime_ns == before
    assert rows_of(folder) == rows_of(validated)


def test_cross_validations_can_be_compared(
    validated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alld compare` takes two of them; a copy agrees on every image of both repeats."""
    copy = validated.parent / "copy"
    shutil.copytree(validated, copy)
    assert run_command(["compare", str(validated), str(copy), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    distinct = {row["sha256"] for row in rows_of(validated)}  # the set has one identical pair
    assert (found["images"], found["repeats"]) == (len(distinct), 2)
    assert found["pairs"][0]["p_value"] == 1


def test_runs_lists_cross_validations(
    validated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished one with its accuracy, one under way with its folds, a damaged one as such."""
    runs = validated.parent / "place" / "runs"
    shutil.copytree(validated, runs / "a")
    shutil.copytree(validated, runs / "b")
    shutil.rmtree(runs / "b" / "evaluation")
    shutil.rmtree(runs / "b" / "repeat-2" / "fold-2")
    (runs / "c").mkdir()
    (runs / "c" / "crossval.json").write_text("{}")
    monkeypatch.chdir(runs.parent)
    assert run_command(["runs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["finished", "3 of 4 folds", "damaged"]
    assert rows[0]["accuracy"].endswith("%")
    assert rows[0]["data"] == "SYNTHETIC ALL-IDB2 (40)"
    assert rows[0]["split"] == "grouped 2-fold x 2"


def test_a_fold_of_other_images_is_refused(validated: Path, tmp_path: Path) -> None:
    """Pooling asks every run for the fingerprint of the plan."""
    shutil.copytree(validated, tmp_path / "cv")
    facts = tmp_path / "cv" / "repeat-1" / "fold-2" / "run.json"
    found = json.loads(facts.read_text())
    found["data"]["fingerprint"] = "0" * 64
    facts.write_text(json.dumps(found))
    with pytest.raises(RunError, match="other images"):
        resume_crossval(tmp_path / "cv")


def test_a_random_split_is_told_to_tear_groups(drawn_set: Path, tmp_path: Path) -> None:
    """The caveat counts the groups whose cells are tested by a model that saw them."""
    result = crossval(settings(drawn_set, split__kind="random"), 2, 1, tmp_path / "cv")
    leaking = [sentence for sentence in caveats(result) if "more than one fold" in sentence]
    assert result.data["leaking_groups"] > 0
    assert leaking[0].startswith(str(result.data["leaking_groups"]))
    assert result.training_spread["accuracy"].sd is None
    assert "one repeat" in str(result.training_spread["accuracy"].reason)


def judged(repeat: int, probabilities: list[float], labels: list[int]) -> list[HeldOut]:
    pairs = enumerate(zip(probabilities, labels, strict=True))
    return [
        HeldOut(repeat, 1, f"{i}.tif", f"{i}", f"group {i // 2}", label, probability, 0.5)
        for i, (probability, label) in pairs
    ]


def test_pooling_takes_the_mean_of_the_repeats() -> None:
    """Two repeats by hand: 3 and 4 of 4 right; one repeat alone keeps its counts."""
    labels = [0, 0, 1, 1]
    first, second = judged(1, [0.1, 0.6, 0.7, 0.9], labels), judged(2, [0.1, 0.2, 0.7, 0.9], labels)
    pooled = pooled_metrics([first, second], draws=100)
    assert pooled["accuracy"].value == pytest.approx((3 / 4 + 1) / 2)
    assert pooled["specificity"].value == pytest.approx((1 / 2 + 1) / 2)
    assert pooled["sensitivity"].value == 1
    assert pooled["accuracy"].k is None
    assert pooled["accuracy"].n == 4
    assert pooled["sensitivity"].n == pooled["specificity"].n == 2
    by_hand = [fmean(errors) for errors in ([0.1, 0.6, 0.3, 0.1], [0.1, 0.2, 0.3, 0.1])]
    assert pooled["ece"].value == pytest.approx(fmean(by_hand))  # each alone in its bin
    assert pooled["ece"].ci_low is None
    assert pooled["ece"].reason
    alone = pooled_metrics([first], draws=100)
    assert (alone["accuracy"].k, alone["accuracy"].n) == (3, 4)
    spread = training_spread([metrics_of_repeat(rows, 100) for rows in (first, second)])
    assert spread["accuracy"].sd == pytest.approx(stdev([0.75, 1]))


def test_each_fold_keeps_its_own_threshold() -> None:
    """A probability of 0.4 is a blast where the fold's threshold is 0.3."""
    rows = judged(1, [0.4, 0.4], [1, 0])
    low = [row.__class__(**{**row.__dict__, "threshold": 0.3}) for row in rows[:1]]
    assert metrics_of_repeat([*low, rows[1]], 100)["accuracy"].k == 2


def test_one_class_alone_is_undefined_with_its_reason() -> None:
    """No healthy cell: specificity and ROC AUC are null, never 0."""
    rows = judged(1, [0.9, 0.8, 0.2, 0.7], [1, 1, 1, 1])
    found = metrics_of_repeat(rows, 100)
    for name in ("specificity", "roc_auc"):
        assert found[name].value is None
        assert found[name].reason
    both = pooled_metrics([rows, judged(2, [0.9, 0.8, 0.2, 0.7], [1, 1, 1, 1])], 100)
    assert both["specificity"].value is None


def test_the_command_says_what_it_found(
    drawn_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line a fold on standard error, JSON alone on standard output; --resume repeats nothing."""
    out = tmp_path / "cv"
    options = [f"--set={key}={value}" for key, value in SMALL.items()]
    options += ["--set=train.epochs=0", "--folds=2", "--json", f"--out={out}"]
    assert run_command(["crossval", "--data", str(drawn_set), *options]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["metrics"]["accuracy"]["n"] == 40
    assert "run 2 of 2: repeat 1, fold 2" in said.err
    assert run_command(["crossval", "--resume", str(out)]) == 0
    again = capsys.readouterr()
    assert "run 1 of 2" not in again.err
    assert "SYNTHETIC: efficientnet_lite0, grouped 2-fold" in again.out
    assert f"read it in a browser: {out / 'evaluation' / 'report.html'}" in again.err
    assert (out / "evaluation" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--folds", "1"], "folds"),
        (["--folds", "900"], "900 folds"),
        (["--split", "paper"], "no folds"),
        (["--repeats", "0"], "--repeats 0"),
        (["--resume", "nothing"], "no cross-validation there"),
        (["--resume", "nothing", "--folds", "3"], "give it alone"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    named: str,
    drawn_set: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, the line names what to change, and nothing was written."""
    monkeypatch.chdir(tmp_path)
    place = [] if "--resume" in words else ["--data", str(drawn_set), f"--set=model.arch={ARCH}"]
    assert run_command(["crossval", *place, *words]) == 2
    said = capsys.readouterr()
    assert named in said.err.splitlines()[-1]
    assert said.out == ""
    assert not any(tmp_path.iterdir())


ARCH = SMALL["model.arch"]


@pytest.fixture
def unfinished(validated: Path, tmp_path: Path) -> Path:
    """A cross-validation whose last fold is missing."""
    folder = shutil.copytree(validated, tmp_path / "cv")
    shutil.rmtree(folder / "repeat-2" / "fold-2")
    return folder


def test_other_images_are_refused_before_the_next_fold_is_trained(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when all folds are there and cannot be pooled."""
    monkeypatch.setattr("alld.evaluation.crossval.train.train", None)
    plan = json.loads((unfinished / "crossval.json").read_text())
    (unfinished / "crossval.json").write_text(json.dumps({**plan, "fingerprint": "0" * 64}))
    with pytest.raises(RunError, match="not the images"):
        resume_crossval(unfinished)


def test_folds_of_other_versions_are_not_added_unless_allowed(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pooled folds come from one machine; what is allowed all the same is in the report."""
    versions = {**library_versions(), "torch": "1.0"}
    monkeypatch.setattr("alld.runs.machine.library_versions", lambda: versions)
    with pytest.raises(RunError, match=r"versions\.torch: .* then, 1\.0 now.*--allow-inexact"):
        resume_crossval(unfinished)
    result = resume_crossval(unfinished, allow_inexact=True)
    assert "1.0" in result.provenance["training"]["versions"]["torch"]


def test_what_ends_a_fold_says_which_one(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss that is no number after hours: of the third fold or of the ninth?"""

    def diverging(*_: object) -> None:
        raise RunError("the training loss is nan")

    monkeypatch.setattr("alld.evaluation.crossval.train.train", diverging)
    with pytest.raises(RunError, match="repeat 1, fold 1: the training loss is nan"):
        crossval(settings(drawn_set), FOLDS, 1, tmp_path / "cv")


def test_sigterm_between_two_trainings_says_how_to_go_on(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a fold is tested, or its images are read, no training listens for it."""

    def told(*_: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("alld.evaluation.crossval.train.train", told)
    with pytest.raises(Interrupted, match=f"--resume {tmp_path / 'cv'}") as caught:
        crossval(settings(drawn_set), FOLDS, 1, tmp_path / "cv")
    assert caught.value.exit_status == 143
