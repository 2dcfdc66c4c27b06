"""The processes of one training: how they meet, what they tell each other, where they must agree.

`torchrun` starts them; rank 0, the leader, writes and speaks. In a process that is alone every
function here answers for itself, and nothing is sent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from alld.errors import AlldError, RunError
from alld.runtime.launch import launched

# Others may have to wait while one looks for groups in a large set. A process that died is noticed
# at once by its closed connections, and torchrun ends the rest: this is no watchdog.
_PATIENCE = timedelta(hours=12)
_meetings = count()


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun started, until the block ends or `part` is called.

    Raises:
        RunError: not as many are there as WORLD_SIZE says, or one is gone.
    """
    start = launched()
    if start.world_size == 1:
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda and start.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(start.local_rank)
    _meet("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        present = int(total(torch.ones((), dtype=torch.int64)))
        if not present == dist.get_world_size() == start.world_size:
            said = f"WORLD_SIZE is {start.world_size}, and {present} processes are there"
            raise RunError(f"{said}; start them with one torchrun")
        yield
    except RuntimeError as error:
        if lost(error):
            raise RunError("another process of this training is gone").from_all() from error
        raise
    finally:
        part()


def _meet(backend: str) -> None:
    # Words and sums of the host go over gloo, also where gradients go over NCCL.
    try:
        store, number, of = next(rendezvous("env://", timeout=_PATIENCE))
        # A second training of the same processes must not find the addresses of the first.
        apart = PrefixStore(f"alld/{next(_meetings)}", store)
        dist.init_process_group(backend, store=apart, rank=number, world_size=of, timeout=_PATIENCE)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"the other processes cannot be reached: {reason}") from error


def part() -> None:
    """Leave the others: what follows is done alone. Harmless to repeat."""
    if size() > 1:
        dist.destroy_process_group()


def size() -> int:
    """How many processes train together; 1 for one that is alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if size() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def rows(images: int) -> slice:
    """The part of a batch of so many images that is this process's own."""
    return slice(rank() * images // size(), (rank() + 1) * images // size())


def smallest_batch() -> int:
    """Images without which a batch is left out: batch norm needs two in each process."""
    return 2 * size()


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, the same to the bit in each."""
    if size() > 1:
        dist.all_reduce(tensor := tensor.clone())
    return tensor


def highest(number: int) -> int:
    """The highest that any process says."""
    if size() == 1:
        return number
    dist.all_reduce(said := torch.tensor(number), op=dist.ReduceOp.MAX)
    return int(said)


def gather(said: bytes) -> list[bytes]:
    """What every process says, by rank."""
    if size() == 1:
        return [said]
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(size())]
    dist.all_gather(lengths, torch.tensor([len(said)]))
    longest = max(map(int, lengths))
    own = torch.tensor(list(said.ljust(longest, b"\0")), dtype=torch.uint8)
    heard = [torch.empty_like(own) for _ in lengths]
    dist.all_gather(heard, own)
    return [bytes(part.tolist())[: int(n)] for part, n in zip(heard, lengths, strict=True)]


@contextmanager
def together() -> Iterator[None]:
    """Work that all processes do before any goes on: where one fails all end, and the leader says
    of which.

    Raises:
        AlldError: this process's own, or the leader's for the first that failed.
    """
    own: AlldError | None = None
    try:
        yield
    except AlldError as error:
        own = error
    said = gather(str(own or "").encode())
    first = next((number for number, text in enumerate(said) if text), None)
    if first is None:
        return
    ending = own if own is not None else RunError(f"process {first}: {said[first].decode()}")
    raise ending.from_all()


def agree(name: str, value: str, advice: str) -> None:
    """Hold what the weights depend on against what the other processes have.

    Raises:
        RunError: one of them has another; all raise it.
    """
    said = [text.decode() for text in gather(value.encode())]
    for number, other in enumerate(said):
        if other != said[0]:
            beside = f"{other}, not {said[0]}"
            error = RunError(
                f"process {number} has other {name} than process 0: {beside}; {advice}"
            )
            error.everywhere = True
            raise error


def lost(error: BaseException) -> bool:
    """Whether it says that another process is gone."""
    if size() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
