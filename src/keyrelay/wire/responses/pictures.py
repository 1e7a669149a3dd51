"""Pictures that a model makes, as calls of the tool that makes them at OpenAI: no other place is there for them."""

from msgspec import UNSET

from keyrelay.core.conversation import Image
from keyrelay.wire.responses.events import ItemEvent, PictureEvent, StreamEvent
from keyrelay.wire.responses.outputs import OutputItem, PictureItem

_STEPS = ("in_progress", "generating", "completed")


def whole_picture(picture: Image, item_id: str, index: int) -> tuple[list[StreamEvent], OutputItem]:
    """What a stream says of a picture, and its item."""
    begun = PictureItem(id=item_id, status="in_progress")
    form = picture.media_type.removeprefix("image/")
    item = PictureItem(id=item_id, status="completed", result=picture.data, output_format=form or UNSET)
    events: list[StreamEvent] = [ItemEvent(type="response.output_item.added", output_index=index, item=begun)]
    events += [
        PictureEvent(type=f"response.image_generation_call.{step}", item_id=item_id, output_index=index)
        for step in _STEPS
    ]
    events.append(ItemEvent(type="response.output_item.done", output_index=index, item=item))
    return events, item
