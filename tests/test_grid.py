"""The cells of a table: what was made otherwise is refused, or named by the table."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY, SMALL

from alld.config.files import load_config
from alld.config.schema import Config
from alld.data.sources.find import load_manifest
from alld.errors import RunError
from alld.evaluation.crossval.folds import Plan
from alld.model.weights import save_file
from alld.paper.grid import Cell, check_cells, config_of, plan_cells, trainings_of, unlike
from alld.paper.table1 import Table1
from alld.paper.table1_files import markdown as markdown1
from alld.paper.table2 import Table2
from alld.paper.table2_files import markdown as markdown2
from alld.runs.create import create_run, resolve_config
from alld.runs.folder import Run
from alld.runs.machine import prepare_machine


@pytest.fixture
def config(drawn_set: Path) -> Config:
    return load_config(options={**SMALL, "data.root": drawn_set})


def begin(folder: Path, config: Config, **machine: Any) -> Run:
    """A training as it is on disk after its first second, on a machine of one's own choice."""
    manifest = load_manifest(config.data)
    facts = {**prepare_machine(config.runtime), **machine}
    return create_run(folder, resolve_config(config, manifest), manifest, "", facts)


def paper_shaped(folder: Path, config: Config, **machine: Any) -> list[Cell]:
    """Two cells of paper-shaped tests; the first one was begun."""
    cells = plan_cells(folder, [config.model.arch], seeds=2)[:2]
    begin(cells[0].folder, config_of(cells[0], config), **machine)
    return cells


def finish(cell: Cell) -> None:
    (cell.folder / "evaluation").mkdir(parents=True)
    (cell.folder / "evaluation" / "metrics.json").write_text("{}")


def other(config: Config, section: str, **settings: Any) -> Config:
    changed = getattr(config, section).model_copy(update=settings)
    return config.model_copy(update={section: changed})


def test_a_cell_of_the_same_recipe_is_part_of_the_table(config: Config, tmp_path: Path) -> None:
    """Its own seed, where the images lie and how numbers are made are not the recipe."""
    cells = paper_shaped(tmp_path, config)
    check_cells(cells, other(config, "evaluate", bootstrap_draws=300))


def test_a_cell_of_another_recipe_is_refused(config: Config, tmp_path: Path) -> None:
    """One line with the folder and the setting; no option mixes recipes."""
    cells = paper_shaped(tmp_path, config)
    for allowed in (False, True):
        with pytest.raises(RunError, match=r"paper-seed-0: .*train\.epochs: 2 then, 3 now"):
            check_cells(cells, other(config, "train", epochs=3), allow_inexact=allowed)


def test_a_cell_of_other_first_weights_is_refused(config: Config, tmp_path: Path) -> None:
    """The same name, and other bytes behind it."""
    file = tmp_path / "w.safetensors"
    save_file(file, {"a": torch.zeros(1)}, {})
    config = other(config, "model", weights=file)
    cells = paper_shaped(tmp_path, config)
    check_cells(cells, config)
    save_file(file, {"a": torch.ones(1)}, {})
    with pytest.raises(RunError, match=r"model\.weights_sha256: .* then, .* now"):
        check_cells(cells, config)


def test_a_cell_of_other_images_is_refused(config: Config, tmp_path: Path) -> None:
    """A set that was changed since makes no second half of a table."""
    cells = paper_shaped(tmp_path, config)
    run = Run(cells[0].folder)
    run.update(data={**run.info["data"], "fingerprint": "0" * 64})
    with pytest.raises(RunError, match="other images than"):
        check_cells(cells, config, allow_inexact=True)


def test_folds_of_another_recipe_are_refused(config: Config, tmp_path: Path) -> None:
    """A cross-validation is held against its plan, before any fold of it is done."""
    cells = plan_cells(tmp_path, [config.model.arch], seeds=0)
    manifest = load_manifest(config.data)
    own = resolve_config(config_of(cells[0], config), manifest)
    cells[0].folder.mkdir(parents=True)
    Plan(cells[0].folder, "", 5, 1, manifest.fingerprint, own).write()
    check_cells(cells, config)
    with pytest.raises(RunError, match=r"grouped: .*data\.image_size: 32 then, 64 now"):
        check_cells(cells, other(config, "data", image_size=64))


def test_other_threads_and_versions_are_refused_where_something_is_missing(
    config: Config, tmp_path: Path
) -> None:
    """Not with --allow-inexact, not where all is done, and not where others train."""
    cells = paper_shaped(tmp_path, config, threads=7, versions={"torch": "1.0"})
    with pytest.raises(RunError, match=r"threads: 7 then, .*torch: 1\.0 then"):
        check_cells(cells, config)
    check_cells(cells, config, allow_inexact=True)
    check_cells(cells, config, here=False)
    for cell in cells:
        finish(cell)
    check_cells(cells, config)


def test_a_table_names_what_was_unlike(config: Config, tmp_path: Path) -> None:
    """Values that differ between trainings, and those that went on elsewhere, in both tables."""
    cells = paper_shaped(tmp_path, config, threads=1)
    assert unlike(trainings_of(cells)) == ()
    grouped = Cell(config.model.arch, None, tmp_path / "grouped")
    plan = Plan(grouped.folder, "", 5, 1, "", config)
    plan.folder.mkdir()
    plan.write()
    for fold in plan.all_folds()[:2]:
        begin(fold.folder, config, threads=fold.fold)
    Run(cells[0].folder).update(inexact=["threads: 2 then, 1 now"])
    found = unlike(trainings_of([*cells, grouped]))
    assert found == ("threads: 1 and 2", "1 of 3 went on under others than they began with")
    second = Table2(False, "ALL-IDB2", 2, (), ())
    first = Table1(False, "ALL-IDB2", (), ())
    for markdown, table in ((markdown2, second), (markdown1, first)):
        assert "unlike conditions" not in markdown(table)
        assert "unlike conditions: threads: 1 and 2; 1 of 3" in markdown(
            replace(table, unlike=found)
        )


SCRIPTS = REPOSITORY / "scripts"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_two_trainings_is_one_line(number: int, status: int) -> None:
    """Both scripts end with the status of a shell, and say how to go on."""
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
    code += "import signal; from alld import process; from asking_again import status_of\n"
    code += f"process.run(lambda: status_of(lambda: signal.raise_signal({int(number)})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = "stopped; the same command goes on where this one ends\n"
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("name", ["reproduce_table1.py", "reproduce_table2.py"])
def test_a_script_watches_for_signals_before_it_imports_much(name: str) -> None:
    """Up to then Ctrl-C is a traceback; and its help comes at once."""
    command = [sys.executable, "-X", "importtime", SCRIPTS / name, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "alld.runtime.process" in loaded
    assert not loaded & {"numpy", "torch", "fastai", "matplotlib", "skimage"}
