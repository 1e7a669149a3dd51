"""`GET /api/v1/requests/{id}/text`: what was asked and answered in one request, where that was kept.

It is the operator's alone: no client sees another's texts, nor its own.
"""

import base64
from typing import Annotated, Any, Protocol

import msgspec
from fastapi import Depends, FastAPI, Path, Response

from keyrelay.api.access import Access
from keyrelay.api.policies import Permission
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError, VaultError
from keyrelay.core.kept_texts import KeptText, KeptTexts, readable
from keyrelay.core.stored_requests import is_request_id


class TextReader(Protocol):
    """Reads kept texts."""

    async def read(self, request_id: str) -> KeptTexts | None:
        """The texts of one request; None when there are none. Raise StoreError and VaultError."""
        ...


class TextLine(msgspec.Struct, frozen=True, kw_only=True):
    """One body. `bytes` is how long it was, `truncated` says that less is kept of it.

    `text` is null for what is no UTF-8: that is in `base64`.
    """

    content_type: str
    bytes: int
    truncated: bool
    text: str | None
    base64: str | None = None


class RequestTexts(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller sent and saw; `answer` is null when it saw nothing."""

    request_id: str
    request: TextLine | None
    answer: TextLine | None


class RequestTextsView:
    """The texts of single requests."""

    __slots__ = ("_access", "_reader")

    def __init__(self, reader: TextReader, access: Access) -> None:
        self._reader = reader
        self._access = access

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.get(
            "/api/v1/requests/{id}/text",
            tags=["requests"],
            summary="What was asked and answered in a request.",
            description="For the operator, and only where prompts and answers are kept (`KEYRELAY_KEEP_TEXTS`).",
            response_class=Response,
            responses=described(RequestTexts, _EXAMPLE, 403, 404) | unavailable(),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.ADMINISTRATOR))],
        )
        async def text(
            request_id: Annotated[str, Path(alias="id", description="Its `x-request-id`.")],
        ) -> Response:
            return answer(await self.read(request_id))

    def schemas(self) -> dict[str, Any]:
        """The schema of the document."""
        return schemas_of(RequestTexts)

    async def read(self, request_id: str) -> RequestTexts:
        """The texts of one request. Raise CallerError (404, 503)."""
        try:
            found = await from_store(self._reader.read(request_id)) if is_request_id(request_id) else None
        except VaultError as error:
            message = f"The text is kept and cannot be opened: {error}."
            raise CallerError(503, message, kind="service_unavailable_error", code="text_unreadable") from error
        if found is None:
            message = (
                f"No text of a request {request_id[:64]!a} is kept. Texts are kept where KEYRELAY_KEEP_TEXTS says so, "
                "for KEYRELAY_KEEP_TEXTS_DAYS, unless the caller wanted none kept."
            )
            raise CallerError(404, message, param="id", code="text_not_found")
        return RequestTexts(request_id=found.request_id, request=_line(found.request), answer=_line(found.answer))

    def __repr__(self) -> str:
        return f"<RequestTextsView of {self._reader!r}>"


def _line(kept: KeptText | None) -> TextLine | None:
    if kept is None:
        return None
    text = readable(kept.data, truncated=kept.truncated)
    return TextLine(
        content_type=kept.content_type,
        bytes=kept.size,
        truncated=kept.truncated,
        text=text,
        base64=base64.b64encode(kept.data).decode("ascii") if text is None else None,
    )


_EXAMPLE = RequestTexts(
    request_id="req_01998a5c8c007d3f8a1b2c3d4e5f6071",
    request=TextLine(
        content_type="application/json",
        bytes=79,
        truncated=False,
        text='{"model":"auto","messages":[{"role":"user","content":"Why is the sky blue?"}]}',
    ),
    answer=TextLine(
        content_type="application/json",
        bytes=90_112,
        truncated=True,
        text='{"id":"chatcmpl-1","object":"chat.completion","choices":[…',
    ),
)
