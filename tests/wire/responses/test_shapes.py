import msgspec
import pytest

from keyrelay.wire.responses.shapes import Item


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (b'{"type":"reasoning"}', "reasoning"),
        (b'{"role":"user"}', "message"),
        (b'{"id":"msg_1"}', "item_reference"),
        (b"{}", ""),
    ],
)
def test_what_an_item_is_can_be_told_without_its_type(item: bytes, kind: str) -> None:
    assert msgspec.json.decode(item, type=Item).kind == kind


def test_unknown_members_are_passed_over() -> None:
    assert msgspec.json.decode(b'{"type":"message","phase":"final_answer","x":[1]}', type=Item) == Item(type="message")
