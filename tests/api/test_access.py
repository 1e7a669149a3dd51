"""Who may call what: every route with every kind of caller, and what sessions, tokens and people are held to."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute

from keyrelay.administration.passwords import MAX_WAITING
from keyrelay.administration.people import adding_person, adding_token, new_token, removing_person
from keyrelay.administration.service import KEYRELAY
from keyrelay.administration.sessions import IDLE_S, csrf_of, digest_of
from keyrelay.administration.sessions import LASTS_S as SESSION_LASTS_S
from keyrelay.api.access import COOKIE, Access
from keyrelay.api.policies import Permission, Policy
from keyrelay.bootstrap import administering
from keyrelay.configuration.local_proof import LASTS_S, SignedRequest, is_proof, sign
from keyrelay.configuration.local_secret import read_local_secret
from keyrelay.core.administered import NOTHING, ROLES, ProviderEntry, TokenEntry, UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from keyrelay.ports import Session
from keyrelay.storage.database import open_database
from tests.api.served import OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply, embedded, until
from tests.servers.redis_server import RedisServer

PASSWORD = "correct horse battery staple"
SAFE = {"GET", "HEAD"}
NEW_KEY = {"provider": "mistral", "label": "new", "secret": "sk-test-0123456789abcdef", "validate": False}
MADE_AND_TAKEN: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("POST", "keys", NEW_KEY, "mistral/new"),
    ("POST", "clients", {"label": "app"}, "app"),
    ("PUT", "providers", {"base_url": "https://models.example/v1"}, "mine"),
    ("PUT", "routes", {"targets": ["groq/openai/gpt-oss-20b"]}, "fast"),
    ("POST", "people", {"name": "bob", "password": PASSWORD, "role": "viewer"}, "bob"),
)
"""How something is made, where, of what, and its name in the path."""

SCOPES = ("key", "usage")
OTHERS_TOO = ("DELETE", "/api/v1/cache")
"""A client forgets its own answers; a person, who has none, those of all clients, which takes an operator."""


def control_of(gateway: Embedded) -> FastAPI:
    control = gateway.application.control
    assert isinstance(control, FastAPI)
    return control


def policies_of(route: APIRoute) -> list[Policy]:
    """The policies that a route declares, whether its handler wants to know who calls or not."""
    return [each.call for each in route.dependant.dependencies if isinstance(each.call, Policy)] + [
        deeper.call
        for each in route.dependant.dependencies
        for deeper in each.dependencies
        if isinstance(deeper.call, Policy)
    ]


def routes_of(gateway: Embedded) -> list[tuple[str, str, Policy]]:
    found = []
    for route in control_of(gateway).routes:
        if isinstance(route, APIRoute):
            policies = policies_of(route)
            assert len(policies) == 1, f"{route.path} declares {len(policies)} policies"
            path = route.path_format
            for parameter in route.param_convertors:
                path = path.replace(f"{{{parameter}}}", "nothing")
            found += [(method, path, policies[0]) for method in sorted(route.methods or ())]
    return found


async def person(gateway: Embedded, name: str, role: Any, *, created_s: float = 0.0, changed_s: float = 0.0) -> None:
    """A person who exists, with a password that nobody needs."""
    user = UserEntry(name=name, role=role, password="-", created_s=created_s, changed_s=changed_s)
    await gateway.application.administration.change(adding_person(user), KEYRELAY, "test")


async def session(gateway: Embedded, name: str, *, age_s: float = 0.0, idle_s: float = 0.0) -> str:
    """A cookie of somebody who has signed in."""
    cookie, now_s = f"{name}-{time.monotonic_ns()}", time.time()
    created_s = now_s - age_s
    kept = Session(
        digest=digest_of(cookie),
        user=name,
        created_s=created_s,
        seen_s=now_s - idle_s,
        expires_s=created_s + SESSION_LASTS_S,
    )
    await sessions_of(gateway)._store.add(kept)
    return cookie


def access_of(gateway: Embedded) -> Access:
    """Who says who calls, found through one of its policies."""
    for _, _, policy in routes_of(gateway):
        owner = getattr(policy._identify, "__self__", None)
        if isinstance(owner, Access):
            return owner
    raise AssertionError("no route asks who calls")


def sessions_of(gateway: Embedded) -> Any:
    """The sessions of a gateway."""
    return access_of(gateway).sessions


async def token(gateway: Embedded, name: str, role: Any, **more: Any) -> str:
    secret, entry = new_token(name, role, time.time(), **more)
    await gateway.application.administration.change(adding_token(entry), KEYRELAY, "test")
    return secret.reveal()


async def with_cookie(
    gateway: Embedded, method: str, path: str, cookie: str, *, csrf: str | None = None, body: object = None, **head: str
) -> Reply:
    headers = {"authorization": "", "cookie": f"{COOKIE}={cookie}", **head}
    headers["x-csrf-token"] = csrf_of(cookie) if csrf is None else csrf
    async with Caller(gateway.port) as caller:
        if method in SAFE:
            return await caller.get(path, method, **headers)
        return await caller.post(path, {} if body is None else body, headers=headers, method=method)


async def ask(gateway: Embedded, method: str, path: str, secret: str = "", body: object = None, **head: str) -> Reply:
    headers = head if secret else {"authorization": "", **head}
    async with Caller(gateway.port, secret) as caller:
        if method in SAFE:
            return await caller.get(path, method, **headers)
        return await caller.post(path, {} if body is None else body, headers=headers, method=method)


@contextlib.asynccontextmanager
async def peopled(directory: Path) -> AsyncIterator[Embedded]:
    """A gateway with somebody of each role, and no operator's secret."""
    async with served(directory, operator=False) as gateway:
        for role in ROLES:
            await person(gateway, f"a-{role}", role)
        yield gateway


async def test_every_route_with_every_kind_of_caller(tmp_path: Path) -> None:
    async with peopled(tmp_path) as gateway:
        old = await token(gateway, "old", "administrator", expires_s=time.time() - 1)
        gone = await token(gateway, "gone", "administrator")
        secrets: dict[str, str] = {
            "expired": old,
            "revoked": gone,
            "malformed": "krt-",
            "client A": CLIENT_SECRET,
            "client B": OTHER_SECRET,
            **{role: await token(gateway, f"t-{role}", role) for role in ROLES},
            "local": gateway_secret(gateway),
            **{f"scope {kind}": await token(gateway, f"s-{kind}", "administrator", scopes=(kind,)) for kind in SCOPES},
        }
        await gateway.application.administration.change(lambda state: state.without("token", "gone"), KEYRELAY, "test")
        wrong = []
        for method, path, policy in routes_of(gateway):
            cells = {"none": await ask(gateway, method, path)}
            cells |= {who: await ask(gateway, method, path, secret) for who, secret in secrets.items()}
            for role in ROLES:
                cookie = await session(gateway, f"a-{role}")
                cells[f"{role} session"] = await with_cookie(gateway, method, path, cookie)
            cookie = await session(gateway, "a-administrator")
            cells["no csrf"] = await with_cookie(gateway, method, path, cookie, csrf="")
            cells["foreign"] = await with_cookie(gateway, method, path, cookie, origin="https://evil.example")
            cells["signed"] = await ask(gateway, method, path, signed(gateway, method, path, body=unsafe(method)))
            cells["signed elsewhere"] = await ask(gateway, method, path, signed(gateway, method, f"{path}?", b"{}"))
            for who, reply in cells.items():
                expected = expectation(who, method, path, policy)
                refusal = reply.status if reply.status in {401, 403} else 0
                if policy.permission is Permission.ANYBODY and reply.status == 403:
                    refusal = 0  # a wrong code, a foreign page: of the route's own
                if refusal != expected or reply.status >= 500:
                    wrong.append(f"{method} {path} {who}: {reply.status} instead of {expected or 'an answer'}")
        assert not wrong, "\n".join(wrong)


def expectation(who: str, method: str, path: str, policy: Policy) -> int:
    """The status with which a caller is refused; 0: not at all."""
    permission = policy.permission
    if permission is Permission.ANYBODY:
        return 0
    if who in {"none", "malformed", "expired", "revoked", "signed elsewhere"}:
        return 401
    if who in {"foreign", "no csrf"}:
        return 0 if who == "no csrf" and method in SAFE else 403
    others = (method, path) == OTHERS_TOO
    if who.startswith("scope") and policy.kind != who.removeprefix("scope "):
        # Of what a client may do, such a token may do all that is about no kind of entries.
        return 0 if permission is Permission.CLIENT and policy.kind is None and not others else 403
    if permission is Permission.CLIENT and (not others or who.startswith("client")):
        return 0
    role = who.removesuffix(" session")
    if role in {"local", "signed"} or role.startswith("scope"):
        role = "administrator"
    needed = "operator" if permission in {Permission.TRUSTED, Permission.CLIENT} else permission.value
    return 0 if role in ROLES and ROLES.index(role) >= ROLES.index(needed) else 403


async def test_no_route_of_the_control_plane_is_without_a_policy(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        open_to_all = {path for _, path, policy in routes_of(gateway) if policy.permission is Permission.ANYBODY}
        of_the_api = {path for path in open_to_all if path.startswith("/api/")}
        assert of_the_api == {"/api/v1/setup", "/api/v1/session", "/api/v1/local-proof"}


async def test_a_parameter_that_a_route_does_not_know_is_refused_and_nothing_is_done(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        route = {"targets": ["groq/openai/gpt-oss-20b"]}
        tried = await ask(gateway, "PUT", "/api/v1/routes/fast?dry_run=true", OPERATOR_SECRET, route)
        assert (tried.status, tried.error["param"], tried.error["code"]) == (400, "dry_run", "invalid_parameter")
        assert (await ask(gateway, "GET", "/api/v1/routes", OPERATOR_SECRET)).body.count(b'"fast"') == 0
        mistyped = await ask(gateway, "GET", "/api/v1/keys?sate=ready", OPERATOR_SECRET)
        assert mistyped.error["message"] == (
            "'sate' is no parameter of GET /api/v1/keys. Did you mean state? It takes after, limit, provider, state."
        )
        assert (await ask(gateway, "GET", "/api/v1/usage?from=1h&by=foo", CLIENT_SECRET)).error["param"] == "by"
        assert (await ask(gateway, "GET", "/api/v1/keys?sate=ready")).status == 401
        assert (await ask(gateway, "GET", "/api/v1/local-proof?nonc=x")).error["param"] == "nonc"
        assert (await ask(gateway, "GET", "/readyz?at=1")).status == 200


async def test_the_first_administrator_is_made_with_a_code_that_holds_once(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        assert (await ask(gateway, "GET", "/api/v1/setup")).json == {"needed": True}
        code = gateway.application.set_up_code.reveal()
        assert code.startswith("krs-")
        assert (await ask(gateway, "GET", "/api/v1/session", code)).status == 401
        body = {"code": code, "name": "alice", "password": PASSWORD}
        for wrong in ({"code": "krs-no"}, {"password": "short"}, {"name": "a b"}):
            assert (await ask(gateway, "POST", "/api/v1/setup", body=body | wrong)).status in {400, 403}
        foreign = await ask(gateway, "POST", "/api/v1/setup", body=body, origin="https://evil.example")
        assert foreign.json["error"]["code"] == "foreign_origin"
        made = await ask(gateway, "POST", "/api/v1/setup", body=body)
        assert (made.status, made.json["name"], made.json["role"]) == (200, "user:alice", "administrator")
        assert (await ask(gateway, "POST", "/api/v1/setup", body=body | {"name": "eve"})).status == 403
        assert (await ask(gateway, "GET", "/api/v1/setup")).json == {"needed": False}


async def test_with_an_operator_there_is_no_code(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        assert not gateway.application.set_up_code
        assert gateway.application.administration.state.all(TokenEntry) == ()


async def signed_up(gateway: Embedded, name: str = "alice", role: str = "administrator") -> None:
    local = await ask(
        gateway,
        "POST",
        "/api/v1/people",
        gateway_secret(gateway),
        {"name": name, "password": PASSWORD, "role": role},
    )
    assert local.status == 201, local.body


def directory_of(gateway: Embedded) -> Path:
    return gateway.application.watch.configuration.settings.data_dir


def gateway_secret(gateway: Embedded) -> str:
    return read_local_secret(directory_of(gateway)).reveal()


def signed(gateway: Embedded, method: str, target: str, body: bytes = b"", *, age_s: float = 0.0, **other: str) -> str:
    """What a command sends in the place of a secret; `other` changes what it is about."""
    place = f"127.0.0.1 {gateway.port}"
    about = SignedRequest(**{"place": place, "method": method, "target": target, "body": body, **other})  # type: ignore[arg-type]
    return sign(read_local_secret(directory_of(gateway)), about, time.time() - age_s)


def unsafe(method: str) -> bytes:
    """The body that `ask` sends."""
    return b"" if method in SAFE else b"{}"


async def sign_in(gateway: Embedded, name: str = "alice", password: str = PASSWORD) -> tuple[Reply, str]:
    reply = await ask(gateway, "POST", "/api/v1/session", body={"name": name, "password": password})
    cookie = reply.headers.get("set-cookie", "").partition(";")[0].partition("=")[2]
    return reply, cookie


async def test_signing_in_and_out(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        await signed_up(gateway)
        reply, cookie = await sign_in(gateway)
        attributes = reply.headers["set-cookie"].lower()
        assert "httponly" in attributes
        assert "samesite=strict" in attributes
        assert "path=/" in attributes
        assert reply.json["csrf"] == csrf_of(cookie)
        who = await with_cookie(gateway, "GET", "/api/v1/session", cookie)
        assert who.json == reply.json
        assert cookie.encode() not in (directory_of(gateway) / "keyrelay.db").read_bytes()
        refused = await with_cookie(gateway, "DELETE", "/api/v1/session", cookie, csrf="0")
        assert (refused.status, refused.json["error"]["code"]) == (403, "csrf")
        assert (await with_cookie(gateway, "DELETE", "/api/v1/session", cookie)).json == {"ended": 1}
        ended = await with_cookie(gateway, "GET", "/api/v1/session", cookie)
        assert (ended.status, ended.json["error"]["code"]) == (401, "session_ended")
        lines = (await ask(gateway, "GET", "/api/v1/audit", gateway_secret(gateway))).json["lines"]
        assert [line["action"] for line in lines][:2] == ["signed out", "signed in"]


async def test_a_wrong_name_is_refused_like_a_wrong_password_and_then_one_has_to_wait(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        await signed_up(gateway)
        wrong = [(await sign_in(gateway, password=f"wrong {number}"))[0] for number in range(5)]
        nobody, _ = await sign_in(gateway, "nobody")
        assert {reply.status for reply in wrong} == {nobody.status} == {401}
        assert wrong[0].json == nobody.json
        locked, _ = await sign_in(gateway)
        assert (locked.status, locked.json["error"]["code"]) == (429, "locked_out")
        assert 1 <= int(locked.headers["retry-after"]) <= 2
        await asyncio.sleep(int(locked.headers["retry-after"]))
        assert (await sign_in(gateway))[0].status == 200
        assert (await sign_in(gateway))[0].status == 200


async def test_who_is_changed_has_to_sign_in_again(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        local = gateway_secret(gateway)
        await signed_up(gateway)
        await signed_up(gateway, "bob", "viewer")
        for change in ({"role": "operator"}, {"enabled": False}):
            await ask(gateway, "PATCH", "/api/v1/people/bob", local, {"enabled": True})
            _, cookie = await sign_in(gateway, "bob")
            assert (await with_cookie(gateway, "GET", "/api/v1/session", cookie)).status == 200
            assert (await ask(gateway, "PATCH", "/api/v1/people/bob", local, change)).status == 200
            assert (await with_cookie(gateway, "GET", "/api/v1/session", cookie)).status == 401
        assert (await sign_in(gateway, "bob"))[0].status == 401  # switched off
        last = await ask(gateway, "DELETE", "/api/v1/people/alice", local)
        assert (last.status, last.json["error"]["code"]) == (409, "last_administrator")
        assert (await ask(gateway, "PATCH", "/api/v1/people/alice", local, {"role": "viewer"})).status == 409
        assert (await ask(gateway, "DELETE", "/api/v1/people/bob", local)).json == {"removed": "bob"}
        assert (await ask(gateway, "DELETE", "/api/v1/people/bob", local)).status == 404
        assert [each["name"] for each in (await ask(gateway, "GET", "/api/v1/people", local)).json["items"]] == [
            "alice"
        ]
        assert (
            await ask(gateway, "POST", "/api/v1/people", local, {"name": "alice", "password": PASSWORD})
        ).status == 409


async def test_ones_own_password_takes_the_old_one_and_ends_other_sessions(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        await signed_up(gateway)
        _, here = await sign_in(gateway)
        _, there = await sign_in(gateway)
        path, new = "/api/v1/session/password", "a whole new sentence"
        wrong = {"password": "not the old one", "new_password": new}
        assert (await with_cookie(gateway, "POST", path, here, body=wrong)).status == 401
        weak = {"password": PASSWORD, "new_password": "short"}
        assert (await with_cookie(gateway, "POST", path, here, body=weak)).status == 400
        right = {"password": PASSWORD, "new_password": new}
        changed = await with_cookie(gateway, "POST", path, here, body=right)
        assert changed.status == 200
        assert (await with_cookie(gateway, "GET", "/api/v1/session", there)).status == 401
        cookie = changed.headers["set-cookie"].partition(";")[0].partition("=")[2]
        assert (await with_cookie(gateway, "GET", "/api/v1/session", cookie)).status == 200
        assert (await sign_in(gateway))[0].status == 401
        by_token = await ask(gateway, "POST", path, gateway_secret(gateway), right)
        assert by_token.json["error"]["code"] == "no_session"
        assert (await with_cookie(gateway, "DELETE", "/api/v1/session?everywhere=true", cookie)).json["ended"] >= 1


@pytest.mark.parametrize(("age_s", "idle_s"), [(SESSION_LASTS_S, 0.0), (IDLE_S, IDLE_S)], ids=["too old", "unused"])
async def test_a_session_ends_by_itself(age_s: float, idle_s: float, tmp_path: Path) -> None:
    async with peopled(tmp_path) as gateway:
        ended = await session(gateway, "a-viewer", age_s=age_s, idle_s=idle_s)
        assert (await with_cookie(gateway, "GET", "/api/v1/session", ended)).status == 401
        used = await session(gateway, "a-viewer", age_s=age_s - 60, idle_s=max(0.0, idle_s - 60))
        assert (await with_cookie(gateway, "GET", "/api/v1/session", used)).status == 200
        kept = await sessions_of(gateway).of_user("a-viewer")
        assert all(time.time() - each.seen_s < 5 for each in kept if each.digest == digest_of(used))


async def test_a_token_can_do_no_more_than_who_made_it(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        local = gateway_secret(gateway)
        await signed_up(gateway)
        await signed_up(gateway, "bob", "operator")
        _, bob = await sign_in(gateway, "bob")
        made = await with_cookie(gateway, "POST", "/api/v1/tokens", bob, body={"name": "ci", "role": "operator"})
        assert made.status == 201
        secret = made.json["secret"]
        assert (made.json["token"]["owner"], made.json["token"]["tail"]) == ("bob", secret[-4:])
        assert (await ask(gateway, "GET", "/api/v1/audit", secret)).status == 200
        for wrong, status in (
            ({"name": "x", "role": "administrator"}, 403),
            ({"name": "x", "days": 0}, 400),
            ({"name": "x", "scopes": ["planet"]}, 400),
            ({"name": "set-up"}, 400),
            ({"name": "ci"}, 409),
        ):
            assert (await with_cookie(gateway, "POST", "/api/v1/tokens", bob, body=wrong)).status == status
        assert (await ask(gateway, "POST", "/api/v1/tokens", secret, {"name": "y"})).status == 403
        await ask(gateway, "POST", "/api/v1/tokens", local, {"name": "mine", "scopes": ["key"]})
        own = await with_cookie(gateway, "GET", "/api/v1/tokens", bob)
        assert [each["name"] for each in own.json["items"]] == ["ci"]
        every = (await ask(gateway, "GET", "/api/v1/tokens", local)).json["items"]
        assert [each["name"] for each in every] == ["ci", "mine"]
        assert secret.encode() not in msgspec.json.encode(every)
        assert (await with_cookie(gateway, "DELETE", "/api/v1/tokens/mine", bob)).status == 404
        await ask(gateway, "PATCH", "/api/v1/people/bob", local, {"role": "viewer"})
        assert (await ask(gateway, "GET", "/api/v1/audit", secret)).status == 403
        await ask(gateway, "DELETE", "/api/v1/people/bob", local)
        assert (await ask(gateway, "GET", "/api/v1/audit", secret)).status == 401
        assert (await ask(gateway, "DELETE", "/api/v1/tokens/mine", local)).json == {"removed": "mine"}


async def test_clients_are_trusted_until_somebody_has_a_role(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        assert (await look(gateway, "/api/v1/quota/learned", method="DELETE")).status == 200
        await signed_up(gateway)
        assert (await look(gateway, "/api/v1/quota/learned", method="DELETE")).status == 403


async def test_the_local_secret_is_its_owners_alone(tmp_path: Path) -> None:
    assert read_local_secret(tmp_path) == Secret("")
    async with served(tmp_path) as gateway:
        file = directory_of(gateway) / "local.secret"
        assert file.stat().st_mode & 0o777 == 0o600
        assert (await ask(gateway, "GET", "/api/v1/session", gateway_secret(gateway))).json["name"] == "local"
        assert (await ask(gateway, "GET", "/api/v1/session", OPERATOR_SECRET)).json["name"] == "operator"
        file.chmod(0o644)
        assert read_local_secret(directory_of(gateway)) == Secret("")


async def test_a_signature_is_of_one_request_and_soon_of_none(tmp_path: Path) -> None:
    path, body = "/api/v1/pe%6Fple", {"name": "bob", "password": PASSWORD}
    data = msgspec.json.encode(body)
    async with served(tmp_path) as gateway:
        local = signed(gateway, "POST", path, data)
        assert (await ask(gateway, "POST", path, local, body)).json["name"] == "bob"
        assert (await ask(gateway, "POST", path, local, body)).status == 409  # let in again, for a while
        (line, *_) = (await ask(gateway, "GET", "/api/v1/audit", OPERATOR_SECRET)).json["lines"]
        assert line["actor"] == "local"
        for text in (
            signed(gateway, "POST", path, data, place="127.0.0.1 1"),
            signed(gateway, "POST", path, data, age_s=LASTS_S + 1),
            signed(gateway, "POST", path, data + b" "),
            signed(gateway, "PATCH", path, data),
            "krl-1",
        ):
            refused = await ask(gateway, "POST", path, text, body)
            assert (refused.status, refused.error["code"]) == (401, "invalid_signature")
        assert (await ask(gateway, "PATCH", "/api/v1/people/bob", local, {"role": "operator"})).status == 401
        assert (await ask(gateway, "POST", "/v1/chat/completions", local, body)).status == 401


@pytest.mark.parametrize("length", ["content-length: 1048577", "transfer-encoding: chunked"])
async def test_what_is_signed_is_not_read_without_end(tmp_path: Path, length: str) -> None:
    async with served(tmp_path) as gateway, Caller(gateway.port) as caller:
        text = signed(gateway, "POST", "/api/v1/keys")
        head = f"POST /api/v1/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {text}\r\n{length}\r\n\r\n"
        assert (await caller.raw(head.encode())).status == 413


async def test_the_gateway_proves_which_one_it_is_for_the_address_at_which_it_is_asked(tmp_path: Path) -> None:
    nonce = "0f" * 32
    async with served(tmp_path) as gateway:
        proof = (await ask(gateway, "GET", f"/api/v1/local-proof?nonce={nonce}")).json["proof"]
        local, place = read_local_secret(directory_of(gateway)), f"127.0.0.1 {gateway.port}"
        assert is_proof(local, nonce, place, proof)
        assert not is_proof(local, nonce, "127.0.0.1 8787", proof)
        for wrong in ("", "?nonce=", "?nonce=short", f"?nonce={'0' * 200}", f"?nonce={'G' * 64}"):
            assert (await ask(gateway, "GET", f"/api/v1/local-proof{wrong}")).status == 400


@pytest.mark.parametrize("scope", [{"server": None}, {"server": ("/run/keyrelay.sock", None)}])
async def test_where_there_is_no_address_or_no_secret_there_is_no_proof(tmp_path: Path, scope: dict[str, Any]) -> None:
    async with served(tmp_path) as gateway:
        access = access_of(gateway)
        with pytest.raises(CallerError, match=r"no secret of this machine's own"):
            access.proof(Request({"type": "http", **scope}), "0" * 32)
        access._local = Secret("")
        assert (await ask(gateway, "GET", f"/api/v1/local-proof?nonce={'0' * 32}")).error["code"] == "no_local_secret"
        assert (await ask(gateway, "GET", "/api/v1/people", signed(gateway, "GET", "/api/v1/people"))).status == 401


async def test_a_session_of_somebody_removed_is_none_of_whoever_has_the_name_next(tmp_path: Path) -> None:
    async with peopled(tmp_path) as gateway:
        await person(gateway, "bob", "viewer", created_s=time.time() - 5)
        cookie = await session(gateway, "bob")
        assert (await with_cookie(gateway, "GET", "/api/v1/keys", cookie)).status == 200
        await gateway.application.administration.change(removing_person("bob"), KEYRELAY, "test")
        await person(gateway, "bob", "administrator", created_s=time.time() + 0.01)
        assert (await with_cookie(gateway, "GET", "/api/v1/people", cookie)).status == 401


def test_a_token_is_not_made_for_somebody_who_is_gone_meanwhile() -> None:
    _, entry = new_token("ci", "viewer", 1.0, user="bob")
    with pytest.raises(CallerError) as refused:
        adding_token(entry)(NOTHING)
    assert refused.value.status == 409
    state = NOTHING.put(UserEntry(name="bob", role="viewer", password="-"))
    assert adding_token(entry)(state).get(TokenEntry, "ci") == entry


async def test_the_set_up_code_is_void_once_there_is_somebody(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        code = gateway.application.set_up_code.reveal()
        await person(gateway, "bob", "administrator")
        body = {"code": code, "name": "eve", "password": PASSWORD}
        refused = await ask(gateway, "POST", "/api/v1/setup", body=body)
        assert (refused.status, refused.error["code"]) == (403, "set_up_code")
        assert "Keyrelay is set up already" in refused.error["message"]
        assert "Sign in" in refused.error["message"]
        assert [user.name for user in gateway.application.administration.state.all(UserEntry)] == ["bob"]


async def test_wrong_set_up_codes_hash_no_passwords(tmp_path: Path) -> None:
    """Anybody can send them: each would take a slot that those who sign in need."""
    async with served(tmp_path, operator=False) as gateway:
        body = {"code": "krs-wrong", "name": "eve", "password": PASSWORD}
        many = [ask(gateway, "POST", "/api/v1/setup", body=body) for _ in range(2 * MAX_WAITING)]
        assert {reply.status for reply in await asyncio.gather(*many)} == {403}


async def test_clients_are_not_trusted_while_nobody_knows_who_there_is(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        access = access_of(gateway)
        assert not access.governed
        gateway.application.administration.unread = True
        assert access.governed


async def test_what_is_administered_and_not_valid_any_more_stops_no_start(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        await gateway.application.administration.change(
            lambda state: state.put(ProviderEntry(id="groq", tier="free")), KEYRELAY, "test"
        )
    database = open_database("", directory_of(gateway))
    document = {"document": b'{"id":"groq","tier":"gold"}'}
    sql = sa.text("UPDATE entries SET document = :document WHERE kind = 'provider'")
    await database.change(lambda connection: connection.execute(sql, document).close())
    await database.close()
    async with served(tmp_path, operator=False) as gateway:
        assert gateway.application.set_up_code.reveal()
        await person(gateway, "bob", "administrator")
        assert access_of(gateway).governed


async def test_a_master_key_that_is_no_good_is_said_and_not_an_unknown_failure(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        place = directory_of(gateway) / "master.key"
        place.write_text("anything")
        place.chmod(0o644)
        body = {"provider": "groq", "secret": "gsk_test_0123456789", "validate": False}
        parcel = {"key_id": "t1", "ephemeral_public_key": "", "nonce": "", "ciphertext": ""}
        replies = [
            await ask(gateway, "POST", "/api/v1/keys", OPERATOR_SECRET, body),
            await ask(gateway, "POST", "/api/v1/keys", OPERATOR_SECRET, {"provider": "groq", "encrypted": parcel}),
            await ask(gateway, "GET", "/api/v1/vault/public-key", OPERATOR_SECRET),
        ]
        assert {(reply.status, reply.error["code"]) for reply in replies} == {(503, "vault_unavailable")}
        assert all("master.key" in reply.error["message"] for reply in replies)


async def test_an_origin_that_is_none_of_ours_is_refused_however_it_is_written(tmp_path: Path) -> None:
    async with peopled(tmp_path) as gateway:
        cookie = await session(gateway, "a-viewer")
        for origin in (
            "null",
            "http://[::1",
            "http://",
            "gateway",
            "http://gateway:1",
            "http://gateway.example",
        ):
            refused = await with_cookie(gateway, "GET", "/api/v1/keys", cookie, origin=origin)
            assert (refused.status, refused.error["code"]) == (403, "foreign_origin"), origin
        for origin in ("http://gateway", "https://GATEWAY"):
            assert (await with_cookie(gateway, "GET", "/api/v1/keys", cookie, origin=origin)).status == 200


async def test_a_token_for_providers_alone_moves_and_deletes_no_keys(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        made = {"name": "ci", "role": "administrator", "scopes": ["provider"]}
        secret = (await ask(gateway, "POST", "/api/v1/tokens", gateway_secret(gateway), made)).json["secret"]
        path = "/api/v1/providers/mistral"
        assert (await ask(gateway, "PATCH", path, secret, {"priority": 3})).status == 200
        moving = {"base_url": "https://evil.example/v1", "confirm_keys": "https://evil.example"}
        for refused in (
            await ask(gateway, "PATCH", path, secret, moving),
            await ask(gateway, "DELETE", f"{path}?with_keys=true", secret),
        ):
            assert (refused.status, refused.json["error"]["code"]) == (403, "not_permitted")


async def test_a_token_sees_requests_of_others_only_if_its_scope_says_so(tmp_path: Path) -> None:
    paths = ("/usage", "/usage/export", "/requests", "/requests/export", "/requests/req_0", "/errors", "/events")
    async with served(tmp_path) as gateway:
        narrow = await token(gateway, "narrow", "administrator", scopes=("key", "alert"))
        for path in paths:
            refused = await ask(gateway, "GET", f"/api/v1{path}?topics=requests", narrow)
            assert refused.status == 403, path
        refused = await ask(gateway, "GET", "/api/v1/usage", narrow)
        assert refused.error["message"] == "token:narrow may not do this: it takes the scope usage."
        refused = await ask(gateway, "GET", "/api/v1/events?topics=alerts,attempts,keys", narrow)
        assert refused.error["message"] == "token:narrow has no scope for these: attempts."
        of_client = (await ask(gateway, "GET", "/api/v1/status", CLIENT_SECRET)).json
        assert (await ask(gateway, "GET", "/api/v1/status", narrow)).json == of_client
        people_only = await token(gateway, "people", "administrator", scopes=("user",))
        assert (await ask(gateway, "GET", "/api/v1/events", people_only)).error["code"] == "not_permitted"
        reading = await token(gateway, "reading", "viewer", scopes=("usage",))
        for path in ("/usage", "/usage/export", "/requests", "/requests/export", "/errors"):
            assert (await ask(gateway, "GET", f"/api/v1{path}", reading)).status == 200, path
        assert (await ask(gateway, "GET", "/api/v1/keys", reading)).status == 403


async def test_the_set_up_code_ends_with_an_operators_secret(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        administration = gateway.application.administration
        body = {"code": gateway.application.set_up_code.reveal(), "name": "eve", "password": PASSWORD}
        (tmp_path / ".env").write_text(f"KEYRELAY_OPERATOR_SECRET={OPERATOR_SECRET}\n")
        assert await gateway.application.watch.look_again()
        assert (await ask(gateway, "POST", "/api/v1/setup", body=body)).error["code"] == "set_up_code"
        assert (await ask(gateway, "GET", "/api/v1/setup")).json == {"needed": False}
        await until(lambda: not administration.state.all(TokenEntry), "it is taken away, for all who share the store")
        (tmp_path / ".env").unlink()
        assert await gateway.application.watch.look_again()
        assert (await ask(gateway, "GET", "/api/v1/setup")).json == {"needed": True}
        assert (await ask(gateway, "POST", "/api/v1/setup", body=body)).status == 403


async def test_the_set_up_code_ends_with_anybody_who_is_made_otherwise(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        body = {"code": gateway.application.set_up_code.reveal(), "name": "eve", "password": PASSWORD}
        local = gateway_secret(gateway)
        bob = {"name": "bob", "password": PASSWORD, "role": "viewer"}
        assert (await ask(gateway, "POST", "/api/v1/people", local, bob)).status == 201
        assert gateway.application.administration.state.all(TokenEntry) == ()
        assert (await ask(gateway, "DELETE", "/api/v1/people/bob", local)).status == 200
        assert (await ask(gateway, "GET", "/api/v1/setup")).json == {"needed": True}
        assert (await ask(gateway, "POST", "/api/v1/setup", body=body)).status == 403


async def test_a_set_up_code_of_old_is_taken_away_where_somebody_is_there_by_now(tmp_path: Path) -> None:
    async with served(tmp_path, operator=False) as gateway:
        administration = gateway.application.administration
        bob = UserEntry(name="bob", role="viewer", password="-")
        await administration.change(lambda state: state.put(bob), KEYRELAY, "add as it was done before")
        await until(lambda: not administration.state.all(TokenEntry), "it is taken away")
        assert [line.action for line in await administration.store.audit(limit=1)] == ["end set-up"]


async def test_what_one_process_has_just_made_the_other_one_knows_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, redis_prefix: str
) -> None:
    monkeypatch.setattr(administering, "FOLLOW_EVERY_S", 60.0)  # nothing is known by itself
    secret = OPERATOR_SECRET
    shared = {"KEYRELAY_REDIS_URL": redis_server.url, "KEYRELAY_REDIS_PREFIX": redis_prefix}
    async with served(tmp_path, operator=True, KEYRELAY_PORT="1", **shared) as here:
        environ = {"CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:tests", "KEYRELAY_OPERATOR_SECRET": secret, **shared}
        async with embedded(environ, tmp_path) as there:
            for method, path, body, name in MADE_AND_TAKEN:
                place = f"/api/v1/{path}/{name}"
                made = await ask(here, method, place if method == "PUT" else f"/api/v1/{path}", secret, body)
                assert made.status in {200, 201}, (path, made.body)
                if path in {"clients", "keys"}:
                    rotated = {"secret": "sk-test-fedcba9876543210", "validate": False} if path == "keys" else {}
                    reply = await ask(there, "POST", f"{place}/rotate", secret, rotated)
                    assert reply.status != 404, (path, reply.body)
                gone = await ask(there, "DELETE", place, secret)
                assert gone.status == 200, (path, gone.body)
                assert (await ask(here, "DELETE", place, secret)).status == 404, path
            made = await ask(here, "POST", "/api/v1/tokens", secret, {"name": "ci"})
            assert (await ask(there, "GET", "/api/v1/session", made.json["secret"])).json["name"] == "token:ci"


async def test_a_client_is_revoked_while_a_file_is_not_valid_and_who_does_it_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        made = await ask(gateway, "POST", "/api/v1/clients", OPERATOR_SECRET, {"label": "app"})
        assert "x-keyrelay-notice" not in made.headers
        assert (await look(gateway, "/v1/models", made.json["secret"])).status == 200
        (tmp_path / ".env").write_text("KEYRELAY_POLICY=wörst\n")
        revoked = await ask(gateway, "POST", "/api/v1/clients/app/revoke", OPERATOR_SECRET)
        assert revoked.status == 200, revoked.body
        assert "left out of account until that is mended" in revoked.headers["x-keyrelay-notice"]
        assert ".env KEYRELAY_POLICY" in revoked.headers["x-keyrelay-notice"]
        assert (await look(gateway, "/v1/models", made.json["secret"])).status in {401, 403}
        assert "x-keyrelay-notice" not in (await look(gateway, "/api/v1/clients", OPERATOR_SECRET)).headers
        assert "x-keyrelay-notice" not in (await ask(gateway, "POST", "/api/v1/session", body={})).headers
        checks = (await look(gateway, "/readyz?verbose=true")).json["checks"]
        (check,) = (each for each in checks if each["name"] == "configuration")
        assert (check["ok"], check["degraded"]) == (True, True)
