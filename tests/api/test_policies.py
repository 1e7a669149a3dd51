from typing import Any

import pytest
from fastapi import Request

from keyrelay.api.policies import ANYBODY, Permission, Policy, Principal
from keyrelay.core.administered import ROLES, Role
from keyrelay.core.errors import CallerError

REQUEST = Request({"type": "http", "headers": []})
CLIENT = Principal(name="client:app", client="app")


def person(role: Role, *scopes: str) -> Principal:
    return Principal(name="user:alice", role=role, scopes=scopes)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_those_before_it_may(role: Role) -> None:
    rank = ROLES.index(role)
    may = {each: person(role).may(each) for each in Permission}
    assert may == {
        Permission.ANYBODY: True,
        Permission.CLIENT: True,
        Permission.TRUSTED: rank >= 1,
        Permission.VIEWER: True,
        Permission.OPERATOR: rank >= 1,
        Permission.ADMINISTRATOR: rank >= 2,
    }


def test_a_client_may_do_nothing_that_takes_a_role() -> None:
    assert CLIENT.may(Permission.CLIENT)
    assert not CLIENT.may(Permission.VIEWER)


def test_a_token_may_do_no_more_than_its_scopes_say() -> None:
    token = person("administrator", "key", "route")
    assert token.may(Permission.ADMINISTRATOR, "key")
    assert not token.may(Permission.VIEWER, "client")
    assert not token.may(Permission.VIEWER)
    assert token.may(Permission.CLIENT)


def identified_as(principal: Principal) -> Any:
    async def identify(_: Request) -> Principal:
        return principal

    return identify


async def test_a_policy_gives_who_calls_or_refuses() -> None:
    assert await Policy(Permission.VIEWER, identified_as(person("viewer")))(REQUEST) == person("viewer")
    with pytest.raises(CallerError, match="takes the role operator") as refused:
        await Policy(Permission.OPERATOR, identified_as(person("viewer")), "key")(REQUEST)
    assert (refused.value.status, refused.value.code) == (403, "not_permitted")


async def test_what_anybody_may_do_asks_nobody_who_they_are() -> None:
    assert (await ANYBODY(REQUEST)).role is None


@pytest.mark.parametrize(("trusted", "may"), [(True, True), (False, False)])
def test_a_client_is_trusted_while_nobody_has_a_role(trusted: bool, may: bool) -> None:
    client = Principal(name="client:app", client="app", trusted=trusted)
    assert client.may(Permission.TRUSTED) is may
    assert not client.may(Permission.OPERATOR)
    if not may:
        with pytest.raises(CallerError, match="the operator's secret or the role operator"):
            client.need(Permission.TRUSTED)


def test_who_sees_what() -> None:
    assert person("viewer").may_see("app")
    assert CLIENT.may_see("app")
    assert not CLIENT.may_see("other")
    assert not Principal(name="client:").may_see("")


def test_policies_show_what_they_ask_for() -> None:
    kept = [Policy(Permission.VIEWER, identified_as(CLIENT)), Policy(Permission.OPERATOR, identified_as(CLIENT), "key")]
    assert list(map(repr, kept)) == ["<Policy viewer>", "<Policy operator of key>"]
