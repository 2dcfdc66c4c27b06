"""The web application: the page, `/health`, `/model`, `/login`, `/predict` and `/openapi.json`."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from alld import NOTICE, __version__
from alld.errors import ConfigError, ImageError
from alld.inference.prediction import Prediction
from alld.runtime.files import sha256_hex, spelt, well_formed
from alld.serve.auth import Auth, AuthMiddleware, Refused
from alld.serve.decoders import CHILDREN, Decoders
from alld.serve.interface import Query, openapi, read_name, read_query
from alld.serve.model_thread import ModelThread
from alld.serve.uploads import MOST_BYTES, FormFile, Uploads

if TYPE_CHECKING:
    from alld.inference.predictor import Predictor

QUEUE = 16  # files that wait for a prediction; another one gets status 429
IN_MEMORY = CHILDREN + 2  # pictures that are decoded and wait for the model
LOGIN_BYTES = 2**12
PAGE_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FILES = sorted(Path(__file__).with_name("page").iterdir())
# The files of the page by their paths.
PAGE = {"/" if f.suffix == ".html" else f"/{f.name}": f for f in _FILES if f.suffix in PAGE_TYPES}
# They hold nothing secret, and the page asks for the token itself.
PUBLIC = frozenset({*PAGE, "/health", "/login", "/openapi.json"})

OnLoaded = Callable[["asyncio.Future[Predictor]"], object]
OnBug = Callable[[Exception], object]


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
        Route("/openapi.json", service.document, methods=["GET"]),
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
        needed = not self.auth.admits(request.headers)
        facts = {"token_needed": needed, "version": __version__, "most_bytes": MOST_BYTES}
        if self.model.ready:
            return JSONResponse({"status": "ready", **facts})
        return JSONResponse({"status": "loading", **facts}, 503, {"Retry-After": "1"})

    async def model_facts(self, _request: Request) -> Response:
        """Answer with the facts in the model's bundle, as soon as it is loaded."""
        return JSONResponse(_model_facts(await self.model.loaded()))

    async def predict(self, request: Request) -> Response:
        """Answer with the row of one file, the body; or the list of those of multipart/form-data.

        The files of a form take one place in the queue, as if they came one after the other.
        """
        query = read_query(request.query_params)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            async with self.uploads.files(request) as files:
                queries = [_query_for(query, file, len(files)) for file in files]
                with self._queued():
                    rows = []
                    for one, file in zip(queries, files, strict=True):
                        if await request.is_disconnected():
                            raise ClientDisconnect
                        rows.append(await self._predict(one, file.data.getvalue()))
                    return JSONResponse(rows)
        async with self.uploads.body(request) as data:
            with self._queued():
                return JSONResponse(await self._predict(query, data))

    async def document(self, _request: Request) -> Response:
        """Answer with the description of this interface for programs."""
        page = {path: PAGE_TYPES[file.suffix] for path, file in PAGE.items()}
        return JSONResponse(openapi(page, token=self.auth.token is not None))

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

    async def _predict(self, query: Query, data: bytes) -> dict[str, Any]:
        predictor = await self.model.loaded()
        name, sha256 = query.name or "image", sha256_hex(data)
        synthetic = predictor.info.data.synthetic

        def predict(model: "Predictor") -> dict[str, Any]:
            prediction = model.predict_decoded(name, sha256, picture.decoded)
            extras = {"preview": _as_url(picture.preview)}
            if query.explain:
                extras |= _heat_map(model, picture.decoded.pixels)
            return _row(prediction, synthetic, extras)

        async with self._decoded:
            try:
                picture = await self.decoders.decode(name, data, query.side)
            except ImageError as error:
                limits = (predictor.info.threshold, predictor.identity)
                failed = Prediction(name, sha256, None, None, *limits, error=str(error))
                return _row(failed, synthetic)
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


def _query_for(query: Query, file: FormFile, files: int) -> Query:
    """Return what is asked of one of several files: pictures of them all would be too large."""
    if files > 1 and query != Query(None, 0, False):
        raise Refused(400, "name, preview and explain are for one file; send them one by one")
    return query._replace(name=query.name or read_name(file.name))


def _model_facts(predictor: "Predictor") -> dict[str, Any]:
    bundle = predictor.path
    folder = bundle.parent if bundle.name == "model.alld" else bundle
    return {
        "name": spelt(well_formed(folder.resolve().name)),
        "identity": predictor.identity,
        "members": predictor.members,
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
    return file.read_bytes(), f"{PAGE_TYPES[file.suffix]}; charset=utf-8"


async def _refuse(_request: Request, refused: Refused) -> Response:
    return refused.response()


async def _refuse_path(_request: Request, error: HTTPException) -> Response:
    answer = Refused(error.status_code, f"{error.detail}: see openapi.json").response()
    answer.headers.update(error.headers or {})  # of methods: Allow
    return answer
