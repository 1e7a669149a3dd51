import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from keyrelay.api.notices import Notices, as_line


async def headers_of(method: str, status: int, notice: str) -> dict[str, str]:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"{}", status)(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await Notices(app, lambda: notice)({"type": "http", "method": method, "headers": []}, receive, send)
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize(
    ("method", "status", "told"),
    [("POST", 200, True), ("PATCH", 422, True), ("DELETE", 409, True), ("GET", 200, False), ("POST", 401, False)],
)
async def test_who_changes_something_is_told_and_strangers_are_not(method: str, status: int, *, told: bool) -> None:
    assert ("x-keyrelay-notice" in await headers_of(method, status, "a file is broken")) is told
    assert "x-keyrelay-notice" not in await headers_of(method, status, "")


def test_a_text_of_many_lines_is_one_line_of_a_head() -> None:
    assert as_line("one\n  two\r\nthrée") == "one two thr?e"
    assert (len(as_line("x" * 5000)), as_line("x" * 5000)[-5:]) == (500, "x ...")
