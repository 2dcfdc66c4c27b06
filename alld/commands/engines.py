"""Choose who does the parts of a large job: this computer, or tasks of a Ray cluster."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from alld import display
from alld.errors import ConfigError
from alld.runtime.threads import usable_cores

if TYPE_CHECKING:
    from alld.runtime.cluster import Cluster


class Engine(StrEnum):
    """The values of `--engine`."""

    local = "local"
    ray = "ray"


EngineOption = Annotated[
    Engine, typer.Option(help="Who does the work: this machine, or tasks of a Ray cluster.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Of the cluster's head, or auto (default: a cluster of this machine, for this job).",
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="GPUs of each task of a cluster; two of 0.5 share one (default: 1, where it has any).",
    ),
]


def check_engine(engine: Engine, address: str | None, gpus: float | None) -> None:
    """Raise ConfigError for options of a cluster without a cluster."""
    if engine is Engine.local and (address is not None or gpus is not None):
        raise ConfigError("--address and --gpus are a cluster's; add --engine ray")


@contextmanager
def cluster_for(
    engine: Engine, address: str | None, gpus: float | None, threads: int | None
) -> Iterator["Cluster | None"]:
    """Connect to the cluster, or yield None where this computer does the work.

    Handle signals inside the block: Ray sets handlers of its own when it connects.

    Args:
        threads: of each task; None: as many as this computer has cores, as without a cluster.

    Raises:
        ConfigError: options that do not fit, no such cluster, or it has too little.
    """
    check_engine(engine, address, gpus)
    if engine is Engine.local:
        yield None
        return
    from alld.runtime.cluster import LOCAL, connected

    with connected(address or LOCAL, threads or usable_cores(), gpus) as cluster:
        tasks = f"{cluster.places} {'task' if cluster.places == 1 else 'tasks side by side'}"
        display.say(f"Ray: {tasks}, {cluster.each}")
        yield cluster
