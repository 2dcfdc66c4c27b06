"""The application: the page, `/health`, `/model` and `/predict`; the way of one picture."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from alld import __version__
from alld.errors import ImageError
from alld.runtime.files import sha256_hex
from alld.serve.answers import answer, failed, model_facts
from alld.serve.asked import Asked, read_question
from alld.serve.decoders import CHILDREN, Decoders
from alld.serve.door import Door
from alld.serve.guard import Guard, refusal
from alld.serve.heat import heat_or_reason
from alld.serve.judge import Judge
from alld.serve.parts import PARTS, part
from alld.serve.refused import Refused
from alld.serve.uploads import MOST_BYTES, Uploads

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor

QUEUE = 16  # files that wait for a verdict; the next one is told to come again
IN_MEMORY = CHILDREN + 2  # pictures that are decoded and not yet judged
LOGIN_BYTES = 2**12


class Service:
    """What lives as long as the server, and what it answers."""

    def __init__(self, judge: Judge, door: Door) -> None:
        self.judge, self.door = judge, door
        self.decoders, self.uploads = Decoders(), Uploads()
        self._waiting = 0
        self._room = asyncio.Semaphore(IN_MEMORY)

    def routes(self) -> list[Route]:
        """All there is to ask for."""
        return [
            *(Route(path, _page_part, methods=["GET"]) for path in PARTS),
            Route("/health", self.health, methods=["GET"]),
            Route("/model", self.model, methods=["GET"]),
            Route("/predict", self.predict, methods=["POST"]),
            Route("/login", self.login, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """Whether the model is there yet, and whether who asks lacks the token."""
        status = "ready" if self.judge.ready else "loading"
        locked = not self.door.admits(request.headers)
        facts = {"version": __version__, "most_bytes": MOST_BYTES}
        return JSONResponse({"status": status, "token_needed": locked, **facts})

    async def model(self, _request: Request) -> Response:
        """The facts of the model, as soon as it is there."""
        return JSONResponse(model_facts(await self.judge.loaded()))

    async def predict(self, request: Request) -> Response:
        """The row of one file, whose bytes are the body of the request."""
        asked = read_question(request.query_params)
        async with self.uploads.body(request) as data:
            with self._place():
                predictor = await self.judge.loaded()
                async with self._room:
                    return JSONResponse(await self._answer(predictor, asked, data))

    async def login(self, request: Request) -> Response:
        """A cookie for a browser that knows the token."""
        async with self.uploads.body(request, LOGIN_BYTES) as data:
            if self.door.token is None or not self.door.is_token(_token(data)):
                raise Refused(401, "this is not the token that the server was started with")
        welcome = Response(status_code=204)
        welcome.set_cookie(self.door.cookie, self.door.session, httponly=True, samesite="strict")
        return welcome

    async def _answer(self, predictor: "Predictor", asked: Asked, data: bytes) -> dict[str, Any]:
        sha256 = sha256_hex(data)
        try:
            picture = await self.decoders.decode(asked.name, data, asked.side)
        except ImageError as error:
            return failed(predictor, asked.name, sha256, str(error))

        def judged(model: "Predictor") -> dict[str, Any]:
            prediction = model.predict_decoded(asked.name, sha256, picture.decoded)
            heat = heat_or_reason(model, picture.decoded.pixels) if asked.explain else (b"", "")
            return answer(prediction, model.info.data.synthetic, picture.preview, *heat)

        return await self.judge.ask(judged)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place in the queue, or 429."""
        if self._waiting >= QUEUE:
            raise Refused(429, f"{QUEUE} files wait already; try again", retry_after=1)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


Loaded = Callable[["asyncio.Future[Predictor]"], object]


def create_app(
    judge: Judge, door: Door, on_loaded: Loaded, on_fault: Callable[[Exception], object]
) -> ASGIApp:
    """The application around a model that is loaded while the page is there already.

    Args:
        on_loaded: hears of the model when it is there, or has failed to load.
        on_fault: hears of a fault of ours; who asked gets status 500 and a sentence.
    """
    service = Service(judge, door)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        judge.start().add_done_callback(on_loaded)
        warming = asyncio.create_task(service.decoders.start())
        try:
            yield
        finally:
            warming.cancel()
            judge.close()
            await service.decoders.close()

    async def fault(_request: Request, error: Exception) -> Response:
        on_fault(error)
        return refusal(Refused(500, f"a fault of ALLD's own ({type(error).__name__}); report it"))

    handlers: Any = {Refused: _refused, HTTPException: _no_such_thing, Exception: fault}
    routes = service.routes()
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), door)


async def _page_part(request: Request) -> Response:
    content, media_type = part(request.url.path)
    return Response(content, media_type=media_type)


async def _refused(_request: Request, refused: Refused) -> Response:
    return refusal(refused)


async def _no_such_thing(_request: Request, error: HTTPException) -> Response:
    return refusal(Refused(error.status_code, f"{error.detail}; see the README for what there is"))


def _token(data: bytes) -> str:
    """The token in the body of a login, `{"token": "..."}`."""
    try:
        return str(json.loads(data)["token"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(400, 'send {"token": "..."}') from error
