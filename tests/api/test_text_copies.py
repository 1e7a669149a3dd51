"""Which requests are taken down, how much of them, and what their callers say of it."""

import pytest

from keyrelay.api.text_copies import Copies, TextCopying, TextSettings
from keyrelay.core.kept_texts import KeptText, KeptTexts
from keyrelay.core.records import RequestRecord
from keyrelay.settings import KeepTexts


class Shelf(list[KeptTexts]):
    def copying(self, mode: KeepTexts = "all", most: int = 100) -> TextCopying:
        return TextCopying(self.append, TextSettings(mode=mode, max_bytes=most))


def a_record(status: int = 200, category: str = "") -> RequestRecord:
    record = RequestRecord("req_1", 0.0)
    record.status, record.category = status, category
    return record


def taken(copying: TextCopying) -> Copies:
    copies = copying.begin([(b"host", b"a")])
    assert copies is not None
    copies.take(b"a prompt", "application/json")
    copies.whole(b"x-request-id: a\r\ncontent-type: text/plain\r\n", b"an answer")
    return copies


@pytest.mark.parametrize(
    ("value", "kept"), [(b"yes", True), (b" YES ", True), (b"no", False), (b"", False), (b"off", False), (b"1", False)]
)
def test_whoever_says_anything_but_yes_is_not_taken_down(value: bytes, kept: bool) -> None:
    copying = Shelf().copying()
    assert (copying.begin([(b"x-keyrelay-store", value)]) is not None) is kept
    assert copying.begin([(b"x-keyrelay-store", b"yes"), (b"x-keyrelay-store", b"no")]) is None
    assert copying.begin([]) is not None


@pytest.mark.parametrize(
    ("mode", "status", "category", "kept"),
    [
        ("all", 200, "", True),
        ("all", 500, "internal", True),
        ("errors", 200, "", False),
        ("errors", 200, "caller_gone", True),
        ("errors", 404, "", True),
        ("errors", 0, "", True),
    ],
)
def test_the_mode_says_which_requests_are_kept(mode: KeepTexts, status: int, category: str, kept: bool) -> None:
    shelf = Shelf()
    copying = shelf.copying(mode)
    copying.end(taken(copying), a_record(status, category))
    assert bool(shelf) is kept


def test_both_bodies_are_kept_with_what_they_are() -> None:
    shelf = Shelf()
    copying = shelf.copying(most=4)
    copying.end(taken(copying), a_record())
    assert shelf == [
        KeptTexts(
            request_id="req_1",
            request=KeptText("application/json", 8, b"a pr"),
            answer=KeptText("text/plain", 9, b"an a"),
        )
    ]
    assert repr(copying) == "<TextCopying all>"


def test_a_caller_that_saw_nothing_has_no_answer() -> None:
    shelf = Shelf()
    copying = shelf.copying()
    copies = copying.begin([])
    assert copies is not None
    copies.take(b"a prompt", "")
    copying.end(copies, a_record(0, "caller_gone"))
    assert shelf[0].answer is None


def test_what_nobody_known_sent_and_what_has_no_row_is_not_kept() -> None:
    shelf = Shelf()
    copying = shelf.copying()
    stranger = copying.begin([])
    assert stranger is not None
    stranger.refused(b"{}")
    copying.end(stranger, a_record(401))
    local = taken(copying)
    local.wanted = False
    copying.end(local, a_record())
    assert shelf == []


def test_nothing_shows_a_text() -> None:
    assert "prompt" not in repr(taken(Shelf().copying()))
