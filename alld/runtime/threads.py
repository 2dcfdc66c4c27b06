"""Count the usable cores, and work ahead in threads, in order and within bounds."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from alld.runtime.launch import launched

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """The cores this process may use; containers often allow fewer than the machine has.

    Of several processes that torchrun started here, each has its share.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores // launched().local_world_size)


def map_ahead(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield work(item) for each item, in order; at most `ahead` of them are begun and not yielded.

    Like `map`, but items are taken from their source only as they are needed, and what has not
    begun is called off when the caller stops early or an item fails.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map_ahead` with a thread for each core: for work that numpy and scipy do most of."""
    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        yield from map_ahead(pool, work, items, 2 * cores)
