"""What is remembered of answers for the requests that go on from them.

Two kinds: state that providers insist on and clients drop (`continuity`), and answers of the Responses dialect that can
be asked for by their id (`stored_responses`). Both are kept for one client each, for a while, within bounds.
"""

import asyncio
import contextlib
from collections.abc import Coroutine

import msgspec

from keyrelay.core.conversation import Conversation, Part, Thinking, ToolCall
from keyrelay.core.requests import CallRequest
from keyrelay.engine.continuity import Continuity
from keyrelay.engine.continuity_store import ContinuityStore, MemoryContinuityStore
from keyrelay.engine.shared_continuity import SharedContinuityStore, SharedState
from keyrelay.engine.stored_responses import StoredResponses

MOST_FETCHING_S = 0.05
"""Longest wait of a request until it is known what others remember of its conversation."""

MOST_KEEPING_S = 0.1
"""Longest wait of an answer until others may know what is remembered of it."""


class Recall(msgspec.Struct, frozen=True):
    """Both kinds, over one store."""

    continuity: Continuity
    responses: StoredResponses

    @property
    def waits(self) -> bool:
        """Whether others may remember what is not known here, so that it has to be fetched before it is looked for."""
        return self.continuity.waits


def recall_in_memory(most_bytes: int, keep_s: float) -> Recall:
    """What is remembered in this process; `most_bytes` bounds all of it, `keep_s` is for how long."""
    return _recall(MemoryContinuityStore(most_bytes), keep_s)


def recall_shared(most_bytes: int, keep_s: float, state: SharedState) -> Recall:
    """What all processes remember that share `state`; `most_bytes` bounds what this one holds of it."""
    return _recall(SharedContinuityStore(MemoryContinuityStore(most_bytes), state), keep_s)


def _recall(store: ContinuityStore, keep_s: float) -> Recall:
    return Recall(Continuity(store, keep_s=keep_s), StoredResponses(store, keep_s=keep_s))


async def fetched(fetching: Coroutine[None, None, None], until_at: float) -> bool:
    """Wait for what others remember until then (event loop's clock); False when not all has come that they do."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until_at):
            await fetching
            return True
    return False


async def kept(keeping: asyncio.Future[None]) -> None:
    """Wait until others may know what is remembered of an answer, within reason."""
    await asyncio.wait((keeping,), timeout=MOST_KEEPING_S)


def may_go_on(request: CallRequest) -> bool:
    """Whether turns of a model's may be in a request: found by the name of its role, before anything is read."""
    if request.operation != "chat":
        return False
    if request.dialect == "responses":
        return bytes(request.fields.get("input", b""))[:1] == b"["
    return (b'"model"' if request.dialect == "gemini" else b'"assistant"') in request.body


def without_signatures(conversation: Conversation) -> Conversation:
    """A conversation for another account than the one that signed it: what it signed proves nothing there.

    The same object when nothing in it is signed.
    """
    if not any(_unsigned(part) is not part for message in conversation.messages for part in message.parts):
        return conversation
    messages = tuple(
        msgspec.structs.replace(message, parts=tuple(map(_unsigned, message.parts)))
        for message in conversation.messages
    )
    return msgspec.structs.replace(conversation, messages=messages)


def _unsigned(part: Part) -> Part:
    if isinstance(part, Thinking) and (part.signature or part.redacted):
        return msgspec.structs.replace(part, signature="", redacted="", signed_by="")
    if isinstance(part, ToolCall) and part.signature:
        return msgspec.structs.replace(part, signature="", signed_by="")
    return part
