import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.wire.file_lists import FileList, ListWishes

NOW_S = 100.0


def told(number: int, **more: object) -> bytes:
    return msgspec.json.encode({"id": f"f{number}", "purpose": "batch", "created_at": number, **more})


def of(*objects: bytes) -> FileList:
    files = FileList()
    for each in objects:
        files.put(msgspec.json.decode(each)["id"], each)
    return files


def listed(files: FileList, **wishes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(files.page(ListWishes(**wishes), NOW_S))
    return answer


def names(files: FileList, **wishes: Any) -> list[str]:
    return [each["id"] for each in listed(files, **wishes)["data"]]


def test_the_newest_come_first() -> None:
    answer = listed(of(told(1), told(3), told(2)))
    assert [each["id"] for each in answer["data"]] == ["f3", "f2", "f1"]
    assert (answer["object"], answer["first_id"], answer["last_id"], answer["has_more"]) == ("list", "f3", "f1", False)


@given(st.integers(0, 12), st.integers(1, 5), st.booleans())
def test_pages_make_up_the_whole(count: int, limit: int, newest_first: bool) -> None:
    files, found, after = of(*map(told, range(count))), list[str](), ""
    while True:
        answer = listed(files, limit=limit, after=after, newest_first=newest_first)
        found += [each["id"] for each in answer["data"]]
        if not answer["has_more"]:
            break
        after = str(answer["last_id"])
    wanted = [f"f{number}" for number in range(count)]
    assert found == (wanted[::-1] if newest_first else wanted)


STEP = st.tuples(st.integers(0, 6), st.sampled_from(["batch", "vision", ""]), st.integers(0, 3), st.integers(98, 102))


@given(st.lists(st.one_of(st.integers(0, 6), STEP)), st.sampled_from(["", "batch", "vision"]), st.integers(0, 6))
def test_it_is_what_sorting_all_of_them_gives(steps: list[Any], purpose: str, after: int) -> None:
    files, table = FileList(), dict[str, dict[str, Any]]()
    for step in steps:
        if isinstance(step, int):
            files.drop(f"f{step}")
            table.pop(f"f{step}", None)
        else:
            number, given_purpose, created_at, expires_at = step
            one = told(number, purpose=given_purpose, created_at=created_at, expires_at=expires_at)
            files.put(f"f{number}", one)
            table[f"f{number}"] = msgspec.json.decode(one)
    wanted = [each for each in table.values() if purpose in {"", each["purpose"]} and each["expires_at"] > NOW_S]
    wanted.sort(key=lambda each: (each["created_at"], each["id"]), reverse=True)
    order = [each["id"] for each in wanted]
    assert names(files, purpose=purpose) == order
    assert names(files, purpose=purpose, newest_first=False) == order[::-1]
    assert len(files) == len(table)
    if f"f{after}" in order:
        behind = order[order.index(f"f{after}") + 1 :]
        assert names(files, purpose=purpose, after=f"f{after}") == behind
        assert listed(files, purpose=purpose, after=f"f{after}", limit=1)["has_more"] == (len(behind) > 1)
    else:
        with pytest.raises(CallerError, match="after"):
            listed(files, purpose=purpose, after=f"f{after}")


def test_what_has_expired_is_gone() -> None:
    files = of(told(1, expires_at=100), told(2, expires_at=101), told(3, expires_at=None))
    assert names(files) == ["f3", "f2"]
    assert not listed(files, limit=2)["has_more"]


def test_nothing_is_a_list_too() -> None:
    empty: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert listed(FileList()) == empty


def test_a_file_of_which_strange_things_are_said_is_listed_with_the_oldest() -> None:
    assert names(of(told(1), told(2, created_at="yesterday", expires_at=[]))) == ["f1", "f2"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_page_costs_what_is_on_it_however_many_files_there_are(order: int) -> None:
    calls = []
    for count in (100, 20_000):
        files = of(*map(told, range(count)))
        wishes = ListWishes(limit=20, after="f50", newest_first=order < 0, purpose="batch")
        made: list[str] = []
        sys.setprofile(lambda _frame, event, _what, made=made: made.append(event))  # type: ignore[misc]
        try:
            page = files.page(wishes, NOW_S)
        finally:
            sys.setprofile(None)
        assert len(msgspec.json.decode(page)["data"]) == 20
        calls.append(len(made))
    assert calls[0] == calls[1]


def test_its_repr_counts() -> None:
    assert repr(of(told(1), told(2, purpose="vision"))) == "<FileList of 2 files, 3 orders>"
