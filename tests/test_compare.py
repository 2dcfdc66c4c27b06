"""Comparisons of runs on identical images, whose results are known by hand."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from alld.config.schema import Config
from alld.errors import AlldError, ConfigError, RunError
from alld.evaluation.compare.compare import compare
from alld.runtime.files import sha256_hex, write_csv, write_json

COLUMNS = ("path", "sha256", "pixels_sha256", "verdict", "probability", "threshold", "label")
NAMES = [f"cell{number:02d}" for number in range(20)]  # even ones are blasts
DRAWS = 200


def label_of(name: str) -> str:
    return "healthy" if int(name[4:]) % 2 else "blast"


def probability(name: str, *, right: bool) -> float:
    return 0.9 if (label_of(name) == "blast") == right else 0.1


def write_run(
    folder: Path,
    rows: Sequence[Mapping[str, object]],
    *,
    groups: Mapping[str, str] | None = None,
    synthetic: bool = False,
    split: str = "one",
) -> Path:
    """An evaluated run of these rows: each needs a name, and may overrule any column."""
    full = [
        {
            "path": f"/set/{row['name']}.tif",
            "sha256": sha256_hex(str(row["name"]).encode()),
            "pixels_sha256": "",
            "verdict": "",
            "threshold": 0.5,
            "label": label_of(str(row["name"])),
            **row,
        }
        for row in rows
    ]
    columns = (*COLUMNS, "repeat") if "repeat" in full[0] else COLUMNS
    table = [{column: row.get(column) for column in columns} for row in full]
    places = {row["path"]: (groups or {}).get(str(row["name"]), row["name"]) for row in full}
    split_rows = [{"path": Path(str(path)).name, "group": group} for path, group in places.items()]
    (folder / "evaluation").mkdir(parents=True)
    write_csv(folder / "evaluation" / "predictions.csv", columns, table)
    facts = {"synthetic": synthetic, "name": "ALL-IDB2", "split_sha256": split}
    write_json(folder / "evaluation" / "metrics.json", {"data": facts})
    write_csv(folder / "split.csv", ("path", "group"), split_rows)
    (folder / "run.json").write_text("{}")
    return folder


def predicted(folder: Path, probabilities: Mapping[str, float], **more: object) -> Path:
    """An evaluated run that predicts P(blast) of each image named; `more` overrules columns."""
    rows = [{"name": name, "probability": p, **more} for name, p in probabilities.items()]
    return write_run(folder, rows)


Runs = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path) -> Runs:
    """Writes a run that errs on the images named, of the 20 or of others."""

    def make(
        name: str, wrong: Sequence[str] = (), names: Sequence[str] = NAMES, **more: Any
    ) -> Path:
        rows = [{"name": n, "probability": probability(n, right=n not in wrong)} for n in names]
        return write_run(tmp_path / name, rows, **more)

    return make


def test_six_one_way_images_make_a_run_better(run: Runs) -> None:
    """Right on six of twenty where the other errs, never the other way: p is 2/64."""
    good, bad = run("good"), run("bad", NAMES[:6])
    [pair] = compare([good, bad], draws=DRAWS).pairs
    assert (pair.test.only_a, pair.test.only_b, pair.test.n) == (6, 0, 20)
    assert pair.test.p_value == pair.p_holm == 2 / 64
    assert pair.better == "good"
    assert pair.verdict == (
        "good is better than bad on these images: good alone is right on 6 of 20 images, bad on 0; "
        "exact McNemar p = 0.031."
    )
    [turned] = compare([bad, good], draws=DRAWS).pairs
    assert (turned.test.only_a, turned.test.only_b, turned.better) == (0, 6, "good")
    assert turned.differences["accuracy"].value == pytest.approx(-0.3)


def test_images_are_recognised_by_their_pixels(tmp_path: Path) -> None:
    """Runs on a set and on the same set in another format tested the same images."""
    rows = [
        {"name": n, "probability": probability(n, right=True), "pixels_sha256": n} for n in NAMES
    ]
    anew = [{**row, "sha256": f"bmp {row['name']}"} for row in rows]
    runs = [write_run(tmp_path / "png", rows), write_run(tmp_path / "bmp", anew)]
    assert compare(runs, draws=DRAWS).images == 20


def test_runs_without_pixel_hashes_are_compared_by_their_files(tmp_path: Path) -> None:
    """An evaluation by an older version has the hashes of the files alone."""
    rows = [{"name": n, "probability": probability(n, right=True)} for n in NAMES]
    newer = [{**row, "pixels_sha256": row["name"]} for row in rows]
    runs = [write_run(tmp_path / "old", rows), write_run(tmp_path / "new", newer)]
    assert compare(runs, draws=DRAWS).images == 20


def test_five_one_way_images_are_too_few(run: Runs) -> None:
    """p is 2/32, and the caveats say that it takes six."""
    found = compare([run("good"), run("bad", NAMES[:5])], draws=DRAWS)
    [pair] = found.pairs
    assert (pair.test.p_value, pair.better) == (2 / 32, None)
    assert pair.verdict.startswith("good and bad cannot be told apart: good alone is right on 5")
    assert "at least 6 images" in " ".join(found.caveats)


def test_holm_takes_all_pairs_together(run: Runs) -> None:
    """Three pairs with p of 2/64, 2/32 and 1: times 3, times 2, and 1; so six no longer do."""
    runs = [run("good"), run("six", NAMES[:6]), run("five", NAMES[10:15])]
    found = compare(runs, draws=DRAWS)
    assert [pair.test.p_value for pair in found.pairs] == pytest.approx([2 / 64, 2 / 32, 1])
    assert [pair.p_holm for pair in found.pairs] == pytest.approx([6 / 64, 4 / 32, 1])
    assert [pair.better for pair in found.pairs] == [None, None, None]
    assert "p = 0.031, after Holm 0.094" in found.pairs[0].verdict
    assert "at least 7 images" in " ".join(found.caveats)
    assert "any of 3 pairs" in " ".join(found.caveats)


def test_the_differences_by_hand(run: Runs, tmp_path: Path) -> None:
    """Accuracy 4/4 against 2/4, ROC AUC 1 against 3/4: one blast ranks below one healthy cell."""
    weak = {"cell00": 0.9, "cell02": 0.4, "cell01": 0.6, "cell03": 0.1}
    runs = [run("a", names=NAMES[:4]), predicted(tmp_path / "b", weak)]
    [pair] = compare(runs, draws=DRAWS).pairs
    assert pair.differences["accuracy"].value == 0.5
    assert pair.differences["roc_auc"].value == 0.25
    assert str(pair.differences["accuracy"].method).startswith("paired group bootstrap")


def test_a_difference_in_ranking_is_reported_beside_equal_verdicts(tmp_path: Path) -> None:
    """Both call every image a blast; one ranks all blasts first, the other at random."""
    ranked = {name: probability(name, right=True) for name in NAMES}
    chance = {name: 0.9 if name in NAMES[:10] else 0.1 for name in NAMES}
    named = (("ranked", ranked), ("chance", chance))
    runs = [predicted(tmp_path / name, own, threshold=0) for name, own in named]
    [pair] = compare(runs, draws=DRAWS).pairs
    assert (pair.test.only_a, pair.test.only_b, pair.better) == (0, 0, None)
    assert "they do differ: ROC AUC +0.500 (+0." in pair.verdict
    [same] = compare(runs[::-1], draws=DRAWS).pairs
    assert "ROC AUC -0.500 (-0." in same.verdict


def test_only_images_that_all_runs_tested_are_compared(run: Runs) -> None:
    """Of twenty and fifteen images ten are the same: all numbers are of these ten."""
    others = [*NAMES[10:], *(f"cell{number}" for number in range(20, 25))]
    found = compare([run("a", NAMES[:6]), run("b", NAMES[10:12], others)], draws=DRAWS)
    assert (found.images, found.classes) == (10, "5 blast, 5 healthy")
    assert [one.tested for one in found.runs] == [20, 15]
    assert [one.metrics["accuracy"].k for one in found.runs] == [10, 8]
    assert found.pairs[0].test.n == 10


def test_images_are_matched_by_their_content(run: Runs, tmp_path: Path) -> None:
    """Other folders and names do not matter; two files of equal content are one image."""
    moved = [
        {"name": name, "path": f"/moved/to/{name}{copy}.tif", "probability": 0.9}
        for name in NAMES
        for copy in ("", "-copy")
    ]
    found = compare([run("here"), write_run(tmp_path / "there", moved)], draws=DRAWS)
    assert (found.images, found.runs[1].tested) == (20, 20)
    assert found.pairs[0].test.only_a == 10  # the other run calls every cell a blast
    assert any("equal content" in sentence for sentence in found.caveats)


def test_groups_of_all_runs_are_joined(run: Runs) -> None:
    """One run keeps 0 and 1 together, the other 1 and 2: all three are one group, of 18."""
    first, second = {"cell00": "g", "cell01": "g"}, {"cell01": "h", "cell02": "h"}
    found = compare([run("a", groups=first), run("b", groups=second)], draws=DRAWS)
    assert found.groups == 18
    assert "20 images in 18 groups" in found.caveats[0]


def test_images_of_one_group_do_not_make_a_run_better(run: Runs) -> None:
    """Six one-way images that show one cell: p is 2/64, and the interval still holds 0."""
    groups = dict.fromkeys(NAMES[:6], "one cell")
    [pair] = compare([run("a", groups=groups), run("b", NAMES[:6])], draws=DRAWS).pairs
    assert (pair.p_holm, pair.better) == (2 / 64, None)
    assert "with groups kept whole, the difference may be 0" in pair.verdict


def test_each_run_has_its_own_threshold(tmp_path: Path) -> None:
    """P(blast) of 0.4 is a blast from 0.3 on, and healthy below 0.5."""
    same = dict.fromkeys(NAMES, 0.4)
    runs = [predicted(tmp_path / f"at{limit}", same, threshold=limit) for limit in (0.3, 0.5)]
    counts = [one.metrics["sensitivity"].k for one in compare(runs, draws=DRAWS).runs]
    assert counts == [10, 0]


def repeated(folder: Path, wrong: Mapping[str, Sequence[str]]) -> Path:
    """Two repeats of a cross-validation of ten images, with the errors of each."""
    rows = [
        {"name": name, "repeat": repeat, "probability": probability(name, right=name not in errs)}
        for repeat, errs in wrong.items()
        for name in NAMES[:10]
    ]
    return write_run(folder, rows)


def test_repeats_are_not_independent_observations(tmp_path: Path) -> None:
    """Three images that one model gets right in both repeats count as three, not six."""
    good = repeated(tmp_path / "good", {"1": [], "2": []})
    bad = repeated(tmp_path / "bad", {"1": NAMES[:3], "2": NAMES[:3]})
    found = compare([good, bad], draws=DRAWS)
    assert (found.images, found.repeats, found.groups) == (10, 2, 10)
    [pair] = found.pairs
    assert (pair.test.only_a, pair.test.n, pair.test.p_value) == (3, 10, 2 / 8)
    assert [image.repeat for image in pair.disagreements] == ["1"] * 3 + ["2"] * 3
    assert "good is right more often on 3 of 10 images" in pair.verdict
    assert "Wilson" not in str(found.runs[1].metrics["accuracy"].method)


def test_an_image_is_paired_within_its_repeat(tmp_path: Path) -> None:
    """Wrong once in another repeat than the other model: neither is right more often."""
    runs = [
        repeated(tmp_path / "a", {"1": NAMES[:1], "2": []}),
        repeated(tmp_path / "b", {"1": [], "2": NAMES[:1]}),
    ]
    [pair] = compare(runs, draws=DRAWS).pairs
    assert (pair.test.only_a, pair.test.only_b) == (0, 0)
    assert {image.right for image in pair.disagreements} == {"a", "b"}


def test_runs_that_do_not_pair_are_refused(run: Runs, tmp_path: Path) -> None:
    """No image in common, labels that disagree, and a run beside a cross-validation."""
    a, healthy = run("a"), {"name": "cell00", "probability": 0.2, "label": "healthy"}
    others = run("others", names=["cell20"])
    with pytest.raises(RunError, match=r"no image was tested by all of a, others; .*split\.seed"):
        compare([a, others])
    with pytest.raises(RunError, match=r"cell00\.tif: blast in a, healthy in b"):
        compare([a, write_run(tmp_path / "b", [healthy])])
    copies = [{"name": "cell00", "probability": 0.9}, {**healthy, "path": "/set/copy.tif"}]
    with pytest.raises(RunError, match=r"line 3: the same picture as /set/cell00\.tif"):
        compare([a, write_run(tmp_path / "c", copies)])
    with pytest.raises(RunError, match="like with like"):
        compare([a, repeated(tmp_path / "cv", {"1": [], "2": []})])


def test_folders_that_cannot_be_compared_are_refused(run: Runs, tmp_path: Path) -> None:
    """Fewer than two, the same one by two ways, one without an evaluation, and none at all."""
    a = run("a")
    shutil.rmtree(run("new") / "evaluation")
    with pytest.raises(ConfigError, match="two runs or more"):
        compare([a])
    with pytest.raises(ConfigError, match="named twice"):
        compare([a, tmp_path / "new", a.parent / "elsewhere" / ".." / "a"])
    with pytest.raises(RunError, match=r"not evaluated yet; first: alld evaluate .*new"):
        compare([a, tmp_path / "new"])
    with pytest.raises(RunError, match="no run there"):
        compare([a, tmp_path / "nothing"])


DAMAGE = {
    "a probability of 2": ("evaluation/predictions.csv", "0.9,0.5", "2,0.5"),
    "no number": ("evaluation/predictions.csv", "0.9,0.5", "nan,0.5"),
    "an unknown label": ("evaluation/predictions.csv", ",blast", ",blats"),
    "a lost column": ("evaluation/predictions.csv", "threshold", "limit"),
    "another split": ("split.csv", "cell05", "cell55"),
    "no facts": ("evaluation/metrics.json", "synthetic", "drawn"),
}


@pytest.mark.parametrize(("file", "old", "new"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_evaluation_is_one_line(run: Runs, file: str, old: str, new: str) -> None:
    """What no evaluation wrote is refused with the file and the command that repeats it."""
    runs = [run("a"), run("b")]
    text = (runs[1] / file).read_text()
    assert old in text
    (runs[1] / file).write_text(text.replace(old, new, 1))
    with pytest.raises(AlldError, match="repeat it: alld evaluate") as caught:
        compare(runs)
    assert Path(file).name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_caveats_and_names(run: Runs) -> None:
    """Other training images and the one seed are named; runs/x and others/x are not both x."""
    found = compare([run("one/x"), run("two/x", split="other")], draws=DRAWS)
    words = " ".join(found.caveats)
    for expected in ("different splits", "one seed", "no patient ids", "never a patient"):
        assert expected in words
    assert [one.name[-6:] for one in found.runs] == ["/one/x", "/two/x"]
    alike = " ".join(compare([run("c"), run("d")], draws=DRAWS).caveats)
    assert "different splits" not in alike


def test_a_test_of_other_sessions_stands_beside_one_inside(
    run: Runs, alld: Callable[..., Any]
) -> None:
    """With the mean ROC AUC of its directions and that of its own validation images."""
    runs = [run("inside"), run("outside", NAMES[:8])]
    area = {"value": 0.344, "k": None, "n": 20, "ci_low": 0.294, "ci_high": 0.395, "method": "b"}
    inside = {**area, "value": 0.994, "ci_low": None, "ci_high": None, "reason": "no interval: why"}
    for folder, split in zip(runs, ("grouped", "session"), strict=True):
        file = folder / "evaluation" / "metrics.json"
        facts = json.loads(file.read_text()) | {"plan": {"split": split}}
        if split == "session":
            facts["outside"] = {"mean": {"roc_auc": area}, "inside": {"roc_auc": inside}}
        write_json(file, facts)
    status, out, err = alld("compare", *runs)
    assert status == 0, err
    assert all(said in out for said in ("0.344", "0.294 to 0.395", "0.994", "no interval: why"))
    assert "outside was tested on sessions that trained no part of it, inside was not" in out
    found = compare(runs, draws=DRAWS).as_dict()
    assert [one.get("outside", {}).get("value") for one in found["runs"]] == [None, 0.344]
    assert not any("sessions that trained" in said for said in compare([runs[0], run("c")]).caveats)


def test_the_command_prints_a_verdict_and_the_images(run: Runs, alld: Callable[..., Any]) -> None:
    """Few images on which two runs differ are listed with both probabilities, ten with -v."""
    status, shown, _ = alld("compare", run("a"), run("b", NAMES[:2], synthetic=True))
    assert status == 0
    assert "SYNTHETIC: 20 images tested by all runs: 10 blast, 10 healthy" in shown
    assert "a and b cannot be told apart" in shown
    assert "blast    P(blast) 0.9 of a, 0.1 of b: a is right  /set/cell00.tif" in shown
    assert "Not a medical device" in shown
    words = ("compare", run("c"), run("d", NAMES[:10]))
    status, shown, errors = alld(*words)
    assert status == 0
    assert "cell00.tif" not in shown + errors
    assert "-v lists the 10 images" in errors
    assert alld(*words, "-v")[2].count("is right") == 10


def test_a_real_runs_numbers_are_those_of_its_evaluation(
    run_folder: Path, small_config: Config, tmp_path: Path
) -> None:
    """A run and its copy: the evaluation's own metrics, and no difference."""
    copy = shutil.copytree(run_folder, tmp_path / "copy")
    draws = small_config.evaluate.bootstrap_draws
    answer = compare([run_folder, copy], draws=draws).as_dict()
    evaluated = json.loads((run_folder / "evaluation" / "metrics.json").read_text())["metrics"]
    for of_run in answer["runs"]:
        assert of_run["metrics"] == {name: evaluated[name] for name in of_run["metrics"]}
    [pair] = answer["pairs"]
    assert (pair["p_value"], pair["better"], pair["disagreements"]) == (1.0, None, [])
    assert pair["differences"]["roc_auc"]["value"] == 0
    assert answer["synthetic"] is True
    assert answer["fewest_discordant"] == 6
