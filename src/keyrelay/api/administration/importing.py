"""`/api/v1/import`: what another system was configured with, shown first and then taken over, whole or not at all."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.importing.found import ImportFile
from keyrelay.administration.importing.plan import ImportLine
from keyrelay.administration.importing.service import MAX_FILES, Importer, Wanted
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError

MAX_VARIABLES = 1_000


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files to import. With `dry_run` nothing is changed.

    `variables` are what `os.environ/NAME` in a LiteLLM configuration means. `revision` is that of the answer to a dry
    run: when something has changed since, nothing is imported.
    """

    files: tuple[ImportFile, ...]
    variables: dict[str, str] = {}
    dry_run: bool = False
    revision: int | None = None


class ImportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became, or would become, of each thing in the files; `revision` is that of what is administered then.

    `uncounted` says why usage that was taken over does not count yet, empty when it does.
    """

    dry_run: bool
    imported: int
    revision: int
    uncounted: str
    lines: tuple[ImportLine, ...]


class ImportView:
    """The route."""

    __slots__ = ("_access", "_importer")

    def __init__(self, access: Access, importer: Importer) -> None:
        self._access = access
        self._importer = importer

    def install(self, app: FastAPI) -> None:
        """Add the route."""

        @app.post(
            "/api/v1/import",
            tags=["administration"],
            summary="Import an old configuration.",
            description="An `.env`, an `api_usage.json` or a LiteLLM `config.yaml`: all of it or nothing. "
            "What cannot be taken over is listed with the reason, and no secret is repeated.",
            response_class=Response,
            responses={**described(ImportAnswer, _EXAMPLE, 400, 403, 409, 413, 415, 422), **unavailable()},
            openapi_extra={**SECURITY, **body_of(ImportRequest, _REQUEST)},
        )
        async def import_files(
            request: Request, who: Annotated[Principal, Depends(self._access.requires(Permission.ADMINISTRATOR))]
        ) -> Response:
            body = await read_body(request, ImportRequest)
            _check(body)
            wanted = Wanted(files=body.files, variables=body.variables, revision=body.revision)
            work = self._importer.look if body.dry_run else self._importer.do
            done = await from_store(work(wanted, author_of(who)))
            return answer(
                ImportAnswer(
                    dry_run=body.dry_run,
                    imported=sum(line.outcome in {"new", "copied", "changed"} for line in done.lines),
                    revision=done.revision,
                    uncounted=done.uncounted,
                    lines=done.lines,
                )
            )

    def schemas(self) -> dict[str, Any]:
        """Those of its documents."""
        return schemas_of(ImportRequest, ImportAnswer)

    def __repr__(self) -> str:
        return f"<ImportView {self._importer!r}>"


def _check(body: ImportRequest) -> None:
    """Raise CallerError (400) for too much, or for nothing."""
    if not 1 <= len(body.files) <= MAX_FILES:
        raise CallerError(400, f"files: from 1 to {MAX_FILES}.", param="files", code="invalid_parameter")
    if len(body.variables) > MAX_VARIABLES:
        raise CallerError(400, f"variables: at most {MAX_VARIABLES}.", param="variables", code="invalid_parameter")


_REQUEST = ImportRequest(files=(ImportFile("env", "GROQ_API_KEY=gsk_test_0123456789\nGROQ_LIMIT=14400\n", ".env"),))
_EXAMPLE = ImportAnswer(
    dry_run=False,
    imported=1,
    revision=7,
    uncounted="",
    lines=(
        ImportLine(
            file=".env", source="GROQ_API_KEY", kind="key", id="groq/2f1c7a90", outcome="new", tail="6789", message=""
        ),
        ImportLine(
            file=".env",
            source="PORT",
            kind="",
            id="",
            outcome="left",
            message="It belongs to the process that is started: keep it in its environment or `.env`.",
        ),
    ),
)
