import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from keyrelay.core.usage import Usage
from keyrelay.engine.cache import AnswerCache
from keyrelay.engine.cache_counts import CacheCounts, Saved
from keyrelay.engine.kept import Kept, Wrong, seal
from keyrelay.engine.shelf import REPORT_EVERY_S, CacheSettings
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import UpstreamCall
from keyrelay.storage.memory_cache import MemoryCache
from keyrelay.wire.cache_answers import NotKept
from keyrelay.wire.generate import GenerateStream, encode_answer_generate
from tests.engine.cached import STOP, Front, PacedStream, answer_of, turn
from tests.engine.rig import FakeAnswer, ListSink, Outcome, delta, error, providers, snapshot_of, stream_of

CALL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


# Given again.


async def test_a_whole_answer_is_given_again() -> None:
    front = Front()
    first, second = await front.ask(), await front.ask()
    assert front.calls == 1
    assert first.body == second.body
    assert (first.cache, second.cache) == ("miss", "hit")
    assert "age" not in first.fields
    assert second.fields == {
        "x-request-id": "req_2",
        "x-keyrelay-provider": "acme",
        "x-keyrelay-model": "m",
        "x-keyrelay-key": "k00",
        "x-keyrelay-cost-usd": "0.00000000",
        "x-keyrelay-attempts": "0",
        "x-keyrelay-overhead-ms": second.fields["x-keyrelay-overhead-ms"],
        "x-keyrelay-cache": "hit",
        "age": "0",
        "content-type": "application/json",
    }


async def test_the_row_says_that_and_what_was_saved() -> None:
    front = Front()
    asked = [await front.ask(), await front.ask()]
    made, hit = map(front.row_of, asked)
    assert (made.cached, len(made.attempts), made.usage) == ("", 1, hit.usage)
    assert (hit.cached, hit.attempts, hit.status, hit.cost_usd) == ("hit", [], 200, 0.0)
    assert (hit.provider, hit.key, hit.model, hit.model_asked) == ("acme", "k00", "m", "m")
    counts = front.counts
    assert (counts.hits, counts.misses, counts.shared, counts.stored) == (1, 1, 0, 1)
    assert (counts.saved.input_tokens, counts.saved.output_tokens, counts.saved.unpriced) == (3, 2, 1)


async def test_a_stream_is_given_again_as_a_stream() -> None:
    front = Front()
    first, second = await front.ask(stream=True), await front.ask(stream=True)
    assert front.calls == 1
    assert (first.cache, second.cache) == ("miss", "hit")
    assert first.sink.text == second.sink.text
    assert second.sink.text.endswith("data: [DONE]\n\n")
    assert second.text == "you said hi"
    assert second.sink.ended
    row = front.row_of(second)
    assert row.first_token_ms is not None
    assert row.cached == "hit"
    assert "text/event-stream" in second.fields["content-type"]


async def test_a_long_stream_goes_out_in_pieces_of_whole_events() -> None:
    front = Front(lambda *_: stream_of(*(delta("x" * 1000) for _ in range(100)), STOP))
    await front.ask(stream=True)
    slow = await front.ask(stream=True, sink=ListSink(keeps_up=False))
    assert slow.cache == "hit"
    assert 5 <= len(slow.sink.pieces) <= 8
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in slow.sink.pieces)
    assert slow.text == "x" * 100_000


async def test_a_whole_answer_is_none_to_a_request_for_a_stream() -> None:
    front = Front()
    await front.ask()
    assert (await front.ask(stream=True)).cache == "miss"
    assert (await front.ask()).cache == (await front.ask(stream=True)).cache == "hit"


async def test_nothing_crosses_from_client_to_client() -> None:
    front = Front()
    for _ in range(2):
        for client in ("a", "b", ""):
            await front.ask(client=client)
    assert front.calls == 3
    assert front.counts.hits == 3


async def test_what_is_shared_on_purpose_goes_to_all() -> None:
    front = Front(settings=CacheSettings(mode="all", shared=True))
    await front.ask(client="a", user="alice")
    assert (await front.ask(client="b", user="bob")).cache == "hit"


async def test_without_answer_headers_a_hit_says_nothing_of_itself() -> None:
    front = Front(settings=CacheSettings(mode="all", answer_headers=False))
    for _ in range(2):
        asking = await front.ask()
        assert set(asking.fields) == {"x-request-id", "content-type"} or not front.counts.hits
    assert front.counts.hits == 1


async def test_the_short_form_is_kept_as_it_went_out() -> None:
    wishes = Wishes(shape_whole=encode_answer_generate)
    front = Front(settings=CacheSettings(generate_mode="all", mode="off"))
    first, second = await front.ask(wishes=wishes), await front.ask(wishes=wishes)
    assert first.body == second.body
    assert msgspec.json.decode(second.body)["text"] == "you said hi"
    assert second.cache == "hit"
    assert (await front.ask()).cache == "", "the mode of the other operations is off"


async def test_a_stream_in_the_short_form_is_kept_as_it_went_out() -> None:
    front = Front(settings=CacheSettings(generate_mode="all"))
    texts = []
    for _ in range(2):
        wishes = Wishes(shape_whole=encode_answer_generate, shape_stream=GenerateStream(1000))
        texts.append((await front.ask(stream=True, wishes=wishes)).sink.text)
    assert texts[0] == texts[1]
    assert '"done":true' in texts[1]
    assert front.counts.hits == 1


# When the cache has a say.


@pytest.mark.parametrize(
    ("mode", "route", "own", "more", "has_a_say"),
    [
        ("deterministic", None, "", {}, False),
        ("deterministic", None, "", {"temperature": 0}, True),
        ("deterministic", None, "", {"seed": 7}, True),
        ("deterministic", None, "all", {}, True),
        ("deterministic", None, "off", {"temperature": 0}, False),
        ("all", None, "deterministic", {}, False),
        ("all", None, "", {}, True),
        ("all", None, "no-store", {}, False),
        ("all", None, "refresh", {}, True),
        ("all", None, "refresh,ttl=0", {}, False),
        ("off", None, "", {"temperature": 0}, False),
        ("off", None, "all", {"temperature": 0}, False),
        ("off", "all", "", {}, True),
        ("all", "off", "", {}, False),
        ("all", "off", "all", {}, False),
        ("all", "deterministic", "", {}, False),
        ("deterministic", "deterministic", "", {"temperature": 0}, True),
    ],
)
def test_setting_route_and_request_say_which_requests_count(
    mode: Any, route: Any, own: str, more: Mapping[str, Any], has_a_say: bool
) -> None:
    front = Front(settings=CacheSettings(mode=mode))
    if route is not None:
        snapshot = front.rig.pool.snapshot
        auto = msgspec.structs.replace(snapshot.routes["auto"], cache=route)
        front.rig.pool.replace(msgspec.structs.replace(snapshot, routes={"auto": auto}))
    body = {"model": "auto", "messages": [{"role": "user", "content": "x"}], **more}
    assert (front.asked(body, own=own) is not None) == has_a_say


async def test_a_request_that_the_cache_has_no_say_in_is_told_nothing_of_it() -> None:
    front = Front(settings=CacheSettings(mode="deterministic"))
    assert [(await front.ask()).cache for _ in range(2)] == ["", ""]
    assert front.calls == 2
    assert (front.counts.misses, front.counts.not_kept) == (0, {})


# What the request says.


async def test_refresh_asks_anew_and_keeps_that() -> None:
    texts = iter("abc")
    front = Front(lambda *_: answer_of(next(texts)))
    assert (await front.ask()).text == "a"
    fresh = await front.ask(own="refresh")
    assert (fresh.text, fresh.cache) == ("b", "miss")
    assert (await front.ask()).text == "b"
    assert (await front.ask(standard="no-cache")).text == "c"


async def test_no_store_is_neither_answered_nor_kept() -> None:
    front = Front()
    await front.ask(own="no-store")
    await front.ask(standard="no-store")
    assert (await front.ask()).cache == "miss"
    assert front.calls == 3


async def test_ttl_shortens_and_never_prolongs() -> None:
    front = Front(settings=CacheSettings(mode="all", ttl_s=100))
    await front.ask("short", own="ttl=10")
    await front.ask("long", own="ttl=1000")
    for moved_s, short, long in ((9, "hit", "hit"), (2, "miss", "hit"), (88, "miss", "hit"), (2, "hit", "miss")):
        front.rig.clock.moved_s += moved_s
        outcomes = [(await front.ask("short", own="ttl=10")).cache, (await front.ask("long")).cache]
        assert outcomes == [short, long]


async def test_a_caller_may_want_a_younger_answer() -> None:
    front = Front()
    await front.ask()
    front.rig.clock.moved_s += 20
    young = await front.ask(standard="max-age=30")
    assert (young.cache, young.fields["age"]) == ("hit", "20")
    assert (await front.ask(standard="max-age=10")).cache == "miss"
    assert (await front.ask(standard="max-age=10")).cache == "hit"


async def test_ttl_zero_takes_a_kept_answer_and_keeps_none() -> None:
    front = Front()
    assert (await front.ask(own="ttl=0")).cache == "miss"
    assert (await front.ask(own="ttl=0")).cache == "miss"
    assert front.counts.not_kept == {NotKept.UNWANTED: 2}


# What is not kept.


def broken_stream(*_: object) -> FakeAnswer:
    return stream_of(delta("half"), done=False)


def last_resort(key: str, _: UpstreamCall) -> Outcome:
    return error(500) if key.startswith("acme") else answer_of()


@pytest.mark.parametrize(
    ("script", "stream", "reason"),
    [
        (lambda *_: answer_of(finish="length"), False, NotKept.UNFINISHED),
        (lambda *_: answer_of(finish="content_filter"), False, NotKept.UNFINISHED),
        (lambda *_: FakeAnswer(), False, NotKept.UNFINISHED),
        (lambda *_: answer_of(tool_calls=CALL), False, NotKept.TOOL_CALLS),
        (lambda *_: stream_of(delta("x"), {**STOP, "error": None}, {"error": {"message": "no"}}), True, NotKept.BROKEN),
        (broken_stream, True, NotKept.BROKEN),
        (lambda *_: answer_of("x" * 2_000_000), False, NotKept.TOO_LARGE),
        (lambda *_: stream_of(*(delta("x" * 100_000) for _ in range(20)), STOP), True, NotKept.TOO_LARGE),
    ],
)
async def test_answers_that_are_not_kept(script: Any, stream: bool, reason: NotKept) -> None:
    front = Front(script)
    for _ in range(2):
        assert (await front.ask(stream=stream)).cache == "miss"
    assert front.calls >= 2
    assert front.counts.not_kept == {reason: 2}
    assert front.counts.stored == 0


async def test_errors_are_not_kept() -> None:
    front = Front(lambda *_: error(400, "bad"))
    for _ in range(2):
        asking = await front.ask()
        assert asking.error is not None
        assert asking.error.status == 400
        assert front.row_of(asking).category
    assert front.calls == 2
    assert (front.counts.stored, front.counts.not_kept) == (0, {})


async def test_answers_with_tool_calls_are_kept_when_that_is_wanted() -> None:
    front = Front(lambda *_: answer_of(finish="tool_calls", tool_calls=CALL), CacheSettings(mode="all", tools=True))
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert [(await front.ask(tools=tools)).cache for _ in range(2)] == ["miss", "hit"]


async def test_the_answer_of_a_last_resort_is_not_kept() -> None:
    environ = providers("acme", "best", KEYRELAY_FALLBACK="best/m2", BEST_MODELS="m2")
    front = Front(last_resort, environ=environ)
    assert (await front.ask()).fields["x-keyrelay-provider"] == "best"
    assert front.counts.not_kept == {NotKept.FALLBACK: 1}


async def test_what_finds_no_room_is_not_kept() -> None:
    front = Front(cache=MemoryCache(0))
    assert [(await front.ask()).cache for _ in range(2)] == ["miss", "miss"]
    assert front.counts.not_kept == {NotKept.NO_ROOM: 2}


# Other circumstances.


async def test_a_name_that_stands_for_something_else_by_now_has_other_answers() -> None:
    front = Front(environ=providers("acme"))
    pool = front.rig.pool
    assert [(await front.ask()).cache for _ in range(2)] == ["miss", "hit"]
    old = pool.snapshot
    pool.replace(snapshot_of(**providers("acme", "best")))
    assert [(await front.ask()).cache for _ in range(2)] == ["miss", "hit"]
    pool.replace(old)
    assert (await front.ask()).cache == "hit"


async def test_a_provider_that_the_caller_prefers_has_answers_of_its_own() -> None:
    front = Front(environ=providers("acme", "best"))
    assert [(await front.ask(wishes=Wishes(prefer=name))).cache for name in ("best", "acme", "best")] == [
        "miss",
        "miss",
        "hit",
    ]


async def test_a_kept_answer_is_given_while_nobody_could_serve() -> None:
    outcomes = [answer_of(), *(error(401) for _ in range(9))]
    front = Front(lambda *_: outcomes.pop(0))
    await front.ask()
    assert (await front.ask("other")).error is not None
    assert (await front.ask()).cache == "hit"


async def test_names_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyrelay.engine.cache.MAX_PLANS", 2)
    front = Front(environ=providers("acme", ACME_MODELS=""))
    keys = [front.asked({"model": f"m{n}", "messages": [{}]}) for n in (1, 2, 3, 1)]
    assert keys[0] == keys[3]
    assert len({asked.key for asked in keys if asked}) == 3


# What does not come back as it was.


class Liar(MemoryCache):
    """Gives back what it is told to, whatever is asked for."""

    __slots__ = ("discarded", "lie")

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.lie: bytes | None = None
        self.discarded = 0

    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        value = super().get_now(key, scope, now_s)
        return value if self.lie is None else self.lie

    def discard(self, key: bytes, scope: str) -> None:
        self.discarded += 1
        super().discard(key, scope)


def somebody_elses(front: Front, **more: Any) -> bytes:
    asked = front.asked({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    assert asked is not None
    kept = Kept(
        key=asked.key,
        scope=asked.scope,
        provider="acme",
        label="k00",
        model="m",
        stream=False,
        body=b'{"canary": "of somebody else"}',
        usage=None,
        cost_usd=None,
        created_s=0.0,
        expires_s=1e12,
        left_out=(),
        made_for="req_1",
    )
    return seal(msgspec.structs.replace(kept, **more))


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"key": b"x" * 32}, Wrong.OTHER_KEY),
        ({"scope": "client:other"}, Wrong.OTHER_SCOPE),
        ({"scope": "shared"}, Wrong.OTHER_SCOPE),
        (None, Wrong.DAMAGED),
    ],
)
async def test_what_is_not_what_was_asked_for_is_thrown_away_and_reported(
    more: dict[str, Any] | None, wrong: Wrong
) -> None:
    liar = Liar()
    front = Front(cache=liar)
    liar.lie = b"garbage" if more is None else somebody_elses(front, **more)
    asking = await front.ask()
    assert asking.cache == "miss"
    assert b"canary" not in asking.body
    assert front.counts.wrong == {wrong: 1}
    assert liar.discarded == 1
    assert len(front.reports) == 1
    assert wrong in front.reports[0]


async def test_the_lie_itself_would_have_been_believed() -> None:
    liar = Liar()
    front = Front(cache=liar)
    liar.lie = somebody_elses(front)
    assert b"canary" in (await front.ask()).body


async def test_reports_do_not_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    liar = Liar()
    front = Front(cache=liar)
    liar.lie = b"garbage"
    for _ in range(20):
        await front.ask()
    assert (len(front.reports), front.counts.wrong) == (1, {Wrong.DAMAGED: 20})
    monkeypatch.setattr("keyrelay.engine.shelf.REPORT_EVERY_S", 0.0)
    assert REPORT_EVERY_S > 0
    await front.ask()
    assert front.reports[1].endswith("That makes 21 since the start.")


# Purging.


async def test_a_client_or_all_are_forgotten() -> None:
    front = Front()
    for client in ("a", "b", "c"):
        await front.ask(client=client)
    assert await front.answers.purge("a") == 1
    assert [(await front.ask(client=client)).cache for client in ("a", "b")] == ["miss", "hit"]
    assert await front.answers.purge() == 3
    assert front.answers.size() == (0, 0)
    assert front.answers.evicted == 0


async def test_what_is_being_answered_while_the_cache_is_purged_is_not_kept() -> None:
    stream = PacedStream()
    front = Front(lambda *_: stream)
    asking = front.start(stream=True)
    stream.send(delta("old"))
    await turn()
    await front.answers.purge("app")
    stream.finish()
    assert (await asking).text == "old"
    assert front.counts.not_kept == {NotKept.UNWANTED: 1}
    assert front.answers.size() == (0, 0)


# A cache that has to be waited for.


class Distant(MemoryCache):
    """Answers a moment later, as Redis does."""

    __slots__ = ("asked", "away")

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.asked = 0
        self.away = False

    @property
    def waits(self) -> bool:  # type: ignore[override]  # what differs
        return not self.away

    def get_now(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        return None

    async def get(self, key: bytes, scope: str, now_s: float) -> bytes | None:
        self.asked += 1
        await asyncio.sleep(0.005)
        return MemoryCache.get_now(self, key, scope, now_s)


async def test_a_distant_cache_is_waited_for() -> None:
    front = Front(cache=Distant())
    assert [(await front.ask()).cache for _ in range(2)] == ["miss", "hit"]


async def test_a_distant_cache_that_is_away_is_not_asked() -> None:
    cache = Distant()
    front = Front(cache=cache)
    cache.away = True
    assert [(await front.ask()).cache for _ in range(2)] == ["miss", "miss"]
    assert cache.asked == 0


async def test_those_who_ask_a_distant_cache_together_make_one_call() -> None:
    cache = Distant()
    front = Front(cache=cache)
    askings = await asyncio.gather(*(front.ask() for _ in range(20)))
    assert front.calls == 1
    said = [asking.cache for asking in askings]  # the last of them may find it kept, where timers lag behind
    assert (said.count("miss"), said.count("shared") + said.count("hit")) == (1, 19)
    assert "shared" in said


async def test_nobody_asks_the_cache_for_what_is_under_way() -> None:
    cache = Distant()
    stream = PacedStream()
    front = Front(lambda *_: stream, cache=cache)
    first = front.start(stream=True)
    await asyncio.sleep(0.02)
    second = front.start(stream=True)
    await turn()
    stream.send(delta("x"))
    stream.finish()
    assert [asking.cache for asking in await asyncio.gather(first, second)] == ["miss", "shared"]
    assert cache.asked == 1


def test_it_says_what_it_is() -> None:
    front = Front()
    assert repr(front.answers).startswith("<AnswerCache <Shelf over <MemoryCache 0 answers")
    assert isinstance(front.answers, AnswerCache)


def test_what_is_saved_is_summed_with_its_cost_where_that_is_known() -> None:
    counts = CacheCounts()
    counts.save(Usage(3, 4), 0.25)
    counts.save(None, None)
    counts.save(Usage(1, 1), 0.5)
    assert counts.saved == Saved(input_tokens=4, output_tokens=5, cost_usd=0.75, unpriced=1)
