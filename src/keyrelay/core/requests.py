"""A caller's request as far as routing has to know it; everything else stays the bytes that came."""

import msgspec

from keyrelay.core.conversation import Dialect
from keyrelay.core.providers import Capability, Operation


class Form(msgspec.Struct, frozen=True, eq=False):
    """A form with files, as it came.

    `content` is all of it; the name of the model is its bytes from `model_start` to `model_end`. `content_type` holds
    the boundary.
    """

    content: memoryview
    content_type: str
    model_start: int
    model_end: int


class FileCall(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the files that a provider keeps: `method` says whether one is sent, shown or deleted.

    `file_id` names it as the caller does; `content`: what is in it is wanted. An upload has a `purpose` instead.
    `provider` is the one that the caller wants, empty for any.
    """

    method: str
    file_id: str = ""
    content: bool = False
    provider: str = ""
    purpose: str = ""


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One decoded request.

    `fields` are the members of the body, values untouched. `needs` are the capabilities that a model must
    have. `wants_usage` says that the caller asked for usage in the stream. `max_output_tokens` is the caller's
    own bound. `dialect` is the one that the caller speaks; `headers` are those of the caller's that go on to a provider
    that speaks it too. With a `form`, that is what goes out; `body` is then its texts in JSON, from which `fields` and
    estimates are taken. `opaque`: the operation is one of those that go through as they are; `file` says more of one
    that is about files. `reshaped`: it came to chat completions in the form of the Responses dialect, and the answer is
    to be a chat's all the same.
    """

    operation: Operation
    model: str
    stream: bool
    body: bytes
    fields: dict[str, msgspec.Raw]
    needs: tuple[Capability, ...] = ()
    wants_usage: bool = False
    max_output_tokens: int | None = None
    dialect: Dialect = "openai"
    headers: tuple[tuple[str, str], ...] = ()
    form: Form | None = None
    opaque: bool = False
    file: FileCall | None = None
    reshaped: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is in OpenAI's dialect, and read."""
        return self.dialect == "openai" and not self.opaque and not self.reshaped
