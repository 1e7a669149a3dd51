"""What a call that was answered comes to."""

import msgspec

from keyrelay.core.usage import Usage
from keyrelay.ports import UpstreamAnswer
from keyrelay.wire.translated import AnswerStream


class WholeAnswer(msgspec.Struct, frozen=True):
    """An answer in one piece. `content_type` is the provider's own, where the caller gets that."""

    body: bytes
    usage: Usage | None
    answer: UpstreamAnswer
    content_type: str = ""


class OpenStream(msgspec.Struct, frozen=True):
    """A stream whose first content has come: `first` is what may go to the caller at once."""

    answer: UpstreamAnswer
    reader: AnswerStream
    first: bytes


class WholeReading(msgspec.Struct, frozen=True):
    """A whole answer in the caller's dialect, and what it used as far as the provider says."""

    body: bytes
    usage: Usage | None
