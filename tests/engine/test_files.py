"""Which keys a request about files goes to, without a network."""

from typing import Any

import msgspec
import pytest

from keyrelay.core.conversation import Dialect
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest, FileCall
from keyrelay.engine.files import Files, Located
from keyrelay.engine.pool import Plan, Pool
from keyrelay.routing.candidates import gate
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.drops import DropReason
from keyrelay.routing.health import Health
from keyrelay.wire.file_lists import FileList, ListWishes
from keyrelay.wire.files import FileIds, FilePlace
from keyrelay.wire.openai import decode_request
from tests.engine.rig import START_S, snapshot_of

CLIENTS = {"CLIENT_API_KEYS_MAP": "a1946ac92492d2347c6235b4d2611184:alice,b1946ac92492d2347c6235b4d2611185:bob"}
SEVERAL = {
    "OPENAI_API_KEYS": "one=sk-test-1,two=sk-test-2",
    "GROQ_API_KEYS": "g=gsk_test",
    "ANTHROPIC_API_KEYS": "a=sk-ant-test",
}
IDS = FileIds(bytes(32))
PLACE = FilePlace("openai", "one", "file-abc")


class Kept:
    """A register in memory."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}
        self.reads = 0

    def add(self, client: str, file_id: str, told: bytes) -> None:
        self.files[client, file_id] = told

    def forget(self, client: str, file_id: str) -> None:
        self.files.pop((client, file_id), None)

    def read_on(self) -> bool:
        self.reads += 1
        return self.reads % 3 != 0

    def of(self, client: str) -> FileList:
        files = FileList()
        for (owner, file_id), told in self.files.items():
            if owner == client:
                files.put(file_id, told)
        return files


def pool_of(**environ: str) -> Pool:
    return Pool(snapshot_of(**environ), Health(CircuitSettings()))


def files_of(pool: Pool) -> Files:
    return Files(pool, IDS, Kept())


def asking(*file_ids: str, **more: Any) -> CallRequest:
    parts = [{"type": "file", "file": {"file_id": each}} for each in file_ids]
    body = {"model": "openai/m", "messages": [{"role": "user", "content": parts}], **more}
    return decode_request("chat", msgspec.json.encode(body), max_depth=64)


def named(files: Files, *file_ids: str, client: str = "alice") -> Located | None:
    request = asking(*file_ids)
    return files.named_in(request, client, request.body)


def upload(purpose: str = "batch", provider: str = "") -> FileCall:
    return FileCall(method="POST", purpose=purpose, provider=provider)


def ids_of(plan: Plan) -> list[list[str]]:
    return [[candidate.key.id for candidate in stage.candidates] for stage in plan.stages]


class TestPlans:
    def test_an_upload_goes_to_providers_by_priority(self) -> None:
        files = files_of(pool_of(**SEVERAL))
        assert ids_of(files.plan(upload(), None)) == [["groq/g"], ["openai/one", "openai/two"]]
        assert ids_of(files.plan(upload("vision"), None)) == [["openai/one", "openai/two"]]
        assert ids_of(files.plan(upload(provider="openai"), None)) == [["openai/one", "openai/two"]]

    def test_a_request_about_one_file_has_one_key(self) -> None:
        files = files_of(pool_of(**SEVERAL))
        call = FileCall(method="GET", file_id="x", provider="groq")
        assert ids_of(files.plan(call, Located("openai/two", (("x", "file-a"),)))) == [["openai/two"]]

    def test_keys_take_turns(self) -> None:
        files = files_of(pool_of(**SEVERAL))
        assert files.plan(upload("vision"), None) is files.plan(upload("evals"), None)
        (stage,) = files.plan(upload("vision"), None).stages
        first = [next(stage.order(START_S, lambda: 0.0)).key.label for _ in range(4)]
        assert sorted(first) == ["one", "one", "two", "two"]

    def test_a_new_configuration_is_heeded(self) -> None:
        pool = pool_of(**SEVERAL)
        files = files_of(pool)
        assert files.plan(upload(), None)
        pool.replace(snapshot_of(OPENAI_API_KEYS="two=sk-test-2"))
        assert ids_of(files.plan(upload(), None)) == [["openai/two"]]

    def test_no_price_is_needed_where_money_is_limited(self) -> None:
        pool = pool_of(OPENAI_API_KEYS="one=sk-test-1", OPENAI_LIMITS="5 usd per day@UTC")
        ((candidate,),) = [stage.candidates for stage in files_of(pool).plan(upload(), None).stages]
        assert candidate.counts_money
        assert gate(candidate, START_S) is None

    @pytest.mark.parametrize(
        ("environ", "call", "param", "words"),
        [
            ({"ANTHROPIC_API_KEYS": "sk-ant-test"}, upload(), None, "No provider with files is configured"),
            (SEVERAL, upload(provider="anthropic"), "provider", "there is groq, openai."),
            (SEVERAL, upload(provider="nobody"), "provider", "'nobody'"),
            (SEVERAL, upload("vision", "groq"), "purpose", "for the purpose 'vision'"),
        ],
    )
    def test_what_nobody_takes_is_said(
        self, environ: dict[str, str], call: FileCall, param: str | None, words: str
    ) -> None:
        with pytest.raises(CallerError, match=words) as caught:
            files_of(pool_of(**environ)).plan(call, None)
        assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, "unsupported_operation")


class TestOneFile:
    def test_the_id_says_where_it_is(self) -> None:
        files = files_of(pool_of(**SEVERAL, **CLIENTS))
        given = IDS.made(PLACE, "alice")
        assert files.asked_for(FileCall(method="GET", file_id=given), "alice") == Located(
            "openai/one", ((given, "file-abc"),)
        )
        assert files.asked_for(upload(), "alice") is None

    @pytest.mark.parametrize(
        ("file_id", "client", "code"),
        [
            (IDS.made(PLACE, "alice"), "bob", "unknown_file"),
            (IDS.made(FilePlace("openai", "gone", "file-abc"), "alice"), "alice", "file_key_gone"),
            (IDS.made(FilePlace("anthropic", "a", "file-abc"), "alice"), "alice", "file_key_gone"),
            ("file-abc", "alice", "unknown_file"),
            ("a/b", "alice", "unknown_file"),
        ],
    )
    def test_ids_that_lead_nowhere(self, file_id: str, client: str, code: str) -> None:
        files = files_of(pool_of(**SEVERAL, **CLIENTS))
        with pytest.raises(CallerError) as caught:
            files.asked_for(FileCall(method="GET", file_id=file_id), client)
        assert (caught.value.status, caught.value.code) == (404, code)

    def test_a_foreign_id_at_a_provider_with_one_key(self) -> None:
        files = files_of(pool_of(**SEVERAL))
        call = FileCall(method="GET", file_id="file_01", provider="groq")
        assert files.asked_for(call, "alice") == Located("groq/g", (("file_01", "file_01"),))


class TestNamed:
    def test_several_files_with_one_key(self) -> None:
        files = files_of(pool_of(**SEVERAL, **CLIENTS))
        given = [IDS.made(FilePlace("openai", "one", own), "alice") for own in ("file-a", "file-b")]
        assert named(files, *given) == Located("openai/one", ((given[0], "file-a"), (given[1], "file-b")))

    def test_a_foreign_id_bars_the_providers_that_have_files(self) -> None:
        pool = pool_of(**SEVERAL, **CLIENTS)
        located = named(files_of(pool), "file-abc")
        assert located == Located(foreign="file-abc")
        dropped = [located.elsewhere(next(pool_plan(pool, name))) for name in ("openai/m", "groq/m", "anthropic/m")]
        assert [drop and drop.reason for drop in dropped] == [DropReason.ELSEWHERE, DropReason.ELSEWHERE, None]

    @pytest.mark.parametrize(
        ("environ", "harmless"),
        [
            ({"OPENAI_API_KEYS": "one=sk-test-1"}, True),
            ({"OPENAI_API_KEYS": "one=sk-test-1", **CLIENTS}, False),
            ({"ANTHROPIC_API_KEYS": "a=sk-ant-test", **CLIENTS}, True),
            (SEVERAL, False),
        ],
    )
    def test_when_a_foreign_id_can_do_no_harm(self, environ: dict[str, str], harmless: bool) -> None:
        assert (named(files_of(pool_of(**environ)), "file-abc") is None) is harmless

    def test_a_known_and_a_foreign_id_together(self) -> None:
        pool = pool_of(**SEVERAL, **CLIENTS)
        located = named(files_of(pool), IDS.made(PLACE, "alice"), "file-xyz")
        assert located is not None
        assert (located.key_id, located.foreign) == ("openai/one", "file-xyz")
        assert all(located.elsewhere(candidate) for candidate in pool_plan(pool, "openai/m"))

    @pytest.mark.parametrize(
        ("file_ids", "client", "status", "code"),
        [
            ((IDS.made(PLACE, "alice"),), "bob", 404, "unknown_file"),
            ((IDS.made(FilePlace("openai", "gone", "file-a"), "alice"),), "alice", 404, "file_key_gone"),
            ((IDS.made(PLACE, "alice"), IDS.made(FilePlace("groq", "g", "a"), "alice")), "alice", 400, "files_apart"),
        ],
    )
    def test_what_cannot_be_served(self, file_ids: tuple[str, ...], client: str, status: int, code: str) -> None:
        with pytest.raises(CallerError) as caught:
            named(files_of(pool_of(**SEVERAL, **CLIENTS)), *file_ids, client=client)
        assert (caught.value.status, caught.value.code) == (status, code)

    @pytest.mark.parametrize(
        ("body", "clients", "found"),
        [
            (b'{"file_id":"a"}', {}, True),
            (rb'{"file\u005fid":"a"}', {}, False),
            (rb'{"file\u005fid":"a"}', CLIENTS, True),
            (rb'{"a":"\u00e9"}', CLIENTS, False),
        ],
    )
    def test_only_where_there_are_others_names_are_looked_for_that_hide(
        self, body: bytes, clients: dict[str, str], found: bool
    ) -> None:
        assert files_of(pool_of(**SEVERAL, **clients)).may_name(body) is found

    @pytest.mark.parametrize(("dialect", "found"), [("anthropic", "a"), ("gemini", ""), ("ollama", "")])
    def test_what_a_tool_is_called_with_names_nothing(self, dialect: Dialect, found: str) -> None:
        content = [
            {"type": "tool_use", "input": {"file_id": "b"}},
            {"type": "document", "source": {"type": "file", "file_id": "a"}},
        ]
        messages = msgspec.json.encode([{"role": "user", "content": content}])
        request = msgspec.structs.replace(asking(), dialect=dialect, fields={"messages": msgspec.Raw(messages)})
        located = files_of(pool_of(**SEVERAL)).named_in(request, "alice", messages)
        assert (located.foreign if located else "") == found

    def test_metadata_names_nothing(self) -> None:
        request = asking(metadata={"file_id": "file-kr_x"})
        assert files_of(pool_of(**SEVERAL)).named_in(request, "alice", request.body) is None

    def test_what_a_provider_says_names_the_ids_that_are_known(self) -> None:
        located = Located("openai/one", (("file-kr_x", "file-abc"),))
        assert located.as_named("no file-abc, file-abc") == "no file-kr_x, file-kr_x"


def pool_plan(pool: Pool, name: str) -> Any:
    plan = pool.plan(name)
    assert plan is not None
    return iter(plan.candidates())


async def test_only_files_that_keyrelay_has_named_are_listed() -> None:
    files = files_of(pool_of(**SEVERAL))
    given = IDS.made(PLACE, "alice")
    told = msgspec.json.encode({"id": given, "created_at": 1})
    files.note("alice", given, told)
    files.note("alice", "file-abc", b"{}")
    assert msgspec.json.decode(await files.listed("alice", ListWishes(), START_S))["data"] == [
        msgspec.json.decode(told)
    ]
    files.forget("alice", "file-abc")
    files.forget("alice", given)
    assert msgspec.json.decode(await files.listed("alice", ListWishes(), START_S))["data"] == []
    assert repr(files) == "<Files with 3 keys>"
