"""Table 1 asked again: pairs that were planned, networks on the bench's folds, honest names."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL

from alld.baselines.bench import Bench, grouped_config, paper_config
from alld.baselines.systems import BACKGROUND, PROBE, SWARM, Quote, name_of_network
from alld.config.files import load_config
from alld.data.groups.load import load_groups
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import read_plan
from alld.evaluation.out_of_fold import HeldOut
from alld.paper.networks import networks
from alld.paper.table1 import System, Table1, make_table
from alld.paper.table1_files import latex, markdown, notes

SCRIPT = REPOSITORY / "scripts" / "reproduce_table1.py"
BLASTS = 20


def system(name: str, right: tuple[int, ...], quote: Quote | None = None) -> System:
    """A system that in repeat r gets the first `right[r]` of 20 blasts and all 20 healthy right."""
    repeats = {
        repeat: tuple(
            HeldOut(repeat, 1, f"{i}.tif", f"{i}", f"{i}", int(i < BLASTS),
                    0.9 if i < count else 0.1, 0.5)
            for i in range(2 * BLASTS)
        )
        for repeat, count in enumerate(right, start=1)
    }  # fmt: skip
    return System(name, quote, (0.9, 1.0), repeats, 1.0, 0.001, draws=200)


@pytest.fixture(scope="module")
def bench(drawn_set: Path) -> Bench:
    """The 40 drawn images. Read only."""
    config = load_config(options={**SMALL, "data.root": drawn_set})
    manifest = load_manifest(config.data)
    return Bench(manifest, load_groups(manifest), config)


@pytest.fixture(scope="module")
def table(bench: Bench) -> Table1:
    systems = [
        system(BACKGROUND.title, (4, 4)),
        system("[5] one_rival", (12, 12), Quote(0.9, "10 repeats, 50 % tested")),
        system("ALLD", (20,)),
    ]
    return make_table(systems, bench, "ALLD")


def test_every_system_meets_the_reference_and_the_background_once(table: Table1) -> None:
    """Three systems: the rival against the reference, and both against the background."""
    assert [(pair.a, pair.b) for pair in table.pairs] == [
        ("[5] one_rival", "ALLD"),
        ("[5] one_rival", "background alone"),
        ("ALLD", "background alone"),
    ]


def test_pairs_count_images_on_the_repeats_that_both_have(table: Table1) -> None:
    """ALLD has one repeat and the rivals two: 40 images either way, and p by hand."""
    rival, both, background = (pair.test for pair in table.pairs)
    assert [test.n for test in (rival, both, background)] == [40, 40, 40]
    assert (rival.only_a, rival.only_b) == (0, 8)
    assert (background.only_a, background.only_b) == (16, 0)
    assert rival.p_value == pytest.approx(2 * 0.5**8)
    assert table.pairs[0].p_holm == pytest.approx(2 * 2 * 0.5**8)
    assert table.pairs[1].better == "[5] one_rival"


def test_a_system_is_measured_over_its_repeats() -> None:
    """Accuracy is the mean of the repeats, and their spread is kept apart."""
    found = system("a", (20, 10))
    assert found.metrics["accuracy"].value == pytest.approx((40 + 30) / 80)
    assert found.spread["accuracy"].sd == pytest.approx(0.25 / 2**0.5)


def test_the_table_names_the_protocols_of_what_it_quotes(table: Table1) -> None:
    """A quoted value never stands without how it came about, nor drawn images without a word."""
    text = markdown(table)
    assert text.startswith("# SYNTHETIC: Table 1")
    assert "[5] 10 repeats, 50 % tested" in text
    assert "never of patients" in text
    assert "Not a medical device" in text
    assert any("SYNTHETIC" in note for note in notes(table))


def test_latex_escapes_what_latex_reads(table: Table1) -> None:
    """Names with underscores and percent signs do not break the table."""
    body = [line for line in latex(table).splitlines() if not line.startswith("%")]
    assert any(r"one\_rival" in line for line in body)
    assert not any("%" in line.replace(r"\%", "") for line in body)


def test_a_network_is_named_by_what_is_not_the_recipe(tmp_path: Path) -> None:
    """Sharpened images are row [7], weights of other cells row [6], random ones say so."""

    def name(**options: object) -> str:
        chosen = {key.replace("__", "."): value for key, value in options.items()}
        return name_of_network(load_config(options=chosen))[0]

    assert name() == "ALLD, resnet50"
    assert name(augment__unsharp="adaptive") == "[7] adaptive unsharpening, resnet50"
    assert (
        name(model__weights=tmp_path / "c.safetensors") == "[6] resnet50 (weights of c.safetensors)"
    )
    assert name(model__pretrained=False) == "ALLD, resnet50 (random weights)"
    assert name(train__epochs=3, model__tta=True) == "ALLD, resnet50, train.epochs=3, tta"
    config = load_config(options={"augment.unsharp": "adaptive"})
    quote = name_of_network(config)[1]
    assert quote
    assert quote.accuracy == 0.9684


def test_features_of_random_weights_never_look_like_imagenets() -> None:
    """The name of what reads a network's features says which."""
    config = load_config(options={"model.arch": "resnet18", "model.pretrained": False})
    assert PROBE.name(config) == "linear probe, resnet18 (random weights)"
    assert SWARM.identity(config) != SWARM.identity(load_config())


def test_the_bench_draws_the_splits_of_runs(bench: Bench) -> None:
    """Repeat 2 has the folds of a cross-validation with the next seed; groups stay whole."""
    later = Bench(bench.manifest, bench.groups, bench.config.model_copy(update={"seed": 1}))
    assert [s.parts for s in bench.folds(2)] == [s.parts for s in later.folds(1)]
    assert [s.parts for s in bench.folds(1)] != [s.parts for s in bench.folds(2)]
    assert all(split.leaking_groups == 0 for split in bench.folds(1))


def test_a_paper_shaped_config_moves_both_seeds() -> None:
    """Split and training of test s are drawn by the config's seed plus s, whatever else it says."""
    config = load_config(options={"seed": 3, "split.seed": 9, "split.folds": 5, "split.fold": 1})
    assert paper_config(config, 4).split_seed == 7
    assert paper_config(config, 4).split.kind == "paper"
    assert grouped_config(config).split_seed == 3
    assert grouped_config(config).split.fold is None


def test_folds_of_another_kind_are_not_compared(validated: Path, bench: Bench) -> None:
    """A cross-validation of two folds, or of other images, is refused by name."""
    with pytest.raises(RunError, match="other folds than grouped 5-fold"):
        networks([], [validated], bench, "cpu")
    other = replace(bench.manifest, records=bench.manifest.records[1:])
    with pytest.raises(RunError, match="other images"):
        networks([], [validated], replace(bench, manifest=other), "cpu")


@pytest.mark.long
def test_the_script_goes_the_whole_way_and_repeats_nothing(tmp_path: Path) -> None:
    """--quick on drawn images with a trained network: all files; the second call computes none."""
    out = tmp_path / "t"
    command = [sys.executable, SCRIPT, "--quick", "--out", out, "--rival", "lbp", "--rival",
               "swarm", "--arch", "efficientnet_lite0", "--device", "cpu"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (out / "table").iterdir()}
    assert names == {
        "table1.csv", "table1.md", "table1.tex", "table1.png", "table1.json", "pairs.csv",
    }  # fmt: skip
    with open(out / "table" / "table1.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert [name.split()[0] for name in rows] == ["background", "[5]", "[3]", "linear", "ALLD,"]
    assert json.loads((out / "table" / "table1.json").read_text())["synthetic"] is True
    judged = sorted((out / "fitted").rglob("*.json"))
    before = {path: path.stat().st_mtime_ns for path in judged}
    assert len(before) == 4 * 5
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in judged} == before

    # The network alone, as a finished cross-validation, is the same system.
    crossval = out / "efficientnet_lite0" / "grouped"
    config = read_plan(crossval).config
    manifest = load_manifest(config.data)
    own = Bench(manifest, load_groups(manifest), config)
    (found,) = networks([], [crossval], own, "cpu")
    assert found.metrics["accuracy"].value == pytest.approx(float(rows[found.name]["grouped"]))
    moved = replace(own, config=config.model_copy(update={"seed": 1}))
    with pytest.raises(RunError, match="other folds"):
        networks([], [crossval], moved, "cpu")


def test_what_the_script_needs_it_says_first(tmp_path: Path) -> None:
    """Weights for --rival pretrained: one line, exit status 2."""
    command = [sys.executable, SCRIPT, "--quick", "--out", tmp_path, "--rival", "pretrained"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--weights FILE" in done.stderr
    assert "Traceback" not in done.stderr
