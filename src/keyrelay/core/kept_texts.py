"""A prompt or an answer as it is kept: the bytes that came or went, up to a bound, and how many there were."""

import msgspec

TABLE = "texts"
REQUEST = "request"
ANSWER = "answer"
"""The table and the columns that texts are sealed for; the row is the request's id."""


class KeptText(msgspec.Struct, frozen=True, array_like=True):
    """The first bytes of a body, of `size` bytes in all. `content_type` is what it was said to be, maybe nothing."""

    content_type: str
    size: int
    data: bytes

    @property
    def truncated(self) -> bool:
        """Whether there was more than what is kept."""
        return len(self.data) < self.size

    def __repr__(self) -> str:
        return f"<KeptText {len(self.data)} of {self.size} bytes, {self.content_type or 'of no type'}>"


class KeptTexts(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered in one request; None for what was not kept."""

    request_id: str
    request: KeptText | None
    answer: KeptText | None

    @property
    def size(self) -> int:
        """Bytes that are kept of both."""
        return sum(len(text.data) for text in (self.request, self.answer) if text is not None)


class TextCopy:
    """Takes down a body that comes piece by piece, up to `most_bytes`."""

    __slots__ = ("_pieces", "_room", "content_type", "size")

    def __init__(self, most_bytes: int) -> None:
        self._pieces: list[bytes] = []
        self._room = most_bytes
        self.content_type = ""
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take down one more piece, as far as there is room."""
        self.size += len(data)
        if self._room and data:
            piece = data if len(data) <= self._room else data[: self._room]
            self._pieces.append(bytes(piece))
            self._room -= len(piece)

    def text(self) -> KeptText:
        """What has been taken down so far."""
        return KeptText(self.content_type, self.size, b"".join(self._pieces))

    def __repr__(self) -> str:
        return f"<TextCopy of {self.size} bytes>"


def encode_text(text: KeptText) -> bytes:
    """The text in MessagePack, to be sealed."""
    return msgspec.msgpack.encode(text)


def decode_text(data: bytes) -> KeptText:
    """What `encode_text` made. Raise ValueError for anything else."""
    return msgspec.msgpack.decode(data, type=KeptText)


def readable(data: bytes, *, truncated: bool) -> str | None:
    """Bytes as text, without half a character at a truncated end; None when they are no UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if truncated and error.reason == "unexpected end of data":
            return data[: error.start].decode()
        return None
