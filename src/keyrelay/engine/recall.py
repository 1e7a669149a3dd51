"""What is remembered of answers for the requests that go on from them.

Two kinds: state that providers insist on and clients drop (`continuity`), and answers of the Responses dialect that can
be asked for by their id (`stored_responses`). Both are kept for one client each, for a while, within bounds.
"""

import msgspec

from keyrelay.core.conversation import Conversation, Part, Thinking, ToolCall
from keyrelay.engine.continuity import Continuity
from keyrelay.engine.continuity_store import MemoryContinuityStore
from keyrelay.engine.stored_responses import StoredResponses


class Recall(msgspec.Struct, frozen=True):
    """Both kinds, over one store."""

    continuity: Continuity
    responses: StoredResponses


def recall_in_memory(most_bytes: int, keep_s: float) -> Recall:
    """What is remembered in this process; `most_bytes` bounds all of it, `keep_s` is for how long."""
    store = MemoryContinuityStore(most_bytes)
    return Recall(Continuity(store, keep_s=keep_s), StoredResponses(store, keep_s=keep_s))


def without_signatures(conversation: Conversation) -> Conversation:
    """A conversation for another account than the one that signed it: what it signed proves nothing there."""
    messages = tuple(
        msgspec.structs.replace(message, parts=tuple(map(_unsigned, message.parts)))
        for message in conversation.messages
    )
    return msgspec.structs.replace(conversation, messages=messages)


def _unsigned(part: Part) -> Part:
    if isinstance(part, Thinking | ToolCall) and part.signature:
        return msgspec.structs.replace(part, signature="", signed_by="")
    return part
