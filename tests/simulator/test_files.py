"""The files of simulated providers, asked for as the providers' own clients would."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from keyrelay.core.providers import PathsRow
from keyrelay.simulator import KeyPlan, ProviderPlan
from tests.simulator.helpers import Bench, chat, row

FILES = PathsRow(files="/files")
ROWS = (
    row("openai", "https://api.openai.com/v1", paths=FILES),
    row("groq", "https://api.groq.com/openai/v1", paths=FILES),
    row("mistral", "https://api.mistral.ai/v1", paths=FILES),
    row("together", "https://api.together.xyz/v1"),
)
KEYS = ProviderPlan(
    keys={
        "sim-a": KeyPlan(account="one"),
        "sim-b": KeyPlan(account="one"),
        "sim-other": KeyPlan(account="other"),
        "sim-dead": KeyPlan(state="invalid"),
    }
)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench(*ROWS, openai=KEYS) as bench:
        yield bench


def client(bench: Bench, key: str = "sim-a", provider: str = "openai") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=bench.simulator.base_url(provider), api_key=key, max_retries=0)


async def test_a_file_is_its_accounts(bench: Bench) -> None:
    async with client(bench) as mine, client(bench, "sim-b") as also, client(bench, "sim-other") as other:
        made = await mine.files.create(file=("a.txt", b"hello\r\n"), purpose="user_data")
        assert (made.id[:5], made.bytes, made.filename, made.status) == ("file-", 7, "a.txt", "processed")
        assert await also.files.retrieve(made.id) == made
        assert (await also.files.content(made.id)).content == b"hello\r\n"
        assert (await other.files.list()).data == []
        for ask in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError) as caught:
                await ask(made.id)
            assert caught.value.body == {
                "message": f"No such File object: {made.id}",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            }
        deleted = await also.files.delete(made.id)
        assert deleted.model_dump() == {"id": made.id, "object": "file", "deleted": True}
        with pytest.raises(openai.NotFoundError):
            await mine.files.retrieve(made.id)


async def test_lists_have_pages_and_an_order(bench: Bench) -> None:
    async with client(bench) as mine:
        made = [await mine.files.create(file=("a", b"1"), purpose=purpose) for purpose in ("batch", "evals", "batch")]
        assert (await mine.files.list()).data == made[::-1]
        page = await mine.files.list(order="asc", limit=2)
        assert (page.data, page.has_more) == (made[:2], True)
        assert (await mine.files.list(order="asc", after=made[1].id)).data == made[2:]
        assert (await mine.files.list(purpose="batch")).data == [made[2], made[0]]


@pytest.mark.parametrize(("provider", "start"), [("groq", "file_01"), ("mistral", "")])
async def test_ids_look_as_they_do_there(bench: Bench, provider: str, start: str) -> None:
    async with client(bench, provider=provider) as mine:
        made = await mine.files.create(
            file=("a", b"1"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 60}
        )
    assert made.id.startswith(start)
    assert made.id.count("-") == (4 if provider == "mistral" else 0)
    assert made.expires_at == made.created_at + 60


async def test_a_chat_may_name_the_accounts_files_only(bench: Bench) -> None:
    async with client(bench) as mine:
        made = await mine.files.create(file=("a", b"1"), purpose="user_data")
    part = [{"type": "file", "file": {"file_id": made.id}}]
    asked: dict[str, Any] = {**chat(), "messages": [{"role": "user", "content": part}]}
    assert (await bench.ask("openai", asked, key="sim-b", path="/v1/chat/completions")).status == 200
    refused = await bench.ask("openai", asked, key="sim-other", path="/v1/chat/completions")
    assert (refused.status, refused.json["error"]["message"]) == (400, f"No such File object: {made.id}")


async def test_what_is_wrong_is_said(bench: Bench) -> None:
    async with client(bench) as mine, client(bench, "sim-dead") as dead, client(bench, provider="together") as none:
        with pytest.raises(openai.BadRequestError, match="'nothing' is not one of"):
            await mine.files.create(file=("a", b"1"), purpose="nothing")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(openai.AuthenticationError):
            await dead.files.list()
        with pytest.raises(openai.NotFoundError, match="POST /together/v1/files"):
            await none.files.create(file=("a", b"1"), purpose="batch")
    assert (await bench.send("openai", {"purpose": "batch"}, path="/v1/files")).status == 400
