"""Testing keys, and exchanging their secrets."""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.key_edits import wrong
from keyrelay.administration.key_tests import KeyTests
from keyrelay.administration.keys import Checks, Keys
from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.rotation import MAX_DRAIN_S, Rotation
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.administration.key_bodies import (
    KeyRotation,
    KeysToTest,
    LabelName,
    ProviderName,
    Unseal,
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
from keyrelay.api.administration.tasks import EXAMPLE_TASK, TaskLine, task_line
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.moments import rfc3339
from keyrelay.core.probes import ProbeOutcome
from keyrelay.routing.key_states import KeyState

STALE_S = 86_400.0
_ACCEPTED = 202
_BAD_STATES = frozenset({KeyState.INVALID, KeyState.OUT_OF_CREDIT})
_WHICH = ("all", "failed", "stale")


class TestedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a test has found, and the key as it is then."""

    key: KeyItem
    validation: Validation


class RotatedKey(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation is: the last step that is done (`added`, `tested`, `switched`, `retired`, `aborted`)."""

    reached: str
    key: KeyItem
    validation: Validation | None


class KeyTestingView:
    """The routes that ask providers about keys that are there. `unseal` opens what a browser has encrypted."""

    __slots__ = ("_access", "_epoch_s", "_keys", "_lister", "_rotation", "_tests", "_unseal")

    def __init__(
        self,
        access: Access,
        keys: Keys,
        lister: KeyLister,
        *,
        tests: KeyTests,
        unseal: Unseal,
        epoch_s: Callable[[], float],
    ) -> None:
        self._access = access
        self._keys = keys
        self._lister = lister
        self._tests = tests
        self._rotation = Rotation(keys)
        self._unseal = unseal
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_testing(app)
        self._install_rotating(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(KeysToTest, TestedKey, TaskLine, KeyRotation, RotatedKey)

    def _install_testing(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.OPERATOR, "key"))

        @app.post(
            "/api/v1/keys/test",
            tags=["keys"],
            summary="Test many keys in the background.",
            description="The answer is a task; `GET /api/v1/tasks/{task_id}` says how far it is.",
            status_code=_ACCEPTED,
            response_class=Response,
            responses=described(TaskLine, EXAMPLE_TASK, 400, 403, 404, 413, 415, 429, status=_ACCEPTED),
            openapi_extra=SECURITY | body_of(KeysToTest, KeysToTest(which="failed")),
        )
        async def test_many(request: Request, who: Principal = who_asks) -> Response:
            wanted = await self._wanted(await read_body(request, KeysToTest))
            return answer(task_line(self._tests.start(wanted, author_of(who))), _ACCEPTED)

        @app.post(
            "/api/v1/keys/{provider}/{label}/test",
            tags=["keys"],
            summary="Test a key.",
            description="Its provider is asked by a call that costs nothing. A key that it refuses takes no more "
            "requests, one that it had refused before and accepts now takes them again.",
            response_class=Response,
            responses=described(TestedKey, TestedKey(key=EXAMPLE_KEY, validation=EXAMPLE_VALIDATION), 403, 404, 409),
            openapi_extra=SECURITY,
            dependencies=[who_asks],
        )
        async def test_one(provider: ProviderName, label: LabelName) -> Response:
            known = self._keys.find(provider, label)
            probed = await self._tests.test(known)
            return answer(TestedKey(key=await self._lister.line(known), validation=validation_of(probed)))

    def _install_rotating(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "key"))
        example = RotatedKey(reached="switched", key=EXAMPLE_KEY, validation=EXAMPLE_VALIDATION)

        @app.post(
            "/api/v1/keys/{provider}/{label}/rotate",
            tags=["keys"],
            summary="Exchange the secret of a key.",
            description="The new one is put beside the old one, tested, and takes its place; the old one is kept "
            "out of use for a while, and then retired. Each step is kept: a rotation that was cut off goes on when it "
            "is called again without a secret.",
            response_class=Response,
            responses=described(RotatedKey, example, 400, 403, 404, 409, 413, 415, 422) | unavailable(),
            openapi_extra=SECURITY | body_of(KeyRotation, KeyRotation(secret="gsk_…")),  # noqa: S106 - an example
        )
        async def rotate(
            request: Request, provider: ProviderName, label: LabelName, who: Principal = who_asks
        ) -> Response:
            body = await read_body(request, KeyRotation)
            if not 0.0 <= body.drain_s <= MAX_DRAIN_S:
                raise wrong("drain_s", f"from 0 to {MAX_DRAIN_S:g} seconds")
            rotated = await from_store(
                self._rotation.rotate(
                    self._keys.find(provider, label),
                    await secret_of(body.secret, body.encrypted, self._unseal),
                    author_of(who),
                    now_s=self._epoch_s(),
                    step=body.step,
                    checks=Checks(validate=body.validate, save_unknown=body.save_unknown),
                    drain_s=body.drain_s,
                )
            )
            validation = None if rotated.probed is None else validation_of(rotated.probed)
            line = await self._lister.line(self._keys.find(provider, label))
            return answer(RotatedKey(reached=rotated.reached, key=line, validation=validation))

    async def _wanted(self, body: KeysToTest) -> list[KnownKey]:
        """The keys that are to be tested. Raise CallerError (400)."""
        if body.which not in _WHICH:
            raise wrong("which", f"one of {', '.join(_WHICH)}")
        known = self._keys.known()
        for name in body.keys:
            self._keys.find(*name.partition("/")[::2])
        chosen = [each for each in known.values() if not body.keys or each.key.id in body.keys]
        chosen = [each for each in chosen if body.provider in {"", each.key.provider_id}]
        if body.which == "all":
            return chosen
        lines = await self._lister.lines(chosen)
        wanted = self._has_failed if body.which == "failed" else self._is_stale
        ids = {line.id for line in lines if wanted(line)}
        return [each for each in chosen if each.key.id in ids]

    def _has_failed(self, line: KeyItem) -> bool:
        tested_badly = line.last_test is not None and line.last_test.outcome not in {
            ProbeOutcome.VALID,
            ProbeOutcome.NOT_CHECKABLE,
        }
        newest_error = line.last_error is not None and line.last_error.at >= (line.last_success_at or "")
        return line.state in _BAD_STATES or tested_badly or newest_error

    def _is_stale(self, line: KeyItem) -> bool:
        since = rfc3339(self._epoch_s() - STALE_S)  # which sort as texts
        told = line.last_test is not None and line.last_test.outcome is not ProbeOutcome.UNKNOWN
        return max(line.last_success_at or "", line.last_test.at if line.last_test and told else "") < since

    def __repr__(self) -> str:
        return f"<KeyTestingView of {self._keys!r}>"
