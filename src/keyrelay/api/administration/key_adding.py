"""Adding keys: one, many, and copies of those of the environment."""

from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.key_edits import KeyFields, WantedKey, tail_of, wrong
from keyrelay.administration.keys import Checks, Keys, Line
from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.pasting import MAX_KEYS, Pasted
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.key_bodies import (
    KeysToImport,
    NewKey,
    NewKeys,
    Unseal,
    new_fields,
    secret_of,
)
from keyrelay.api.administration.key_lines import (
    EXAMPLE_KEY,
    EXAMPLE_VALIDATION,
    KeyItem,
    KeyLister,
    Validation,
    validation_of,
)
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.errors import CallerError

_CREATED = 201
_MANY = 422

Outcome = Literal["new", "duplicate", "problem", "ignored"]


class AddedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was added; `validation` is null when its provider was not asked."""

    key: KeyItem
    validation: Validation | None


class BulkLine(msgspec.Struct, frozen=True, kw_only=True):
    """What became, or would become, of one of many keys, of which `line` tells the place.

    `outcome`: `new`, `duplicate` (`duplicate_of` names the key or the line), `problem` (`message` says which), or
    `ignored` (no key stands there). `suggestions` are the providers that it may be of, by how it looks.
    """

    line: int
    outcome: Outcome
    provider: str
    label: str
    tail: str
    fingerprint: str
    suggestions: tuple[str, ...]
    duplicate_of: str
    message: str
    validation: Validation | None


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many keys: `added` of them were added, all that are new or none."""

    dry_run: bool
    added: int
    lines: tuple[BulkLine, ...]


class ImportedKeys(msgspec.Struct, frozen=True):
    """The keys of the environment of which the store has a copy now."""

    imported: tuple[str, ...]


class KeyAddingView:
    """The routes that add keys. `unseal` opens what a browser has encrypted."""

    __slots__ = ("_access", "_epoch_s", "_keys", "_lister", "_unseal")

    def __init__(
        self, access: Access, keys: Keys, lister: KeyLister, *, unseal: Unseal, epoch_s: Callable[[], float]
    ) -> None:
        self._access = access
        self._keys = keys
        self._lister = lister
        self._unseal = unseal
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "key"))
        self._install_one(app, who_asks)
        self._install_many(app, who_asks)
        self._install_import(app, who_asks)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(NewKey, AddedKey, NewKeys, BulkAnswer, KeysToImport, ImportedKeys)

    def _install_one(self, app: FastAPI, who_asks: Any) -> None:
        @app.post(
            "/api/v1/keys",
            tags=["keys"],
            summary="Add a key.",
            description="Its provider is asked first, by a call that costs nothing. A key that it refuses is not "
            "saved; one of which it could not say anything only with `save_unknown`.",
            status_code=_CREATED,
            response_class=Response,
            responses=described(AddedKey, _ADDED, 400, 403, 409, 413, 415, 422, status=_CREATED) | unavailable(),
            openapi_extra=SECURITY | body_of(NewKey, _NEW),
        )
        async def add(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewKey)
            secret = await secret_of(body.secret, body.encrypted, self._unseal)
            if secret is None:
                raise wrong("secret", "is missing")
            wanted = WantedKey(body.provider, secret, new_fields(body, self._epoch_s()))
            checks = Checks(validate=body.validate, save_unknown=body.save_unknown)
            probed = await from_store(self._keys.add(wanted, author_of(who), checks))
            line = await self._lister.line(self._keys.find(wanted.provider, wanted.label))
            return answer(AddedKey(key=line, validation=validation_of(probed) if body.validate else None), _CREATED)

    def _install_many(self, app: FastAPI, who_asks: Any) -> None:
        @app.post(
            "/api/v1/keys/bulk",
            tags=["keys"],
            summary="Add many keys, or see what that would do.",
            description="A list, or a text that was pasted: a `.env`, a table, JSON, or one key per line. All new ones "
            "are added, or, when there is a problem with one, none (422, with the lines in `error.keyrelay`). What is "
            "there already is named and left out.",
            response_class=Response,
            responses=described(BulkAnswer, _BULK, 400, 403, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(NewKeys, NewKeys(text="GROQ_API_KEY=gsk_…", dry_run=True)),
        )
        async def add_many(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewKeys)
            lines = await self._lines(body)
            checks = Checks(validate=body.validate, save_unknown=body.save_unknown)
            done, added = await from_store(self._keys.add_many(lines, author_of(who), checks, dry_run=body.dry_run))
            result = BulkAnswer(dry_run=body.dry_run, added=added, lines=tuple(map(_bulk_line, done)))
            problems = [line for line in done if line.outcome == "problem"]
            if problems and not body.dry_run:
                message = (
                    f"Nothing was added: there is a problem with {len(problems)} of {len(done)} lines. Line "
                    f"{problems[0].pasted.line}: {problems[0].message}"
                )
                raise CallerError(_MANY, message, code="keys_not_added", detail=msgspec.to_builtins(result))
            return answer(result)

    def _install_import(self, app: FastAPI, who_asks: Any) -> None:
        @app.post(
            "/api/v1/keys/import",
            tags=["keys"],
            summary="Copy keys of the environment into the store.",
            description="They go on serving from the environment until they are taken out there.",
            response_class=Response,
            responses=described(ImportedKeys, ImportedKeys(("groq/work",)), 400, 403, 404, 413, 415, 422)
            | unavailable(),
            openapi_extra=SECURITY | body_of(KeysToImport, KeysToImport(keys=("groq/work",))),
        )
        async def import_keys(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, KeysToImport)
            if bool(body.keys) == body.all:
                raise wrong("keys", "name some, or say all, and not both")
            wanted = self._importable(body)
            await from_store(self._keys.import_keys(wanted, author_of(who)))
            return answer(ImportedKeys(tuple(each.key.id for each in wanted)))

    def _importable(self, body: KeysToImport) -> list[KnownKey]:
        known = self._keys.known()
        missing = [name for name in body.keys if name not in known]
        if missing:
            message = f"There is no key {missing[0][:100]!a}."
            raise CallerError(404, message, param="keys", code="key_not_found")
        chosen = known.values() if body.all else [known[name] for name in dict.fromkeys(body.keys)]
        return [each for each in chosen if not each.owned and each.key.secret is not None]

    async def _lines(self, body: NewKeys) -> tuple[Line, ...]:
        text = await secret_of(body.text, body.encrypted, self._unseal)
        if (text is None) == (not body.keys):
            raise wrong("keys", "send either keys, or text")
        if text is not None:
            return self._keys.read(text.reveal(), body.provider)
        if len(body.keys) > MAX_KEYS:
            raise wrong("keys", f"at most {MAX_KEYS} at once")
        now_s = self._epoch_s()
        given = list[tuple[Pasted, KeyFields | None]]()
        for number, each in enumerate(body.keys, 1):
            secret = await secret_of(each.secret, each.encrypted, self._unseal)
            problem = "It holds no secret." if secret is None else ""
            pasted = Pasted(line=number, secret=secret, provider=each.provider, problem=problem)
            given.append((pasted, new_fields(each, now_s)))
        return self._keys.sort(given)

    def __repr__(self) -> str:
        return f"<KeyAddingView of {self._keys!r}>"


def _bulk_line(line: Line) -> BulkLine:
    pasted = line.pasted
    return BulkLine(
        line=pasted.line,
        outcome=cast("Outcome", line.outcome),
        provider=pasted.provider,
        label=pasted.label if line.wanted is None else line.wanted.label,
        tail=tail_of(pasted.secret),
        fingerprint="" if pasted.secret is None else pasted.secret.fingerprint,
        suggestions=pasted.suggestions,
        duplicate_of=line.duplicate_of,
        message=line.message,
        validation=None if line.probed is None else validation_of(line.probed),
    )


_NEW = NewKey(provider="groq", secret="gsk_…", label="work", limits=("1000 requests per day@UTC",))  # noqa: S106 - an example
_ADDED = AddedKey(key=EXAMPLE_KEY, validation=EXAMPLE_VALIDATION)
_BULK = BulkAnswer(
    dry_run=True,
    added=0,
    lines=(
        BulkLine(
            line=1,
            outcome="new",
            provider="groq",
            label="8a1b2c3d",
            tail="f00d",
            fingerprint="8a1b2c3d",
            suggestions=("groq",),
            duplicate_of="",
            message=EXAMPLE_VALIDATION.message,
            validation=EXAMPLE_VALIDATION,
        ),
    ),
)
