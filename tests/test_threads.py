"""`map_ahead` keeps the order of its items, reads ahead within a bound, and can be stopped."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from alld.runtime.threads import map_ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_answers_come_in_the_order_of_the_items(pool: ThreadPoolExecutor) -> None:
    """Also where a later one is ready first."""

    def work(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(map_ahead(pool, work, range(20), 6)) == [item * item for item in range(20)]
    assert list(map_ahead(pool, work, [], 6)) == []


def test_no_more_is_begun_than_was_allowed(pool: ThreadPoolExecutor) -> None:
    """The source is read only as far as `ahead` items beyond what was taken."""
    read: list[int] = []

    def source() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    answers = map_ahead(pool, str, source(), 5)
    assert read == []
    assert next(answers) == "0"
    assert len(read) == 5
    assert next(answers) == "1"
    assert len(read) == 6


def test_what_has_not_begun_is_called_off_when_the_caller_stops() -> None:
    """A stop in the middle leaves nothing in the queue."""
    done: list[int] = []
    gate = threading.Event()

    def work(item: int) -> int:
        if item:
            gate.wait(5)
        done.append(item)
        return item

    with ThreadPoolExecutor(1) as pool:
        answers = map_ahead(pool, work, range(50), 10)
        assert next(answers) == 0
        answers.close()  # type: ignore[attr-defined]
        gate.set()
    assert len(done) <= 2


def test_an_items_failure_reaches_the_caller_in_its_place(pool: ThreadPoolExecutor) -> None:
    """The items before it are answered."""

    def work(item: int) -> float:
        return 1 / (item - 2)

    answers = map_ahead(pool, work, range(5), 5)
    assert [next(answers), next(answers)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(answers)
