"""The one thread that loads the model and asks it: everything of torch happens here."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor

Answer = TypeVar("Answer")
Task = tuple[asyncio.Future[Any], Callable[["Predictor"], Any]]


class Judge:
    """A model on its way, and then at work. All methods belong to one event loop.

    The page is there before torch is: `loaded` waits for the model.
    """

    def __init__(self, model: Path, device: str = "auto", tta: bool | None = None) -> None:
        self._model, self._device, self._tta = model, device, tta
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._loaded: asyncio.Future[Predictor] | None = None

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self._loaded is not None and self._loaded.done()

    def start(self) -> "asyncio.Future[Predictor]":
        """Begin to load the model; what is returned is done when it is, or has its error.

        The thread is a daemon: nothing waits for it when the process ends.
        """
        loop = asyncio.get_running_loop()
        self._loaded = loop.create_future()
        Thread(target=self._work, args=(loop,), name="alld-model", daemon=True).start()
        return self._loaded

    def close(self) -> None:
        """Let the thread end after what it was asked so far."""
        self._tasks.put(None)

    async def loaded(self) -> "Predictor":
        """The model, as soon as it is there."""
        assert self._loaded is not None, "start comes first"
        return await asyncio.shield(self._loaded)

    async def ask(self, work: Callable[["Predictor"], Answer]) -> Answer:
        """What `work` makes of the model, in the model's thread; one after the other."""
        await self.loaded()
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._tasks.put((answer, work))
        return await answer

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._loaded is not None
        predictor = self._settle(loop, self._loaded, self._load)
        while predictor is not None and (task := self._tasks.get()):
            answer, work = task
            if not answer.cancelled():  # else who asked has gone
                self._settle(loop, answer, partial(work, predictor))

    def _settle(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Answer],
        work: Callable[[], Answer],
    ) -> Answer | None:
        """Do some work and tell the event loop what came of it."""
        try:
            found = work()
        except BaseException as error:
            _tell(loop, future, error=error)
            return None
        _tell(loop, future, found)
        return found

    def _load(self) -> "Predictor":
        from alld.inference.predictor import Predictor

        return Predictor.load(self._model, self._device, tta=self._tta)


def _tell(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    value: Any = None,
    error: BaseException | None = None,
) -> None:
    """Settle a future of the event loop from another thread; a loop that has ended needs none."""

    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed
        return
