"""The events of a streamed answer, as structs; each gets its `sequence_number` when it is written."""

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.wire.responses.outputs import OutputItem, OutputRefusal, OutputText, ResponseOut, SummaryText


class StreamEvent(msgspec.Struct, kw_only=True):
    """Base of all. `type` is the event's name, too."""

    type: str
    sequence_number: int = 0


class LeftOut(msgspec.Struct, frozen=True):
    """What the provider said and this dialect cannot, in a member of Keyrelay's own."""

    left_out: tuple[str, ...]


class ResponseEvent(StreamEvent, kw_only=True):
    """`response.created`, `.in_progress`, `.completed`, `.incomplete`, `.failed`."""

    response: ResponseOut
    keyrelay: LeftOut | UnsetType = UNSET


class ItemEvent(StreamEvent, kw_only=True):
    """`response.output_item.added` and `.done`."""

    output_index: int
    item: OutputItem


class _OfItem(StreamEvent, kw_only=True):
    item_id: str
    output_index: int


class PictureEvent(_OfItem, kw_only=True):
    """`response.image_generation_call.in_progress`, `.generating`, `.completed`."""


class PartEvent(_OfItem, kw_only=True):
    """`response.content_part.added` and `.done`."""

    content_index: int
    part: OutputText | OutputRefusal


class TextDelta(_OfItem, kw_only=True):
    """`response.output_text.delta`."""

    type: str = "response.output_text.delta"
    content_index: int
    delta: str
    logprobs: tuple[()] = ()


class TextDone(_OfItem, kw_only=True):
    """`response.output_text.done`."""

    type: str = "response.output_text.done"
    content_index: int
    text: str
    logprobs: tuple[()] = ()


class RefusalDelta(_OfItem, kw_only=True):
    """`response.refusal.delta`."""

    type: str = "response.refusal.delta"
    content_index: int
    delta: str


class RefusalDone(_OfItem, kw_only=True):
    """`response.refusal.done`."""

    type: str = "response.refusal.done"
    content_index: int
    refusal: str


class SummaryPart(_OfItem, kw_only=True):
    """`response.reasoning_summary_part.added` and `.done`."""

    summary_index: int = 0
    part: SummaryText


class SummaryDelta(_OfItem, kw_only=True):
    """`response.reasoning_summary_text.delta`."""

    type: str = "response.reasoning_summary_text.delta"
    summary_index: int = 0
    delta: str


class SummaryDone(_OfItem, kw_only=True):
    """`response.reasoning_summary_text.done`."""

    type: str = "response.reasoning_summary_text.done"
    summary_index: int = 0
    text: str


class CallDelta(_OfItem, kw_only=True):
    """`response.function_call_arguments.delta` and `response.custom_tool_call_input.delta`."""

    delta: str


class ArgumentsDone(_OfItem, kw_only=True):
    """`response.function_call_arguments.done`."""

    type: str = "response.function_call_arguments.done"
    arguments: str
    name: str


class InputDone(_OfItem, kw_only=True):
    """`response.custom_tool_call_input.done`."""

    type: str = "response.custom_tool_call_input.done"
    input: str


_encoder = msgspec.json.Encoder()


def frame(event: StreamEvent, sequence_number: int) -> bytes:
    """An event with its number, as the stream carries it."""
    event.sequence_number = sequence_number
    return b"event: %b\ndata: %b\n\n" % (event.type.encode(), _encoder.encode(event))
