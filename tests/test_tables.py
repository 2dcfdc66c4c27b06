"""The paper's tables: systems on the same splits, planned pairs, honest names, and the scripts."""

import csv
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ARCH, REPOSITORY, SMALL, Answer

from alld.baselines.bench import Bench, folds_config, paper_config
from alld.baselines.systems import BACKGROUND, PROBE, SWARM, Quote, name_of_network
from alld.config.files import load_config
from alld.config.schema import Config, parse_config
from alld.data.groups.load import load_groups
from alld.data.manifest import Manifest
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan
from alld.evaluation.out_of_fold import HeldOut
from alld.evaluation.outside import OutsideTest, measure_outside
from alld.paper.systems import System, network_systems
from alld.paper.table import Table, latex, markdown, write_table
from alld.paper.table1 import make_table1
from alld.paper.table2 import PAPER, first_places, label_of, make_table2

BLASTS = 20
Script = Callable[..., Answer]


def system(
    name: str,
    correct: Sequence[int],
    quote: float | None = None,
    tests: tuple[float, ...] = (0.9, 1.0),
) -> System:
    """A system that in repeat r is correct on `correct[r]` of 20 blasts and all healthy cells."""
    repeats = {
        repeat: tuple(
            HeldOut(repeat, 1, f"{i}.tif", f"{i}", f"{i}", int(i < BLASTS),
                    0.9 if i < count else 0.1, 0.5)
            for i in range(2 * BLASTS)
        )
        for repeat, count in enumerate(correct, start=1)
    }  # fmt: skip
    printed = None if quote is None else Quote(quote, "10 repeats, 50 % tested")
    return System(name, printed, tests, repeats, 1.0, 0.001, draws=200)


@pytest.fixture(scope="module")
def bench(drawn_set: Path) -> Bench:
    """The 40 drawn images. Read only."""
    config = load_config(options={**SMALL, "data.root": drawn_set})
    manifest = load_manifest(config.data)
    return Bench(manifest, load_groups(manifest), config)


@pytest.fixture(scope="module")
def real(bench: Bench) -> Manifest:
    """A set that claims to be the original."""
    return replace(bench.manifest, synthetic=False, kind="ALL-IDB2")


@pytest.fixture(scope="module")
def table1(bench: Bench) -> Table:
    """A baseline below the reference, and both above the background."""
    background = system(BACKGROUND.title, (4, 4))
    baseline = system("[5] one_baseline", (12, 12), 0.9)
    return make_table1([background, baseline, system("ALLD", (20,))], bench.manifest, "ALLD")


@pytest.fixture(scope="module")
def table2(real: Manifest) -> Table:
    """A network from random weights beside one of the paper's."""
    ours = replace(system("vgg16", (10,), PAPER["vgg16"]), initial_weights="random")
    return make_table2([ours, system("vgg_19", (20,), PAPER["vgg19"], (51 / 52, 1.0))], real)


def test_table1_pairs_every_system_with_the_reference_and_the_background(table1: Table) -> None:
    """An image counts once on the repeats that both have; p by hand, Holm over the three pairs."""
    assert [(pair.a, pair.b) for pair in table1.pairs] == [
        ("[5] one_baseline", "ALLD"),
        ("[5] one_baseline", "background alone"),
        ("ALLD", "background alone"),
    ]
    baseline, both, background = (pair.test for pair in table1.pairs)
    assert [test.n for test in (baseline, both, background)] == [40, 40, 40]
    assert (baseline.only_a, baseline.only_b) == (0, 8)
    assert (background.only_a, background.only_b) == (16, 0)
    assert baseline.p_value == pytest.approx(2 * 0.5**8)
    assert table1.pairs[0].p_holm == pytest.approx(2 * 2 * 0.5**8)
    assert table1.pairs[1].better == "[5] one_baseline"


def test_other_sessions_are_a_column_and_a_table_of_directions(bench: Bench) -> None:
    """A system that was not tested there has an empty cell; what each direction tests is told."""
    labels, ranks = (1, 1, 0, 0), {"a": (0.9, 0.8, 0.2, 0.1), "b": (0.1, 0.9, 0.2, 0.3)}
    tests = [
        OutsideTest(tested, [
            HeldOut(1, 1, f"{tested}{i}", f"{i}", f"{tested}{i}", label, probability, 0.5)
            for i, (label, probability) in enumerate(zip(labels, own, strict=True))
        ])
        for tested, own in ranks.items()
    ]  # fmt: skip
    outside = replace(system("ALLD", (20,)), outside=measure_outside(tests, draws=200))
    found = make_table1([system(BACKGROUND.title, (4,)), outside], bench.manifest, "ALLD")
    column = found.headings.index("Another session: ROC AUC")
    assert found.cells[0][column] == ""
    assert found.rows[1]["outside_roc_auc"] == 0.75
    assert found.rows[1]["outside_roc_auc_lowest"] == 0.5
    text = markdown(found)
    assert "- 2: 2 blasts and 2 healthy cells of b" in text
    assert "| ALLD | 1 | 1.000" in text
    assert "50.0, 100.0 |" in text
    assert "No other session was tested" not in text
    nothing = markdown(make_table1([system(BACKGROUND.title, (4,)), system("ALLD", (20,))],
                                   bench.manifest, "ALLD"))  # fmt: skip
    assert "No other session was tested: " in nothing
    assert "of no known session" in nothing


def test_table2_pairs_every_two_systems(real: Manifest) -> None:
    """Three systems, three pairs; p by hand, Holm triples the smallest."""
    found = make_table2([system("a", (20,)), system("b", (20,)), system("c", (10,))], real).pairs
    assert [(pair.a, pair.b) for pair in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found[0].test.p_value == 1
    assert (found[1].test.only_a, found[1].test.only_b) == (10, 0)
    assert found[1].test.p_value == pytest.approx(2 * 0.5**10)
    assert found[1].p_holm == pytest.approx(3 * 2 * 0.5**10)


def test_a_system_is_measured_over_its_repeats() -> None:
    """Accuracy is the mean of the repeats, and their spread is kept apart."""
    found = system("a", (20, 10))
    assert found.metrics["accuracy"].value == pytest.approx((40 + 30) / 80)
    assert found.spread["accuracy"].sd == pytest.approx(0.25 / 2**0.5)


def test_the_papers_values_decode_to_whole_images() -> None:
    """94.230 and 98.076 % of 52 images, as the paper prints them."""
    assert PAPER["vgg16"] == pytest.approx(0.94230, abs=1e-4)
    assert {PAPER[name] for name in ("vgg19", "resnet34", "resnet50")} == {51 / 52}


def test_a_shared_first_place_counts_in_parts() -> None:
    """Two systems, three tests: one wins, one ties, one loses."""
    assert first_places([(0.9, 0.8, 0.7), (0.8, 0.8, 0.9)]) == [1.5, 1.5]
    assert first_places([(0.9, 0.9), (0.8, 0.8)]) == [2, 0]


def test_the_share_of_tests_that_reach_the_paper(real: Manifest) -> None:
    """50, 51 and 52 of 52 against the paper's 51: two of three; without a value no share."""
    tests = (50 / 52, 51 / 52, 1.0)
    systems = [system("vgg19", (20,), 51 / 52, tests), system("other", (20,), None, tests)]
    shares = [row["share_at_paper"] for row in make_table2(systems, real).rows]
    assert shares == [pytest.approx(2 / 3), None]


def test_a_table_says_what_its_reader_must_know(table1: Table, table2: Table) -> None:
    """The protocol of a quoted value, drawn images, the unit, and other weights than ImageNet's."""
    text = markdown(table1)
    assert text.startswith("# SYNTHETIC: Table 1")
    assert "[5] 10 repeats, 50 % tested" in text
    assert any("SYNTHETIC" in note for note in table1.notes)
    assert label_of(table2.systems[0]) == "vgg16 (random weights)"
    for text in (markdown(table2), latex(table2)):
        assert "vgg16 (random weights)" in text
        assert "19 (" not in text
        assert "did not start from ImageNet weights" in text
        assert "no patient ids" in text
    for table in (table1, table2):
        assert "never of patients" in markdown(table)
        assert "Not a medical device" in markdown(table)


def test_tables_of_confounded_sets_say_so(table1: Table, bench: Bench) -> None:
    """Where no session holds both classes; nothing is said of a set without sessions."""
    records = tuple(replace(one, domain="AB"[one.label]) for one in bench.manifest.records)
    confounded = replace(bench.manifest, records=records, domains_source="column scanner")
    notes = make_table1(table1.systems, confounded, "ALLD").notes
    assert any("Each of the 2 scanners (column scanner) of this set holds one" in n for n in notes)
    assert not any("holds one class" in note for note in table1.notes)


def test_tables_name_what_was_unlike(table1: Table, real: Manifest) -> None:
    """Conditions that differed between trainings stand in the notes of both."""
    found = ("threads: 1 and 2",)
    first = make_table1(table1.systems, real, "ALLD", found)
    second = make_table2([system("a", (20,)), system("b", (10,))], real, found)
    for table in (first, second):
        assert "unlike conditions: threads: 1 and 2" in markdown(table)
    assert "unlike conditions" not in markdown(table1)


def test_latex_escapes_what_latex_reads(table1: Table, table2: Table) -> None:
    """Names with underscores and percent signs do not break the table."""
    for table, name in ((table1, r"one\_baseline"), (table2, r"vgg\_19")):
        body = [line for line in latex(table).splitlines() if not line.startswith("%")]
        assert any(name in line for line in body)
        assert not any("%" in line.replace(r"\%", "") for line in body)


def test_a_written_table_holds_every_format(table1: Table, tmp_path: Path) -> None:
    """CSV, Markdown, LaTeX, JSON and a picture, and the pairs with both counts."""
    write_table(tmp_path / "t", table1)
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "pairs.csv", *(f"table1.{suffix}" for suffix in ("csv", "md", "tex", "png", "pdf", "json"))
    }  # fmt: skip
    with open(tmp_path / "t" / "pairs.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["a_correct_more_often"], first["b_correct_more_often"]) == ("0", "8")
    assert json.loads((tmp_path / "t" / "table1.json").read_text())["synthetic"] is True


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "ALLD, resnet50"),
        ({"augment.unsharp": "adaptive"}, "[7] adaptive unsharpening, resnet50"),
        ({"model.weights": "c.safetensors"}, "[6] resnet50 (weights of c.safetensors)"),
        ({"model.pretrained": False}, "ALLD, resnet50 (random weights)"),
        ({"train.epochs": 3, "model.tta": True}, "ALLD, resnet50, train.epochs=3, tta"),
    ],
)
def test_a_network_is_named_by_what_is_not_the_recipe(
    options: dict[str, object], name: str
) -> None:
    """Sharpened images are row [7], weights of other cells row [6], random ones say so."""
    found, quote = name_of_network(load_config(options=options))
    assert found == name
    assert (quote.accuracy if quote else None) == {"[7]": 0.9684, "[6]": 0.9792}.get(name[:3])


def test_features_of_random_weights_never_look_like_imagenets() -> None:
    """The name of what reads a network's features says which."""
    config = load_config(options={"model.arch": "resnet18", "model.pretrained": False})
    assert PROBE.name(config) == "linear probe, resnet18 (random weights)"
    assert SWARM.identity(config) != SWARM.identity(load_config())


def test_folds_of_other_kinds_are_drawn_and_named(bench: Bench) -> None:
    """As split.kind says; the table is headed by them."""
    random = replace(bench, config=with_kind(bench.config, "random"))
    first = [split.kind for split in (bench.folds(1)[0], random.folds(1)[0])]
    assert first == ["grouped", "random"]
    table = make_table1([system(BACKGROUND.title, (4,)), system("ALLD", (20,))], bench.manifest,
                        "ALLD", folds="random")  # fmt: skip
    assert "Random 5-fold (95 % interval)" in markdown(table)
    assert "same cells in training and test" in markdown(table)


def with_kind(config: Config, kind: str) -> Config:
    settings = config.model_dump(mode="json")
    settings["split"]["kind"] = kind
    return parse_config(settings, "settings")


def test_the_bench_draws_the_splits_of_runs(bench: Bench) -> None:
    """Repeat 2 has the folds of a cross-validation with the next seed; groups stay whole."""
    later = Bench(bench.manifest, bench.groups, bench.config.model_copy(update={"seed": 1}))
    first, second = ([split.parts for split in bench.folds(repeat)] for repeat in (1, 2))
    assert second == [split.parts for split in later.folds(1)] != first
    assert all(split.leaking_groups == 0 for split in bench.folds(1))


def test_a_paper_shaped_config_moves_both_seeds() -> None:
    """Split and training of test s are drawn by the config's seed plus s, whatever else it says."""
    config = load_config(options={"seed": 3, "split.seed": 9, "split.folds": 5, "split.fold": 1})
    paper, grouped = paper_config(config, 4), folds_config(config)
    assert (paper.split_seed, paper.split.kind) == (7, "paper")
    assert (grouped.split_seed, grouped.split.fold) == (3, None)


def test_folds_of_another_kind_are_not_compared(validated: Path, bench: Bench) -> None:
    """A cross-validation of two folds, or of other images, is refused by name."""
    with pytest.raises(RunError, match="other folds than grouped 5-fold"):
        network_systems([], [validated], bench, "cpu")
    other = replace(bench.manifest, records=bench.manifest.records[1:])
    with pytest.raises(RunError, match="other images"):
        network_systems([], [validated], replace(bench, manifest=other), "cpu")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Runs a script in this process and returns what a shell would see."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))

    def run(name: str, *words: object) -> Answer:
        monkeypatch.setattr("sys.argv", [name, *map(str, words)])
        status = importlib.import_module(name).main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.long
def test_the_script_of_table_1_goes_the_whole_way(script: Script, tmp_path: Path) -> None:
    """--quick on drawn images with a trained network; the second call computes nothing."""
    out = tmp_path / "t"
    words = ("--quick", "--out", out, "--baseline", "lbp", "--baseline", "swarm", "--arch",
             ARCH, "--backbone", ARCH, "--no-pretrained", "--device", "cpu")  # fmt: skip
    status, _, errors = script("reproduce_table1", *words)
    assert status == 0, errors
    with open(out / "table" / "table1.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert [name.split()[0] for name in rows] == ["background", "[5]", "[3]", "linear", "ALLD,"]
    for row in rows.values():
        assert (row["outside_directions"], row["outside_trainings"]) == ("4", "4")
        assert 0 <= float(row["outside_roc_auc_lowest"]) <= float(row["outside_roc_auc"]) <= 1
    before = {path: path.stat().st_mtime_ns for path in (out / "fitted").rglob("*.json")}
    assert len(before) == 4 * (5 + 4)
    assert script("reproduce_table1", *words)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before

    # The network alone, as a finished cross-validation, is the same system.
    [crossval] = out.glob("*/grouped")
    config = read_plan(crossval).config
    manifest = load_manifest(config.data)
    own = Bench(manifest, load_groups(manifest), config)
    (found,) = network_systems([], [crossval], own, "cpu")
    assert found.metrics["accuracy"].value == pytest.approx(float(rows[found.name]["grouped"]))
    assert found.outside is None
    (outside,) = out.glob("*/session")
    (found,) = network_systems([], [crossval, outside], own, "cpu")
    assert found.outside is not None
    area = found.outside.mean["roc_auc"].value
    assert area == pytest.approx(float(rows[found.name]["outside_roc_auc"]))
    with pytest.raises(RunError, match="give a grouped cross-validation"):
        network_systems([], [outside], own, "cpu")
    moved = replace(own, config=config.model_copy(update={"seed": 1}))
    with pytest.raises(RunError, match="other folds"):
        network_systems([], [crossval], moved, "cpu")


@pytest.mark.long
def test_the_script_of_table_2_goes_the_whole_way(script: Script, tmp_path: Path) -> None:
    """--quick on drawn images; a second call trains nothing, and other settings are refused."""
    words = ("--quick", "--seeds", 1, "--out", tmp_path / "t", "--arch", ARCH,
             "--no-pretrained", "--device", "cpu")  # fmt: skip
    status, shown, errors = script("reproduce_table2", *words)
    assert status == 0, errors
    assert shown.startswith("# SYNTHETIC: Table 2")
    assert f"experiment 1 of 3: {ARCH}, paper-shaped, seed 0" in errors
    with open(tmp_path / "t" / "table" / "table2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["grouped_n"], row["outside_directions"]) for row in rows] == [
        (ARCH, "260", "4"), (f"linear probe, {ARCH}", "260", "4"),
    ]  # fmt: skip
    status, again, errors = script("reproduce_table2", *words)
    assert (status, again) == (0, shown)
    assert "experiment 1 of" not in errors
    assert script("reproduce_table2", *words, "--dry-run")[1].count("done") == 3
    # Settings of one's own override --quick, and never make half of a table.
    status, _, errors = script("reproduce_table2", *words, "--set", "train.epochs=3", "--dry-run")
    assert status == 2
    assert "train.epochs: 1 then, 3 now" in errors


def test_an_evening_has_fewer_tests_and_says_how_long_it_takes(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tests of the paper's shape, not ten; a slow machine is told what to leave out."""
    words = ("--quick", "--evening", "--seeds", 1, "--out", tmp_path / "t", "--arch", ARCH)
    said: list[str] = []
    table2 = importlib.import_module("reproduce_table2")
    monkeypatch.setattr(table2.display, "say", said.append)
    monkeypatch.setattr(table2, "compute_missing", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        script("reproduce_table2", *words, "--device", "cpu")
    assert re.fullmatch(r"about [\d.]+ h for 3 experiments, from one training step here", said[-1])
    assert table2.hours_here(36_000, 44).endswith("--device cuda a GPU")
    seeds = []
    for options in ([], ["--evening"], ["--evening", "--seeds", "5"]):
        monkeypatch.setattr("sys.argv", ["reproduce_table2", *options])
        seeds.append(table2.parse().seeds)
    assert seeds == [10, 3, 5]


SCRIPTS = sorted(
    file
    for file in (REPOSITORY / "scripts").glob("*.py")
    if "__main__" in file.read_text(encoding="utf-8") and file.name != "bootstrap.py"
)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_a_script_under_another_python_says_what_to_activate(file: Path) -> None:
    """Without installed packages: one line, and the command that comes first."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", file, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: .+ has no ALLD; this comes first:\n    .+\n", done.stderr)


def test_the_script_says_what_it_needs_first(script: Script, tmp_path: Path) -> None:
    """Weights for --baseline pretrained, and the new name of --rival: one line, exit status 2."""
    words = ("--quick", "--out", tmp_path)
    status, _, errors = script("reproduce_table1", *words, "--baseline", "pretrained")
    assert status == 2
    assert "--weights FILE" in errors
    with pytest.raises(SystemExit, match="2"):
        script("reproduce_table1", *words, "--rival", "lbp")
