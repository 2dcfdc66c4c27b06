"""The thread that loads the model and predicts: torch runs in no other."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor

Answer = TypeVar("Answer")
Task = tuple[asyncio.Future[Any], Callable[["Predictor"], Any]]


class ModelThread:
    """A model that loads while the page is already served. All methods belong to one event loop."""

    def __init__(
        self,
        model: Path,
        device: str = "auto",
        tta: bool | None = None,
        required: str | None = None,
    ) -> None:
        self._model, self._device, self._tta, self._required = model, device, tta, required
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._loaded: asyncio.Future[Predictor] | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        loaded = self._loaded
        return loaded is not None and loaded.done() and loaded.exception() is None

    def start(self) -> "asyncio.Future[Predictor]":
        """Start to load the model; the future ends with the model, or with the error.

        The thread is a daemon: the process does not wait for it when it ends.
        """
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        Thread(target=self._work, args=(loop,), name="alld-model", daemon=True).start()
        return self._loaded

    def close(self) -> None:
        """End the thread after the tasks it has."""
        self._tasks.put(None)

    async def loaded(self) -> "Predictor":
        """Wait for the model."""
        assert self._loaded is not None, "start comes first"
        return await asyncio.shield(self._loaded)

    async def run(self, work: Callable[["Predictor"], Answer]) -> Answer:
        """Return `work(predictor)`, computed in this thread; one task after the other."""
        await self.loaded()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._tasks.put((answer, work))
        return await answer

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._loaded is not None
        predictor = _settle(loop, self._loaded, self._load)
        while predictor is not None and (task := self._tasks.get()):
            answer, work = task
            if not answer.cancelled():  # the client is still there
                _settle(loop, answer, partial(work, predictor))

    def _load(self) -> "Predictor":
        from alld.inference.predictor import Predictor

        return Predictor.load(self._model, self._device, tta=self._tta, required=self._required)


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Answer], work: Callable[[], Answer]
) -> Answer | None:
    """Do some work, and give its result or its error to a future of the event loop."""
    found, failure = None, None
    try:
        found = work()
    except BaseException as error:
        failure = error

    def settle() -> None:
        if future.done():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(found)  # type: ignore[arg-type]

    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(settle)
    return found
