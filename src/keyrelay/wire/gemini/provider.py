"""The dialect as Gemini speaks it."""

from keyrelay.core.conversation import Answer, Conversation, Dialect, Embeddings, EmbeddingsAsked
from keyrelay.core.requests import CallRequest
from keyrelay.wire.dialects import EventReader, Splitter, Target, Unreadable, Written
from keyrelay.wire.gemini.embeddings import passed_embeddings, read_embeddings, write_embeddings_request
from keyrelay.wire.gemini.provider_answer import GeminiEventReader, read_answer
from keyrelay.wire.gemini.provider_request import passed_request, write_request
from keyrelay.wire.sse import EventSplitter


class GeminiProvider:
    """Implements `wire.dialects.ProviderCodec`. Streams are those of `alt=sse`, embeddings those of a batch."""

    dialect: Dialect = "gemini"

    def request(self, conversation: Conversation, target: Target) -> Written:
        """The body of `generateContent`. Raise UntranslatableError for content that a Gemini model cannot be given."""
        return write_request(conversation, target)

    def passed(self, request: CallRequest, target: Target) -> Written:
        """The caller's own bytes: the model is in the path. Embeddings become a batch, which names its model."""
        return (passed_embeddings if request.operation == "embeddings" else passed_request)(request, target)

    def answer(self, body: bytes) -> Answer | Unreadable:
        """Read the body of a 200; never raises."""
        return read_answer(body)

    def splitter(self, max_event_bytes: int) -> Splitter:
        """Server-sent events."""
        return EventSplitter(max_event_bytes)

    def reader(self) -> EventReader:
        """The reader of one stream."""
        return GeminiEventReader()

    def embeddings_request(self, asked: EmbeddingsAsked, target: Target) -> Written:
        """The body of `batchEmbedContents`. Raise UntranslatableError for lists of token numbers."""
        return write_embeddings_request(asked, target)

    def embeddings(self, body: bytes) -> Embeddings | Unreadable:
        """Read the body of a 200; never raises."""
        return read_embeddings(body)
