"""The control plane: FastAPI with health, metrics, views and documentation.

It may be slow; the data plane is not in it.
"""

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match, Route

from keyrelay import __version__
from keyrelay.api.answering import without_secrets
from keyrelay.api.dataplane import unknown_path
from keyrelay.api.exposition import Exposition
from keyrelay.api.health import Health
from keyrelay.api.notices import Notice, Notices
from keyrelay.api.openapi import components
from keyrelay.api.openapi_paths import data_plane_paths
from keyrelay.api.policies import ANYBODY
from keyrelay.api.views import View, described_error
from keyrelay.api.wrong_parameters import problem_of
from keyrelay.core.errors import CallerError, VaultError
from keyrelay.wire.errors import encode_error
from keyrelay.wire.ollama.models import GREETING

_BAD_REQUEST = 400
_NOT_FOUND = 404
_WRONG_METHOD = 405
_FASTAPIS_OWN = "422"
"""What FastAPI says of wrong parameters in its own shape; here they get 400 in OpenAI's."""
_STRICT = "/api/v1/"
"""Where parameters that are not known are refused."""

_FASTAPIS_SCHEMAS = ("HTTPValidationError", "ValidationError")
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
_ASSET_PATH = "/docs/assets/"
_OWN_PAGE = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


Redact = Callable[[str], str]
"""Takes secrets out of a text."""


def create_control_plane(
    health: Health,
    exposition: Exposition,
    views: tuple[View, ...] = (),
    *,
    redact: Redact = str,
    notice: Notice = str,
) -> FastAPI:
    """The control plane as an ASGI application, with these metrics and the routes of each view.

    What `notice` gives, if it is not empty, stands in the head of each answer to a change.
    """
    app = FastAPI(
        title="Keyrelay",
        version=__version__,
        description="One endpoint in front of every AI API key that you own.",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Notices, notice=lambda: redact(notice()))
    app.add_exception_handler(StarletteHTTPException, partial(_http_error, redact))
    app.add_exception_handler(CallerError, partial(_caller_error, redact))
    app.add_exception_handler(VaultError, partial(_vault_error, redact))
    app.add_exception_handler(RequestValidationError, partial(_wrong_parameter, redact))
    _add_health(app, health)
    _add_metrics(app, exposition)
    for view in views:
        view.install(app)
    _add_docs(app)
    app.openapi = lambda: _document(app, views)  # type: ignore[method-assign]  # FastAPI's own way to extend the document
    return app


def _add_health(app: FastAPI, health: Health) -> None:
    anybody = [Depends(ANYBODY)]

    @app.get("/livez", tags=["health"], summary="The process is up.", dependencies=anybody)
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    async def readyz(*, verbose: bool = False) -> JSONResponse:
        checks = health.checks()
        ready = all(check.ok for check in checks)
        degraded = any(check.degraded for check in checks)
        body: dict[str, Any] = {"status": "not ready" if not ready else "degraded" if degraded else "ready"}
        if verbose or not ready or degraded:
            body["checks"] = [msgspec.to_builtins(check) for check in checks]
        return JSONResponse(body, status_code=200 if ready else 503)

    app.get("/readyz", tags=["health"], summary="Requests can be served.", dependencies=anybody)(readyz)
    app.get("/healthz", tags=["health"], summary="The same as /readyz.", dependencies=anybody)(readyz)


def _add_metrics(app: FastAPI, exposition: Exposition) -> None:
    anybody = [Depends(ANYBODY)]

    @app.get("/metrics", tags=["health"], summary="Prometheus metrics.", response_class=Response, dependencies=anybody)
    async def metrics() -> Response:
        return Response(await exposition.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _add_docs(app: FastAPI) -> None:
    title = "Keyrelay"
    icon = _ASSET_PATH + "favicon.png"

    anybody = [Depends(ANYBODY)]

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False, dependencies=anybody)
    async def root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/docs")
        return Response(GREETING, media_type="text/plain")  # Ollama's clients look for these words

    @app.get("/docs", include_in_schema=False, dependencies=anybody)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url=_ASSET_PATH + "swagger-ui-bundle.js",
            swagger_css_url=_ASSET_PATH + "swagger-ui.css",
            swagger_favicon_url=icon,
            swagger_ui_parameters={"validatorUrl": None},  # else it would ask a service elsewhere
        )

    @app.get("/redoc", include_in_schema=False, dependencies=anybody)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title=title,
            redoc_js_url=_ASSET_PATH + "redoc.standalone.js",
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )

    @app.get("/setup", include_in_schema=False, dependencies=anybody)
    async def setup() -> HTMLResponse:
        page = files("keyrelay.api").joinpath("static_docs", "setup.html").read_text("utf-8")
        return HTMLResponse(page, headers=_OWN_PAGE)

    @app.get(_ASSET_PATH + "{name}", include_in_schema=False, dependencies=anybody)
    async def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(_NOT_FOUND)
        content = files("keyrelay.api").joinpath("static_docs", name).read_bytes()
        return Response(content, media_type=_ASSETS[name], headers={"cache-control": "public, max-age=86400"})


def _document(app: FastAPI, views: tuple[View, ...]) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["paths"] = {**data_plane_paths(), **document["paths"]}
        for group, members in components().items():
            document.setdefault("components", {}).setdefault(group, {}).update(members)
        schemas = document["components"]["schemas"]
        for view in views:
            schemas.update(view.schemas())
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if _FASTAPIS_SCHEMAS[0] in str(operation["responses"].get(_FASTAPIS_OWN)):
                    del operation["responses"][_FASTAPIS_OWN]
                if path.startswith(_STRICT):
                    operation["responses"].setdefault(str(_BAD_REQUEST), described_error(_BAD_REQUEST))
        for name in _FASTAPIS_SCHEMAS:
            schemas.pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema


async def _http_error(redact: Redact, request: Request, error: Exception) -> Response:
    """Everything that FastAPI would answer in its own shape goes out in OpenAI's."""
    status = error.status_code if isinstance(error, HTTPException | StarletteHTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    if status == _NOT_FOUND:
        caller_error = unknown_path(request.scope)
    elif status == _WRONG_METHOD:
        headers = {"allow": ", ".join(_methods_of(request))}
        message = f"{request.method} is not possible here; use {headers['allow']}."
        caller_error = CallerError(status, message, code="method_not_allowed")
    else:
        detail = getattr(error, "detail", "")
        caller_error = CallerError(status, f"{detail}.", code=str(detail).lower().replace(" ", "_"))
    return _answer(caller_error, headers, redact)


def _methods_of(request: Request) -> list[str]:
    """The methods of all routes of a path: each route knows its own ones only."""
    routes = (each for each in request.app.routes if isinstance(each, Route))
    fitting = (each for each in routes if each.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for each in fitting for method in each.methods or ()})


async def _caller_error(redact: Redact, request: Request, error: Exception) -> Response:
    """What a view raised, as the data plane would answer it."""
    del request
    if not isinstance(error, CallerError):
        raise TypeError("only CallerError is answered here") from error
    return _answer(error, dict(error.headers), redact)


async def _vault_error(redact: Redact, request: Request, error: Exception) -> Response:
    """The vault does not open, which a person has to mend: its words say how."""
    del request
    message = f"Secrets can neither be kept nor read just now: {error}."
    return _answer(
        CallerError(503, message, kind="service_unavailable_error", code="vault_unavailable"),
        {"retry-after": "60"},
        redact,
    )


async def _wrong_parameter(redact: Redact, request: Request, error: Exception) -> Response:
    """The first parameter that is wrong, in OpenAI's shape."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    name, message = problem_of(problems[0] if problems else {})
    del request
    return _answer(CallerError(400, message, param=name, code="invalid_parameter"), {}, redact)


def _answer(error: CallerError, headers: dict[str, str], redact: Redact) -> Response:
    error = without_secrets(error, redact)
    headers |= {"content-type": "application/json", "cache-control": "no-store"}
    return Response(encode_error(error), status_code=error.status, headers=headers)
