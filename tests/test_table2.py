"""Table 2 asked again: computed once a cell, ranked, compared, and honest about where it began."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY

from alld.evaluation.out_of_fold import HeldOut
from alld.paper.grid import plan_cells
from alld.paper.table2 import PAPER, Row, Table2, _pairs, _rank
from alld.paper.table2_files import latex, markdown, name_of
from alld.stats.metrics import Metric
from alld.stats.significance import mcnemar_exact

SCRIPT = REPOSITORY / "scripts" / "reproduce_table2.py"


def row(name: str, accuracies: tuple[float, ...], right: list[bool]) -> Row:
    """A system whose out-of-fold verdicts on n blasts are right as given."""
    tested = [
        HeldOut(1, 1, f"{i}.tif", f"{i}", f"{i}", 1, 0.9 if good else 0.1, 0.5)
        for i, good in enumerate(right)
    ]
    accuracy = Metric(sum(right) / len(right), sum(right), len(right), 0.5, 1.0, "by hand")
    undefined = Metric(None, None, len(right), None, None, None, "one class")
    grouped = {"accuracy": accuracy, "roc_auc": undefined, "brier": undefined}
    return Row(name, "ImageNet", PAPER.get(name), accuracies, grouped, tuple(tested))


def test_the_papers_values_decode_to_whole_images() -> None:
    """94.230 and 98.076 % of 52 images, as the paper prints them."""
    assert PAPER["vgg16"] == pytest.approx(0.94230, abs=1e-4)
    assert {PAPER[name] for name in ("vgg19", "resnet34", "resnet50")} == {51 / 52}


def test_a_shared_first_place_counts_in_parts() -> None:
    """Two systems, three seeds: one wins, one ties, one loses."""
    ranked = _rank([row("a", (0.9, 0.8, 0.7), [True]), row("b", (0.8, 0.8, 0.9), [True])])
    assert [r.first for r in ranked] == [1.5, 1.5]
    assert _rank([row("a", (0.9, 0.9), [True]), row("b", (0.8, 0.8), [True])])[0].first == 2


def test_the_share_of_seeds_that_reach_the_paper() -> None:
    """50, 51 and 52 of 52 against the paper's 51: two of three; no value, no share."""
    assert row("vgg19", (50 / 52, 51 / 52, 1.0), [True]).reached == pytest.approx(2 / 3)
    assert row("efficientnet_lite0", (1.0,), [True]).reached is None


def test_pairs_are_compared_on_identical_images_and_corrected_together() -> None:
    """Three systems, three pairs; p by hand, Holm triples the smallest."""
    always, never = [True] * 10, [False] * 10
    rows = [row("a", (1.0,), always), row("b", (1.0,), always), row("c", (0.0,), never)]
    found = {(pair.first, pair.second): pair for pair in _pairs(rows)}
    assert found["a", "b"].test.p_value == 1
    worst = found["a", "c"]
    assert (worst.test.only_a, worst.test.only_b) == (10, 0)
    assert worst.test.p_value == pytest.approx(2 * 0.5**10)
    assert worst.holm == pytest.approx(3 * 2 * 0.5**10)
    assert worst.test == mcnemar_exact(always, never)


@pytest.fixture
def table() -> Table2:
    ours = replace(row("vgg16", (49 / 52, 50 / 52), [True, False]), initial_weights="random")
    return Table2(False, "ALL-IDB2", 2, (ours, row("vgg19", (1.0, 1.0), [True, True])), ())


def test_rows_from_random_weights_never_look_like_the_papers(table: Table2) -> None:
    """The name carries it in every format, and a note says what it means."""
    assert name_of(table.rows[0]) == "vgg16 (random weights)"
    for text in (markdown(table), latex(table)):
        assert "vgg16 (random weights)" in text
        assert "vgg19 (" not in text
        assert "did not start from ImageNet weights" in text
        assert "never of patients" in text


def test_latex_escapes_what_latex_reads(table: Table2) -> None:
    """Percent signs and underscores of the cells do not break the table."""
    text = latex(replace(table, rows=(row("timm_net", (1.0,), [True]),)))
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert any(r"timm\_net" in line for line in body)
    assert not any("%" in line.replace(r"\%", "") for line in body)


def test_the_plan_is_seed_by_seed_and_then_the_folds(tmp_path: Path) -> None:
    """Two networks, three seeds: eight cells, each in a folder of its own."""
    cells = plan_cells(tmp_path, ["vgg16", "timm:x/y"], 3)
    assert [(cell.arch, cell.seed) for cell in cells[:3]] == [
        ("vgg16", 0), ("timm:x/y", 0), ("vgg16", 1),
    ]  # fmt: skip
    assert [cell.seed for cell in cells[6:]] == [None, None]
    assert len({cell.folder for cell in cells}) == 8


@pytest.mark.long
def test_the_script_goes_the_whole_way_and_repeats_nothing(tmp_path: Path) -> None:
    """--quick on drawn images: table, LaTeX, picture; a second call trains no cell again."""
    command = [sys.executable, SCRIPT, "--quick", "--out", tmp_path / "t", "--set",
               "runtime.device=cpu"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "t" / "table"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "table2.csv", "table2.md", "table2.tex", "table2.png", "table2.json", "pairs.csv",
    }  # fmt: skip
    assert done.stdout.startswith("# SYNTHETIC: Table 2")
    with open(folder / "table2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["model"] for r in rows] == [
        "efficientnet_lite0", "linear probe, efficientnet_lite0",
    ]  # fmt: skip
    assert [r["grouped_n"] for r in rows] == ["260", "260"]
    assert json.loads((folder / "table2.json").read_text())["synthetic"] is True
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "cell 1 of" in done.stderr
    assert "cell 1 of" not in again.stderr
    assert again.stdout == done.stdout
    plan = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True)
    assert plan.stdout.count("done") == 3
    # Settings of one's own are heard beside --quick, and never make half of a table.
    mixed = [*command, "--set", "train.epochs=3", "--dry-run"]
    refused = subprocess.run(mixed, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "train.epochs: 1 then, 3 now" in refused.stderr
