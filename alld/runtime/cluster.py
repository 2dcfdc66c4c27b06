"""Run functions of ALLD as Ray tasks, in other processes and on other machines."""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import alld
from alld.errors import AlldError, ConfigError, RunError
from alld.runtime.threads import usable_cores

Key = TypeVar("Key")
LOCAL = "local"  # a cluster of this computer that ends with the command
RETRIES = 3  # of a task whose process or machine died
_CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.2  # in which a signal is noticed


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to, and what each task gets of it."""

    ray: Any
    cpus: int  # of one task, threads
    gpus: float  # of one task; two of 0.5 share one

    @property
    def places(self) -> int:
        """How many tasks it can run side by side."""
        has = self.ray.cluster_resources()
        places = int(has.get("CPU", 0) // self.cpus)
        if self.gpus:
            places = min(places, int(has.get("GPU", 0) / self.gpus + 1e-9))
        return max(1, places)

    @property
    def each(self) -> str:
        """What each task gets, such as `1 thread and 0.5 GPUs`."""
        threads = f"{self.cpus} {'thread' if self.cpus == 1 else 'threads'}"
        return f"{threads} and {self.gpus:g} GPUs" if self.gpus else threads

    def spread(
        self,
        work: Callable[..., Any],
        calls: Iterable[tuple[Key, Sequence[object]]],
        poll: Callable[[], None],
    ) -> Iterator[tuple[Key, Any]]:
        """Call a function of a module once for each of `calls`, and yield results as they come.

        Args:
            calls: a key for each result, and the arguments: values that can be pickled. Calls are
                taken as they are needed, two for each place.
            poll: called again and again; what it raises stops the work.

        Raises:
            AlldError, OSError: raised by a task.
            RunError: processes died again and again.
        """
        task = self.ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)(work)
        waiting, pending = iter(calls), dict[Any, Key]()
        while True:
            for key, call in islice(waiting, max(0, 2 * self.places - len(pending))):
                pending[task.remote(*call)] = key
            if not pending:
                return
            ready, _ = self.ray.wait(list(pending), timeout=POLL_SECONDS)
            poll()
            for one in ready:
                yield pending.pop(one), self._result(one)

    def _result(self, done: Any) -> Any:
        try:
            return self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AlldError | OSError):
                raise error.cause from error
            raise
        except self.ray.exceptions.RayError as error:
            raise RunError(f"Ray: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def connected(address: str, cpus: int, gpus: float | None) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this computer that ends with the block.

    No usage statistics are sent and no dashboard runs. A local cluster accepts only clients with
    its token, which is never used again.

    Args:
        address: `local`, `auto`, or host:port of a cluster's head.
        cpus: threads of each task.
        gpus: GPUs of each task, which may be a fraction; None: 1 where the cluster has any.

    Raises:
        ConfigError: Ray is not installed, no cluster answers, or it has too little.
    """
    if address not in (LOCAL, "auto"):
        _check_address(address)
    ray = _ray(token=address == LOCAL)
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "include_dashboard": False}
    if address == LOCAL:
        quiet |= {"num_cpus": usable_cores()}
    try:
        # Ray's processes must import this ALLD, and nothing from the folder of the images.
        with chdir(Path(alld.__file__).parents[1]):
            ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"--address {address}: no cluster to work on ({reason})") from error
    try:
        has = ray.cluster_resources()
        chosen = float(has.get("GPU", 0) >= 1) if gpus is None else gpus
        for kind, wanted in (("CPU", cpus), ("GPU", chosen)):
            if wanted > has.get(kind, 0):
                raise ConfigError(
                    f"--address {address}: the cluster has {has.get(kind, 0):g} {kind}s, and one "
                    f"task is to have {wanted:g}"
                )
        yield Cluster(ray, cpus, chosen)
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Fail within seconds where nobody answers; Ray itself would wait for minutes."""
    try:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no cluster answers there ({error}); name its head as HOST:PORT"
        ) from error


def _ray(*, token: bool) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # its default is the lowest priority
    if token and "RAY_AUTH_MODE" not in os.environ:  # its ports are open to the network
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install ray") from error
    return ray
