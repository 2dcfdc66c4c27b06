"""Ray: the same output, byte for byte, as without it, also when a process dies. All are slow."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import REPOSITORY, SMALL
from drawn import draw_all_idb2
from untrained import write_untrained

from alld.config.files import load_config
from alld.errors import ConfigError, Interrupted
from alld.evaluation.crossval.train import crossval
from alld.inference.archives.archive import predict_archive
from alld.inference.archives.engines import Job, predict_here, predict_on_ray
from alld.inference.inputs import Inputs
from alld.inference.predictor import Predictor
from alld.runtime.cluster import connected

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes, each a process of its own with one core."""
    from ray.cluster_utils import Cluster as Nodes

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setenv("RAY_worker_niceness", "0")
    patch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes.address
    nodes.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Job]:
    """A hundred and fifty small images in ten shards, and a model."""
    folder = tmp_path_factory.mktemp("archive")
    drawn = sorted(draw_all_idb2(folder / "cells", per_class=10).glob("*.tif"))
    model = write_untrained(folder / "model.alld")
    job = Job.of(Predictor.load(model, "cpu", threads=1), model, "csv")
    return Inputs(tuple(drawn[row % 20] for row in range(150))), job


def workers_of_ray() -> list[int]:
    """The processes that wait for tasks or have one."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(maxsplit=1) for line in listed.stdout.splitlines()[1:]]
    return [int(pid) for pid, words in lines if words.startswith("ray::predict_shard")]


def test_an_archive_on_two_nodes_is_that_of_one_process(
    address: str, archive: tuple[Inputs, Job], tmp_path: Path
) -> None:
    """Also where one of the processes is killed while it works."""
    inputs, job = archive
    predict_archive(inputs, tmp_path / "here.csv", job, predict_here, lambda *_: None, 16)
    killed: list[int] = []

    def kill_one(now: int, _before: int, _total: int) -> None:
        if now and not killed and (alive := workers_of_ray()):
            killed.append(alive[0])
            os.kill(alive[0], signal.SIGKILL)

    with connected(address, 1, None) as cluster:
        assert (cluster.places, cluster.gpus) == (2, 0)
        predict_archive(
            inputs, tmp_path / "ray.csv", job, partial(predict_on_ray, cluster), kill_one, 16
        )
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert killed


def test_what_a_task_raises_is_the_callers_error(address: str, tmp_path: Path) -> None:
    """One line, as if it had happened here; and what the caller raises stops the work."""
    with connected(address, 1, None) as cluster:
        with pytest.raises(ConfigError, match=r"gone\.yaml") as caught:
            list(cluster.spread(load_config, [(0, (str(tmp_path / "gone.yaml"),))], lambda: None))
        assert str(caught.value).isprintable()

        def stop() -> None:
            raise Interrupted("stopped", 143)

        with pytest.raises(Interrupted):
            list(cluster.spread(subprocess.run, [(0, (["sleep", "20"],))], stop))


def test_a_cluster_that_has_too_little_is_refused(address: str) -> None:
    """Ray itself would wait for ever; and where none answers it is one line too."""
    with pytest.raises(ConfigError, match="has 0 GPUs, and one"), connected(address, 1, 0.5):
        pass
    with pytest.raises(ConfigError, match="no cluster"), connected("127.0.0.1:1", 1, None):
        pass


def test_folds_on_two_nodes_are_those_of_one_process(
    address: str, drawn_set: Path, tmp_path: Path
) -> None:
    """Out-of-fold predictions, byte for byte."""
    tiny = {"train.frozen_epochs": 1, "train.epochs": 0, "runtime.threads": 1}
    config = load_config(options={**SMALL, **tiny, "data.root": drawn_set})
    crossval(config, 2, 1, tmp_path / "here")
    with connected(address, 1, None) as cluster:
        crossval(config, 2, 1, tmp_path / "ray", cluster=cluster)
    found = [tmp_path / name / "evaluation" / "predictions.csv" for name in ("here", "ray")]
    assert found[0].read_bytes() == found[1].read_bytes()


def test_a_local_cluster_lets_nobody_in_without_its_token(tmp_path: Path) -> None:
    """Whoever reaches a Ray cluster's ports can run code there."""
    script = """
import os, subprocess, sys
from alld.runtime.cluster import connected
intruder = "import ray, sys; ray.init(sys.argv[1]); ray.get(ray.remote(lambda: 1).remote())"
with connected("local", 1, None) as cluster:
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    at = cluster.ray.get_runtime_context().gcs_address
    done = subprocess.run([sys.executable, "-c", intruder, at], env=env, capture_output=True)
    print(done.returncode, b"uthenticat" in done.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "True"]
