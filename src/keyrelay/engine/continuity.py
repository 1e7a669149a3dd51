"""What providers insist on getting back, kept for clients that drop it: signatures and thoughts.

Gemini signs calls, Anthropic signs thoughts, DeepSeek wants its reasoning with every turn of the assistant's; many
clients keep nothing but words and calls. So what came with an answer is kept as a whole turn, and found again by what
clients do keep: each call's id, name and arguments, and the words of a turn without calls. Arguments are compared as
values, since clients write their JSON anew; ids alone would not do, because some providers count them from 0 in each
answer.

A signature holds for the account whose key made it, so the account is kept beside it.

Of an answer of which the caller wants nothing kept, there are no words: only the signatures of its calls, by a digest
of each, and the account. Its thoughts are for the caller to send back.
"""

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from keyrelay.core.conversation import Answer, Conversation, Media, Message, Part, Refusal, Text, Thinking, ToolCall
from keyrelay.engine.continuity_store import ContinuityStore
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.parts import raised_arguments

KEEP_S = 24 * 3600.0
"""How long a turn is kept after it was made, unless a setting says otherwise."""

MOST_FETCHED = 2000
"""Ids of a conversation's turns that are looked for elsewhere; older turns of a longer one are not."""

_DIGEST_BYTES = 16
_TURN = "turn:"
_CALL = "call:"

_Said = Text | Thinking | Refusal | ToolCall
"""What of an answer is kept: pictures and sound are nothing that a turn is known by, and nobody wants them back."""


class _Mark(msgspec.Struct, frozen=True, array_like=True):
    """What was signed of a turn without words: a call, known by its digest."""

    call: str
    signature: str
    signed_by: str


class _Turn(msgspec.Struct, frozen=True, array_like=True):
    """A turn as its provider gave it. `signed` says that `account` matters; `marks` stand in place of `parts`."""

    account: str
    signed: bool
    parts: tuple[_Said, ...]
    marks: tuple[_Mark, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Turn)


class Continuity:
    """Remembers what came with answers, and puts it back. `keep_s` is how long; 0 keeps nothing."""

    __slots__ = ("_keep_s", "_store")

    def __init__(self, store: ContinuityStore, *, keep_s: float = KEEP_S) -> None:
        self._store = store
        self._keep_s = keep_s

    @property
    def waits(self) -> bool:
        """Whether `fetch` may find what is not known here."""
        return self._keep_s > 0 and self._store.waits

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when others may know of all that was kept for a client; None when it is done."""
        return self._store.unwritten(client)

    def remember(self, client: str, answer: Answer, account: str, *, now_s: float, words: bool = True) -> None:
        """Keep what has to come back with an answer, which a key of this account gave; nothing for words alone.

        Unless `words`, only what was signed, and nothing of what was said or thought.
        """
        parts = tuple(part for part in answer.parts if not isinstance(part, Media))
        signed = any(_is_signed(part) for part in parts)
        if not signed and not (words and any(isinstance(part, Thinking) and part.text for part in parts)):
            return
        if all(isinstance(part, Thinking) for part in parts):
            return  # nothing by which it could be found again
        turn = _Turn(account, signed, parts) if words else _Turn(account, signed, (), tuple(_marks(parts)))
        value = _encoder.encode(turn)
        turn_id = _TURN + _turn_digest(parts)
        if not self._store.put(client, turn_id, value, now_s=now_s, ttl_s=self._keep_s):
            return
        pointer = turn_id.encode()
        for part in parts:
            if isinstance(part, ToolCall):
                self._store.put(client, _CALL + _call_digest(part), pointer, now_s=now_s, ttl_s=self._keep_s)

    def knows(self, client: str) -> bool:
        """Whether anything at all is kept for a client: if not, nobody needs to look."""
        return self._store.holds(client)

    async def fetch(self, conversation: Conversation, client: str, *, now_s: float) -> None:
        """Learn what other processes have remembered of a conversation's turns."""
        get, messages = self._store.get, conversation.messages
        turns = [_ids([part for each in messages[a:b] for part in each.parts]) for a, b in _assistant_turns(messages)]
        ids = list(dict.fromkeys(entry_id for turn in turns for entry_id in turn))[-MOST_FETCHED:]
        missing = [entry_id for entry_id in ids if get(client, entry_id, now_s) is None]
        if missing:
            await self._store.fetch(client, missing, now_s)
        pointers = dict.fromkeys(get(client, entry_id, now_s) for entry_id in ids if entry_id.startswith(_CALL))
        pointed = [pointer.decode() for pointer in pointers if pointer is not None]
        missing = [turn_id for turn_id in pointed if get(client, turn_id, now_s) is None]
        if missing:
            await self._store.fetch(client, missing, now_s)

    def restore(self, conversation: Conversation, client: str, *, now_s: float) -> Conversation:
        """The conversation with what its client has dropped; the same object when it has dropped nothing."""
        messages = list(conversation.messages)
        changed = False
        for start, end in _assistant_turns(messages):
            parts = tuple(part for message in messages[start:end] for part in message.parts)
            turn = self._find(client, parts, now_s)
            whole = parts if turn is None else _restored(parts, turn)
            if whole != parts:
                changed = True
                messages[start:end] = [Message(role="assistant", parts=whole), *[_GAP] * (end - start - 1)]
        if not changed:
            return conversation
        return replace(conversation, messages=tuple(message for message in messages if message is not _GAP))

    def account_of(self, conversation: Conversation, client: str, *, now_s: float) -> str | None:
        """The account whose signature came last in a conversation; None when nothing of it is signed."""
        messages = conversation.messages
        for start, end in reversed(tuple(_assistant_turns(messages))):
            parts = tuple(part for message in messages[start:end] for part in message.parts)
            turn = self._find(client, parts, now_s)
            if turn is not None and turn.signed:
                return turn.account
        return None

    def _find(self, client: str, parts: Sequence[Part], now_s: float) -> _Turn | None:
        """The turn that these parts are what is left of."""
        for entry_id in _ids(parts):
            value = self._store.get(client, entry_id, now_s)
            if value is not None and entry_id.startswith(_CALL):
                value = self._store.get(client, value.decode(), now_s)
                return None if value is None else _decoded(value)
            if value is not None:
                return _decoded(value)
        return None

    def __repr__(self) -> str:
        return f"<Continuity over {self._store!r}>"


_GAP = Message(role="assistant", parts=())


def _decoded(value: bytes) -> _Turn | None:
    """A turn; None for what another release has kept in another form, while both of them run."""
    try:
        return _decoder.decode(value)
    except msgspec.DecodeError:
        return None


def _ids(parts: Sequence[Part]) -> list[str]:
    """Under what a turn is found: each of its calls points to it; without calls it is known by its words."""
    calls = [_CALL + _call_digest(part) for part in parts if isinstance(part, ToolCall)]
    return calls or [_TURN + _turn_digest(parts)]


def _marks(parts: Sequence[_Said]) -> Iterator[_Mark]:
    """The signatures of calls, without the calls."""
    for part in parts:
        if isinstance(part, ToolCall) and part.signature:
            yield _Mark(_call_digest(part), part.signature, part.signed_by)


def _is_signed(part: object) -> bool:
    if isinstance(part, Thinking):
        return bool(part.signature or part.redacted)
    return isinstance(part, ToolCall) and bool(part.signature)


def _assistant_turns(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Where each run of the assistant's messages begins and ends."""
    start = 0
    while start < len(messages):
        end = start
        while end < len(messages) and messages[end].role == "assistant":
            end += 1
        if end > start:
            yield start, end
        start = end + 1


def _restored(parts: tuple[Part, ...], turn: _Turn) -> tuple[Part, ...]:
    """Parts with the signatures and thoughts of the turn that they came from.

    Thoughts go back only where the client has kept none: what it says itself is not touched.
    """
    kept = turn.parts
    calls = {mark.call: mark for mark in (*turn.marks, *_marks(kept))}
    thoughts = {part.text: part for part in kept if isinstance(part, Thinking) and part.text and part.signature}
    whole = [_signed(part, calls, thoughts) for part in parts]
    if any(isinstance(part, Thinking) for part in parts):
        return tuple(whole)
    for place, dropped in reversed(tuple(_places(parts, kept))):
        whole[place:place] = dropped
    return tuple(whole)


def _signed(part: Part, calls: Mapping[str, _Mark], thoughts: Mapping[str, Thinking]) -> Part:
    """A part with the signature that it came with, where it has none."""
    if isinstance(part, ToolCall) and calls and not part.signature:
        mark = calls.get(_call_digest(part))
        return part if mark is None else replace(part, signature=mark.signature, signed_by=mark.signed_by)
    if isinstance(part, Thinking) and not part.signature and not part.redacted:
        return thoughts.get(part.text, part)
    return part


def _places(parts: Sequence[Part], kept: Sequence[_Said]) -> Iterator[tuple[int, list[Thinking]]]:
    """Where in what a client has kept the thoughts belong: before what they came before.

    Where that is gone, too, they come before what came next.
    """
    after, pending = 0, list[Thinking]()
    for part in kept:
        if isinstance(part, Thinking):
            pending.append(part)
            continue
        place = _place_of(part, parts, after)
        if place is None:
            continue
        if pending:
            yield place, pending
            pending = []
        after = place + 1
    if pending:
        yield after, pending


def _place_of(part: Text | Refusal | ToolCall, parts: Sequence[Part], start: int) -> int | None:
    """Where a part stands among those that a client has kept; words may have been cut or joined meanwhile."""
    digest = _call_digest(part) if isinstance(part, ToolCall) else ""
    for place in range(start, len(parts)):
        there = parts[place]
        if isinstance(there, ToolCall):
            if digest and _call_digest(there) == digest:
                return place
        elif type(there) is type(part):
            return place
    return None


def _call_digest(call: ToolCall) -> str:
    """What a call is known by, whoever wrote its arguments and whether or not its tool was called as a function."""
    text = call.arguments if call.custom else raised_arguments(call.arguments)
    try:
        value = _sorted.encode(_values.decode(text))
    except JSON_ERRORS:
        value = text.encode()
    return _digest(call.id.encode(), call.name.encode(), value)


def _turn_digest(parts: Sequence[Part]) -> str:
    """What a turn is known by: its words, and its calls if it has any."""
    words = "".join(part.text for part in parts if isinstance(part, Text | Refusal)).strip()
    calls = [_call_digest(part).encode() for part in parts if isinstance(part, ToolCall)]
    return _digest(words.encode(), *calls)


def _digest(*values: bytes) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for value in values:
        digest.update(len(value).to_bytes(8) + value)
    return digest.hexdigest()


def _number(text: str) -> float | int:
    """Numbers as JavaScript writes them: without a fraction where it is nothing."""
    number = float(text)
    return int(number) if number.is_integer() else number


_values = msgspec.json.Decoder(float_hook=_number)
_sorted = msgspec.json.Encoder(order="sorted")
