"""The experiments of a table: other settings and images are refused, other machines named."""

import signal
import subprocess
import sys
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
from alld.paper.grid import (
    Experiment,
    check_experiments,
    config_of,
    plan_experiments,
    trainings_of,
    unlike,
)
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


def paper_shaped(folder: Path, config: Config, **machine: Any) -> list[Experiment]:
    """Two paper-shaped tests; the first one was begun."""
    experiments = plan_experiments(folder, [config.model.arch], seeds=2)[:2]
    begin(experiments[0].folder, config_of(experiments[0], config), **machine)
    return experiments


def finish(experiment: Experiment) -> None:
    (experiment.folder / "evaluation").mkdir(parents=True)
    (experiment.folder / "evaluation" / "metrics.json").write_text("{}")


def other(config: Config, section: str, **settings: Any) -> Config:
    changed = getattr(config, section).model_copy(update=settings)
    return config.model_copy(update={section: changed})


def test_the_plan_is_seed_by_seed_and_then_the_folds(tmp_path: Path) -> None:
    """Two networks, three seeds: eight experiments, each in a folder of its own."""
    experiments = plan_experiments(tmp_path, ["vgg16", "timm:x/y"], 3)
    assert [(one.arch, one.seed) for one in experiments[:3]] == [
        ("vgg16", 0), ("timm:x/y", 0), ("vgg16", 1),
    ]  # fmt: skip
    assert [one.seed for one in experiments[6:]] == [None, None]
    assert len({one.folder for one in experiments}) == 8


def test_an_experiment_of_the_same_recipe_is_part_of_the_table(
    config: Config, tmp_path: Path
) -> None:
    """Its own seed, where the images lie and how numbers are made are not the recipe."""
    experiments = paper_shaped(tmp_path, config)
    check_experiments(experiments, other(config, "evaluate", bootstrap_draws=300))


def test_an_experiment_of_another_recipe_is_refused(config: Config, tmp_path: Path) -> None:
    """One line with the folder and the setting; no option mixes recipes."""
    experiments = paper_shaped(tmp_path, config)
    for allowed in (False, True):
        with pytest.raises(RunError, match=r"paper-seed-0: .*train\.epochs: 2 then, 3 now"):
            check_experiments(experiments, other(config, "train", epochs=3), allow_inexact=allowed)


def test_an_experiment_of_other_initial_weights_is_refused(config: Config, tmp_path: Path) -> None:
    """The same name, and other bytes behind it."""
    file = tmp_path / "w.safetensors"
    save_file(file, {"a": torch.zeros(1)}, {})
    config = other(config, "model", weights=file)
    experiments = paper_shaped(tmp_path, config)
    check_experiments(experiments, config)
    save_file(file, {"a": torch.ones(1)}, {})
    with pytest.raises(RunError, match=r"model\.weights_sha256: .* then, .* now"):
        check_experiments(experiments, config)


def test_an_experiment_of_other_images_is_refused(config: Config, tmp_path: Path) -> None:
    """A set that was changed since makes no second half of a table."""
    experiments = paper_shaped(tmp_path, config)
    run = Run(experiments[0].folder)
    run.update(data={**run.info["data"], "fingerprint": "0" * 64})
    with pytest.raises(RunError, match="other images than"):
        check_experiments(experiments, config, allow_inexact=True)


def test_folds_of_another_recipe_are_refused(config: Config, tmp_path: Path) -> None:
    """A cross-validation is held against its plan, before any fold of it is done."""
    experiments = plan_experiments(tmp_path, [config.model.arch], seeds=0)
    manifest = load_manifest(config.data)
    own = resolve_config(config_of(experiments[0], config), manifest)
    experiments[0].folder.mkdir(parents=True)
    Plan(experiments[0].folder, "", 5, 1, manifest.fingerprint, own).write()
    check_experiments(experiments, config)
    with pytest.raises(RunError, match=r"grouped: .*data\.image_size: 32 then, 64 now"):
        check_experiments(experiments, other(config, "data", image_size=64))


def test_other_threads_and_versions_are_refused_where_something_is_missing(
    config: Config, tmp_path: Path
) -> None:
    """Not with --allow-inexact, not where all is done, and not where others train."""
    experiments = paper_shaped(tmp_path, config, threads=7, versions={"torch": "1.0"})
    with pytest.raises(RunError, match=r"threads: 7 then, .*torch: 1\.0 then"):
        check_experiments(experiments, config)
    check_experiments(experiments, config, allow_inexact=True)
    check_experiments(experiments, config, here=False)
    for experiment in experiments:
        finish(experiment)
    check_experiments(experiments, config)


def test_conditions_that_differ_are_named(config: Config, tmp_path: Path) -> None:
    """Values that differ between trainings, and those that went on elsewhere."""
    experiments = paper_shaped(tmp_path, config, threads=1)
    assert unlike(trainings_of(experiments)) == ()
    grouped = Experiment(config.model.arch, None, tmp_path / "grouped")
    plan = Plan(grouped.folder, "", 5, 1, "", config)
    plan.folder.mkdir()
    plan.write()
    for fold in plan.all_folds()[:2]:
        begin(fold.folder, config, threads=fold.fold)
    Run(experiments[0].folder).update(inexact=["threads: 2 then, 1 now"])
    found = unlike(trainings_of([*experiments, grouped]))
    assert found == ("threads: 1 and 2", "1 of 3 went on under others than they began with")


SCRIPTS = REPOSITORY / "scripts"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_between_two_trainings_is_one_line(number: int, status: int) -> None:
    """Both scripts end with the status of a shell, and say how to go on."""
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
    code += "import signal; from alld.runtime import process; from reproducing import status_of\n"
    code += f"process.run(lambda: status_of(lambda: signal.raise_signal({int(number)})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = "stopped; the same command goes on where this one ends\n"
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("name", ["reproduce_table1.py", "reproduce_table2.py"])
def test_a_script_watches_for_signals_before_it_imports_much(name: str) -> None:
    """Up to then Ctrl-C is a traceback; and its help comes at once."""
    command = [sys.executable, "-X", "importtime", str(SCRIPTS / name), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "alld.runtime.process" in loaded
    assert not loaded & {"numpy", "torch", "fastai", "matplotlib", "skimage"}
