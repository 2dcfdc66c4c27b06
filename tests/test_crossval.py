"""Cross-validation: each image tested once in a repeat, two spreads apart, nothing done twice."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from conftest import ARCH, SMALL, Answer
from pages import called_in
from trainings import replace_in, with_settings

from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.data.splits import make_split
from alld.errors import ConfigError, DataError, Interrupted, RunError
from alld.evaluation.crossval.folds import read_plan
from alld.evaluation.crossval.train import CrossvalListener, crossval, resume_crossval
from alld.evaluation.out_of_fold import HeldOut, metrics_of_repeat, pooled_metrics, training_spread
from alld.evaluation.result import read_result
from alld.model.bundle import library_versions
from alld.runtime.reading import read_csv
from alld.training.train import Listener

TRAIN = "alld.evaluation.crossval.train.train"


def rows_of(folder: Path) -> list[dict[str, str]]:
    return read_csv(folder / "evaluation" / "predictions.csv")


@pytest.fixture
def unfinished(validated: Path, tmp_path: Path) -> Path:
    """A cross-validation whose last fold is missing, as a kill before its first file leaves it."""
    folder = Path(shutil.copytree(validated, tmp_path / "cv"))
    shutil.rmtree(folder / "repeat-2" / "fold-2")
    (folder / "repeat-2" / "fold-2").mkdir()
    return folder


@pytest.mark.parametrize("kind", ["grouped", "blocks", "random"])
def test_every_image_is_tested_in_one_fold(drawn_set: Path, kind: str) -> None:
    """Folds of one seed part the set; what stays for each gives 16 % of all to validation."""
    config = with_settings(drawn_set, split__kind=kind, split__block=4)
    manifest = load_manifest(config.data)
    groups = load_groups(manifest).of_image
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
        part = {line["path"]: line["part"] for line in read_csv(run / "split.csv")}
        assert part[row["path"]] == "test"
        found = {line["sha256"]: line["probability"] for line in rows_of(run)}
        assert float(row["probability"]) == float(found[row["sha256"]])


def test_the_numbers_follow_from_the_rows(validated: Path) -> None:
    """Accuracy of each repeat, their mean and their deviation, recomputed from predictions.csv."""
    rows = rows_of(validated)
    shares = []
    for repeat in ("1", "2"):
        correct = [row["label"] == called_in(row) for row in rows if row["repeat"] == repeat]
        shares.append(sum(correct) / len(correct))
    found = read_result(validated / "evaluation")
    assert [metrics["accuracy"].value for metrics in found.per_repeat] == shares
    assert found.metrics["accuracy"].value == pytest.approx(np.mean(shares))
    assert found.metrics["accuracy"].n == 40
    assert found.training_spread["accuracy"].sd == pytest.approx(stdev(shares))
    assert found.synthetic


def test_the_table_shows_both_spreads_and_the_folds(validated: Path) -> None:
    """A person reads sampling and training apart, and that the images were drawn."""
    text = (validated / "evaluation" / "table.md").read_text()
    assert text.startswith(f"# SYNTHETIC: {ARCH}, grouped 2-fold")
    for words in ("95 % interval (sampling) | Over repeats (training)", "| 2 | 2 | ", "a patient"):
        assert words in text


def test_a_stopped_cross_validation_goes_on_and_does_nothing_twice(
    drawn_set: Path, validated: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the second run: the first stays as it is, and the end is the same."""
    folder = tmp_path / "stopped"
    begun: list[object] = []

    def stop(_: object) -> None:
        if len(begun) == 2:
            signal.raise_signal(signal.SIGINT)

    listener = CrossvalListener(
        training=Listener(progress=stop), begin=lambda fold, *_: begun.append(fold)
    )
    with pytest.raises(Interrupted, match=f"crossval --resume {folder}") as caught:
        crossval(with_settings(drawn_set, train__epochs=0), 2, 1, folder, listener)
    assert caught.value.exit_status == 130
    first = folder / "repeat-1" / "fold-1" / "model.alld" / "model.safetensors"
    before = first.stat().st_mtime_ns
    resume_crossval(folder)
    assert first.stat().st_mtime_ns == before
    assert rows_of(folder) == [row for row in rows_of(validated) if row["repeat"] == "1"]


def test_cross_validations_can_be_compared(
    alld: Callable[..., Answer], validated: Path, tmp_path: Path
) -> None:
    """`alld compare` takes two of them; a copy agrees on every image of both repeats."""
    copy = shutil.copytree(validated, tmp_path / "copy")
    status, out, _ = alld("compare", validated, copy, "--json")
    assert status == 0
    found = json.loads(out)
    distinct = {row["sha256"] for row in rows_of(validated)}  # the set has one identical pair
    assert (found["images"], found["repeats"]) == (len(distinct), 2)
    assert found["pairs"][0]["p_value"] == 1


def test_runs_lists_cross_validations(
    alld: Callable[..., Answer],
    validated: Path,
    unfinished: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A finished one with its accuracy, one under way with its folds, a damaged one as such."""
    runs = tmp_path / "place" / "runs"
    shutil.copytree(validated, runs / "a")
    shutil.copytree(unfinished, runs / "b")
    shutil.rmtree(runs / "b" / "evaluation")
    (runs / "c").mkdir()
    (runs / "c" / "crossval.json").write_text("{}")
    monkeypatch.chdir(runs.parent)
    status, out, _ = alld("runs", "--json")
    assert status == 0
    rows = json.loads(out)
    assert [row["state"] for row in rows] == ["finished", "3 of 4 folds", "damaged"]
    assert rows[0]["accuracy"].endswith("%")
    assert rows[0]["data"] == "SYNTHETIC ALL-IDB2 (40)"
    assert rows[0]["split"] == "grouped 2-fold x 2"


def held_out(repeat: int, probabilities: list[float], labels: list[int]) -> list[HeldOut]:
    pairs = enumerate(zip(probabilities, labels, strict=True))
    return [
        HeldOut(repeat, 1, f"{i}.tif", f"{i}", f"group {i // 2}", label, probability, 0.5)
        for i, (probability, label) in pairs
    ]


def test_pooling_takes_the_mean_of_the_repeats() -> None:
    """Two repeats by hand: 3 and 4 of 4 correct; one repeat alone keeps its counts."""
    labels, both = [0, 0, 1, 1], ([0.1, 0.6, 0.7, 0.9], [0.1, 0.2, 0.7, 0.9])
    first, second = (held_out(number, prob, labels) for number, prob in enumerate(both, start=1))
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
    first, second = held_out(1, [0.4, 0.4], [1, 0])
    assert metrics_of_repeat([replace(first, threshold=0.3), second], 100)["accuracy"].k == 2


def test_one_class_alone_is_undefined_with_its_reason() -> None:
    """No healthy cell: specificity and ROC AUC are null, never 0."""
    repeats = [held_out(repeat, [0.9, 0.8, 0.2, 0.7], [1, 1, 1, 1]) for repeat in (1, 2)]
    for found in (metrics_of_repeat(repeats[0], 100), pooled_metrics(repeats, 100)):
        for name in ("specificity", "roc_auc"):
            assert found[name].value is None
            assert found[name].reason


def test_the_command_says_what_it_found(
    alld: Callable[..., Answer], drawn_set: Path, tmp_path: Path
) -> None:
    """A line a fold on standard error, JSON alone on standard output; --resume repeats nothing.

    A random split leaks groups, and one repeat shows no training spread.
    """
    out = tmp_path / "cv"
    options = [f"--set={key}={value}" for key, value in SMALL.items()]
    options += ["--set=train.epochs=0", "--folds=2", "--split=random", "--json", f"--out={out}"]
    status, stdout, stderr = alld("crossval", "--data", drawn_set, *options)
    assert status == 0
    facts = json.loads(stdout)
    assert facts["metrics"]["accuracy"]["n"] == 40
    assert facts["data"]["leaking_groups"] > 0
    assert facts["training_spread"]["accuracy"]["sd"] is None
    assert "one repeat" in facts["training_spread"]["accuracy"]["reason"]
    assert "run 2 of 2: repeat 1, fold 2" in stderr
    status, stdout, stderr = alld("crossval", "--resume", out)
    assert status == 0
    assert "run 1 of 2" not in stderr
    assert f"SYNTHETIC: {ARCH}, random 2-fold" in stdout
    leaking = facts["data"]["leaking_groups"]
    assert f"- {leaking} groups of images of the same cell or of overlapping crops" in stdout
    assert f"read it in a browser: {out / 'evaluation' / 'report.html'}" in stderr
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
    alld: Callable[..., Answer],
    drawn_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Status 2, the line names what to change, and nothing was written."""
    monkeypatch.chdir(tmp_path)
    place = ["--data", drawn_set, f"--set=model.arch={SMALL['model.arch']}"]
    status, out, err = alld("crossval", *([] if "--resume" in words else place), *words)
    assert status == 2
    assert named in err.splitlines()[-1]
    assert out == ""
    assert not any(tmp_path.iterdir())


def test_a_fold_of_other_images_is_refused(unfinished: Path, validated: Path) -> None:
    """Pooling asks every run for the fingerprint of the plan."""
    shutil.copytree(validated / "repeat-2", unfinished / "repeat-2", dirs_exist_ok=True)
    fold, plan = unfinished / "repeat-1" / "fold-2", read_plan(unfinished)
    replace_in(fold / "run.json", plan.fingerprint, "0" * 64)
    with pytest.raises(RunError, match="other images"):
        resume_crossval(unfinished)


def test_other_images_are_refused_before_the_next_fold_is_trained(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when all folds are there and cannot be pooled."""
    monkeypatch.setattr(TRAIN, None)
    replace(read_plan(unfinished), fingerprint="0" * 64).write()
    with pytest.raises(RunError, match="not the images"):
        resume_crossval(unfinished)


def test_folds_that_would_overlap_are_not_added(
    unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold begun with another split than this version draws ends the resume before training."""
    monkeypatch.setattr(TRAIN, None)
    plan = read_plan(unfinished)
    split = plan.config.split.model_copy(update={"seed": 1 + (plan.config.split.seed or 0)})
    replace(plan, config=plan.config.model_copy(update={"split": split})).write()
    with pytest.raises(RunError, match="another split than this version draws"):
        resume_crossval(unfinished)


def test_all_splits_are_drawn_before_the_first_training(
    drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan whose second repeat has no possible split ends before it writes anything."""
    monkeypatch.setattr(TRAIN, None)
    drawn: list[int] = []

    def drawing(*given: object) -> None:
        drawn.append(1)
        if given[-1] == 1:  # the seed of the second repeat
            raise DataError("no such split")

    monkeypatch.setattr("alld.evaluation.crossval.train.make_split", drawing)
    with pytest.raises(DataError, match="no such split"):
        crossval(with_settings(drawn_set), 2, 2, tmp_path / "cv")
    assert len(drawn) == 3
    assert not (tmp_path / "cv").exists()


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


@pytest.mark.parametrize(
    ("end", "expected", "words"),
    [
        (RunError("the loss is nan"), RunError, "repeat 1, fold 1: the loss is nan"),
        (SystemExit(143), Interrupted, "--resume "),  # SIGTERM while no training listens for it
    ],
    ids=["diverged", "SIGTERM"],
)
def test_what_ends_a_fold_says_which_one_and_how_to_go_on(
    drawn_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
    expected: type[Exception],
    words: str,
) -> None:
    """A loss that diverged, of the third fold or of the ninth? SIGTERM keeps its status."""

    def ending(*_: object) -> None:
        raise end

    monkeypatch.setattr(TRAIN, ending)
    with pytest.raises(expected, match=words) as caught:
        crossval(with_settings(drawn_set, train__epochs=0), 2, 1, tmp_path / "cv")
    if isinstance(caught.value, Interrupted):
        assert caught.value.exit_status == 143
        assert str(tmp_path / "cv") in str(caught.value)
