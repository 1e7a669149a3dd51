import msgspec
import pytest
from openai.types.responses import ResponseOutputItem
from pydantic import TypeAdapter

from keyrelay.wire.responses.outputs import (
    CustomCallItem,
    FunctionCallItem,
    MessageItem,
    OutputItem,
    OutputRefusal,
    OutputText,
    ReasoningItem,
    SearchCallItem,
    SummaryText,
)

ITEMS: tuple[OutputItem, ...] = (
    MessageItem(id="msg_1", status="completed", content=(OutputText(text="a"), OutputRefusal(refusal="b"))),
    ReasoningItem(id="rs_1", summary=(SummaryText(text="a"),), encrypted_content="x"),
    ReasoningItem(id="rs_1"),
    FunctionCallItem(id="fc_1", status="completed", arguments="{}", call_id="c", name="f", namespace="n"),
    CustomCallItem(id="ctc_1", status="completed", call_id="c", input="x", name="f"),
    SearchCallItem(id="tsc_1", status="completed", arguments=msgspec.Raw(b'{"query":"x"}'), call_id="c"),
)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
def test_openais_own_types_take_every_item_whole(item: OutputItem) -> None:
    taken = TypeAdapter(ResponseOutputItem).validate_json(msgspec.json.encode(item))
    said = msgspec.json.decode(msgspec.json.encode(item))
    assert taken.model_dump(mode="json", exclude_unset=True) == said
