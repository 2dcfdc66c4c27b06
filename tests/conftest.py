"""Fixtures for the whole session: a drawn set, one trained run, and where the real images are."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# As the command itself does, before anything imports torch: see alld/process.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Of several workers (pytest -n) each keeps to one core: threads of all of them would collide, those
# of torch and, which numpy's import begins, those of its linear algebra.
if hasattr(os, "sched_setaffinity") and "PYTEST_XDIST_WORKER" in os.environ:
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    os.sched_setaffinity(0, {cores[worker % len(cores)]})

import pytest

from alld.config.files import load_config
from alld.config.schema import Config, DataConfig
from alld.synthetic.dataset import draw_set
from alld.synthetic.plan import Recipe

if TYPE_CHECKING:
    from alld.auditing.examine import Audit

Answer = tuple[int, str, str]  # exit status, standard output, standard error
REPOSITORY = Path(__file__).parents[1]
# One training must give the same weights on every machine that runs these tests. timm made this
# network for tests: it trains three times as fast as LEARNING's, but learns next to nothing.
ARCH = "timm:test_resnet"
SMALL = {
    "model.arch": ARCH,
    "model.pretrained": False,
    "data.image_size": 32,
    "train.frozen_epochs": 1,
    "train.epochs": 2,
    "train.batch_size": 8,
    "evaluate.bootstrap_draws": 200,
    "runtime.device": "cpu",
    "runtime.threads": 2,
}

LEARNING = {"model.arch": "efficientnet_lite0", "model.pretrained": True}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests first, all others in their order."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's own cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ALLD_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The look-alike set with 40 images named as in ALL-IDB2. Read only."""
    folder = tmp_path_factory.mktemp("look-alike") / "set"
    draw_set(folder, Recipe(n=40))
    return folder


@pytest.fixture(scope="session")
def audited(drawn_set: Path) -> "Audit":
    """The audit of the 40 drawn images. Read only."""
    from alld.auditing.examine import examine

    return examine(DataConfig(root=drawn_set))


@pytest.fixture(scope="session")
def small_config(drawn_set: Path) -> Config:
    """Three epochs of a small network at 32 px on the drawn set."""
    return load_config(options={**SMALL, "data.root": drawn_set})


@pytest.fixture(scope="session")
def run_folder(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and evaluated run on the drawn set. Read only."""
    from alld.evaluation.holdout import evaluate
    from alld.training.train import train

    run = train(small_config, tmp_path_factory.mktemp("runs") / "first")
    evaluate(run.folder)
    return run.folder


@pytest.fixture(scope="session")
def stopped_run(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped by Ctrl-C in its third epoch. Read only."""
    from trainings import Stop

    from alld.errors import Interrupted
    from alld.training.train import Listener, train

    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted):
        train(small_config, folder, Listener(progress=Stop(3, 1)))
    return folder


@pytest.fixture
def stopped(stopped_run: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to resume or to damage."""
    return Path(shutil.copytree(stopped_run, tmp_path / "stopped"))


@pytest.fixture(scope="session")
def validated(drawn_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cross-validation: two folds, two repeats, one epoch each. Read only."""
    from alld.evaluation.crossval.train import crossval

    folder = tmp_path_factory.mktemp("cv") / "whole"
    tiny = {"train.frozen_epochs": 1, "train.epochs": 0, "data.root": drawn_set}
    crossval(load_config(options={**SMALL, **tiny}), folds=2, repeats=2, out=folder)
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of random weights at 32 px. Read only."""
    from untrained import write_untrained

    return write_untrained(tmp_path_factory.mktemp("untrained") / "model.alld")


@pytest.fixture(scope="session")
def cell(drawn_set: Path) -> bytes:
    """The file of one drawn blast."""
    return (drawn_set / "Im001_1.tif").read_bytes()


@pytest.fixture(scope="session")
def real_set() -> Path:
    """The folder of the real ALL-IDB2; the test is skipped where it is not."""
    places = [os.environ.get("ALLD_REAL_DATA"), REPOSITORY.parent / "shared" / "data"]
    for place in places:
        if place and (Path(place) / "all_idb2").is_dir():
            return Path(place) / "all_idb2"
    pytest.skip("the real ALL-IDB2 is not here (ALLD_REAL_DATA or ../shared/data)")


@pytest.fixture
def alld(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command in this process and returns what a shell would see."""

    from alld.cli import run_command

    def run(*words: object) -> Answer:
        status = run_command([str(word) for word in words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
