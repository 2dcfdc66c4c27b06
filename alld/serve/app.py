"""The web application: the page, `/health`, `/model`, `/login` and `/predict`."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from alld import NOTICE, __version__
from alld.errors import ConfigError, ImageError
from alld.inference.prediction import Prediction
from alld.runtime.files import plain_path, sha256_hex, spelt, well_formed
from alld.serve.auth import Auth, AuthMiddleware, Refused
from alld.serve.child import MAX_PREVIEW_SIDE
from alld.serve.decoders import CHILDREN, Decoders
from alld.serve.model_thread import ModelThread
from alld.serve.uploads import MOST_BYTES, Uploads

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor

QUEUE = 16  # files that wait for a prediction; another one gets status 429
IN_MEMORY = CHILDREN + 2  # pictures that are decoded and wait for the model
LOGIN_BYTES = 2**12
MIN_PREVIEW_SIDE = 16  # px
MAX_NAME = 1000  # characters
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FILES = sorted(Path(__file__).with_name("page").iterdir())
# The files of the page by their paths.
PAGE = {"/" if f.suffix == ".html" else f"/{f.name}": f for f in _FILES if f.suffix in _TYPES}
# They hold nothing secret, and the page asks for the token itself.
PUBLIC = frozenset({*PAGE, "/health", "/login"})

OnLoaded = Callable[["asyncio.Future[Predictor]"], object]
OnBug = Callable[[Exception], object]


class Query(NamedTuple):
    """The parameters of `/predict`."""

    name: str  # as it is written in tables
    side: int  # of the preview in px; 0: none
    explain: bool  # whether a heat map is wanted


def create_app(model: ModelThread, auth: Auth, on_loaded: OnLoaded, on_bug: OnBug) -> ASGIApp:
    """Return the application; it serves the page while the model is still loading.

    Args:
        on_loaded: called when the model is loaded, or failed to load.
        on_bug: called with each unexpected error; the client gets status 500 and a sentence.
    """
    service = _Service(model, auth)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        model.start().add_done_callback(on_loaded)
        warming = asyncio.create_task(service.decoders.start())
        try:
            yield
        finally:
            warming.cancel()
            model.close()
            await service.decoders.close()

    async def answer_bug(_request: Request, error: Exception) -> Response:
        on_bug(error)
        return Refused(500, f"a bug in ALLD ({type(error).__name__}); please report it").response()

    handlers: Any = {Refused: _refuse, HTTPException: _refuse_path, Exception: answer_bug}
    routes = [
        *(Route(path, _page_file, methods=["GET"]) for path in PAGE),
        Route("/health", service.health, methods=["GET"]),
        Route("/model", service.model_facts, methods=["GET"]),
        Route("/predict", service.predict, methods=["POST"]),
        Route("/login", service.login, methods=["POST"]),
    ]
    # Without the slash at its end the browser would look for the page's files above it.
    own = {auth.root_path} - {"", *(route.path for route in routes)}
    routes += [Route(path, RedirectResponse(f"{path}/")) for path in own]
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.router.redirect_slashes = False  # a redirection would name the host of this side of a proxy
    return AuthMiddleware(app, auth, PUBLIC | own)


class _Service:
    """What lives as long as the server, and answers its requests."""

    def __init__(self, model: ModelThread, auth: Auth) -> None:
        self.model, self.auth = model, auth
        self.decoders, self.uploads = Decoders(), Uploads()
        self._waiting = 0
        self._decoded = asyncio.Semaphore(IN_MEMORY)

    async def health(self, request: Request) -> Response:
        """Say whether the model is loaded, and whether the client still needs the token."""
        status = "ready" if self.model.ready else "loading"
        needed = not self.auth.admits(request.headers)
        facts = {"version": __version__, "most_bytes": MOST_BYTES}
        return JSONResponse({"status": status, "token_needed": needed, **facts})

    async def model_facts(self, _request: Request) -> Response:
        """Answer with the facts in the model's bundle, as soon as it is loaded."""
        return JSONResponse(_model_facts(await self.model.loaded()))

    async def predict(self, request: Request) -> Response:
        """Answer with the prediction for one file, whose bytes are the request's body."""
        query = read_query(request.query_params)
        async with self.uploads.body(request) as data:
            with self._queued():
                predictor = await self.model.loaded()
                async with self._decoded:
                    return JSONResponse(await self._predict(predictor, query, data))

    async def login(self, request: Request) -> Response:
        """Give a browser that knows the token a cookie."""
        async with self.uploads.body(request, LOGIN_BYTES) as data:
            if self.auth.token is None or not self.auth.is_token(_token(data)):
                raise Refused(401, "this is not the token that the server was started with")
        welcome = Response(status_code=204)
        welcome.set_cookie(
            self.auth.cookie,
            self.auth.session,
            path=f"{self.auth.root_path}/",
            httponly=True,
            samesite="strict",
        )
        return welcome

    async def _predict(self, predictor: "Predictor", query: Query, data: bytes) -> dict[str, Any]:
        sha256, synthetic = sha256_hex(data), predictor.info.data.synthetic
        try:
            picture = await self.decoders.decode(query.name, data, query.side)
        except ImageError as error:
            limits = (predictor.info.threshold, predictor.identity)
            failed = Prediction(query.name, sha256, None, None, *limits, error=str(error))
            return _row(failed, synthetic)

        def predict(model: "Predictor") -> dict[str, Any]:
            prediction = model.predict_decoded(query.name, sha256, picture.decoded)
            extras = {"preview": _as_url(picture.preview)}
            if query.explain:
                extras |= _heat_map(model, picture.decoded.pixels)
            return _row(prediction, synthetic, extras)

        return await self.model.run(predict)

    @contextmanager
    def _queued(self) -> Iterator[None]:
        if self._waiting >= QUEUE:
            raise Refused(429, f"{QUEUE} files wait already; try again", retry_after=1)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


def read_query(given: QueryParams) -> Query:
    """Read the parameters name=TEXT, preview=SIDE and explain=1.

    Raises:
        Refused: an unknown parameter, or a value out of range.
    """
    for key in given:
        if key not in ("name", "preview", "explain"):
            raise Refused(400, f"unknown parameter {key!r}; there are name, preview and explain")
    name = given.get("name") or "image"
    if len(name) > MAX_NAME:
        raise Refused(400, f"name: has {len(name)} characters; {MAX_NAME} are the most")
    side, explain = given.get("preview", "0"), given.get("explain", "0")
    sides = {0, *range(MIN_PREVIEW_SIDE, MAX_PREVIEW_SIDE + 1)}
    if not re.fullmatch("[0-9]{1,3}", side) or int(side) not in sides:
        raise Refused(400, f"preview: a side of {MIN_PREVIEW_SIDE} to {MAX_PREVIEW_SIDE} px")
    if explain not in ("0", "1"):
        raise Refused(400, "explain: 0 or 1")
    return Query(plain_path(name), int(side), explain == "1")


def _model_facts(predictor: "Predictor") -> dict[str, Any]:
    bundle = predictor.path
    folder = bundle.parent if bundle.name == "model.alld" else bundle
    return {
        "name": spelt(well_formed(folder.resolve().name)),
        "identity": predictor.identity,
        "synthetic": predictor.info.data.synthetic,
        **predictor.info.model_dump(mode="json"),
        "tta": predictor.tta,
        "notice": NOTICE,
        "alld": __version__,
    }


def _row(
    prediction: Prediction, synthetic: bool, extras: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        **prediction.as_row(),
        "notes": list(prediction.notes),
        "synthetic": synthetic,
        "notice": NOTICE,
        **{name: text for name, text in (extras or {}).items() if text},
    }


def _heat_map(predictor: "Predictor", pixels: NDArray[np.uint8]) -> dict[str, str]:
    """Explain RGB (H, W, 3): a transparent PNG of the padded square, or why there is none."""
    from alld.inference.heat_map import heat_map, heat_png  # imports captum

    try:
        return {"heat_map": _as_url(heat_png(heat_map(predictor, pixels)))}
    except ConfigError as error:
        return {"no_heat_map": str(error)}


def _as_url(png: bytes) -> str:
    return f"data:image/png;base64,{b64encode(png).decode()}" if png else ""


def _token(data: bytes) -> str:
    """Read the body of a login, `{"token": "..."}`."""
    try:
        return str(json.loads(data)["token"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(400, 'send {"token": "..."}') from error


async def _page_file(request: Request) -> Response:
    content, media_type = _read_page_file(request.scope["path"])
    return Response(content, media_type=media_type)


@cache
def _read_page_file(path: str) -> tuple[bytes, str]:
    file = PAGE[path]
    return file.read_bytes(), f"{_TYPES[file.suffix]}; charset=utf-8"


async def _refuse(_request: Request, refused: Refused) -> Response:
    return refused.response()


async def _refuse_path(_request: Request, error: HTTPException) -> Response:
    return Refused(error.status_code, f"{error.detail}: use POST /predict").response()
