"""Embeddings on both sides: `embedContent` for one input, `batchEmbedContents` for several.

A provider is always asked for a batch. Google's task types are Cohere's purposes under other names; those that have no
such name are left out.
"""

import msgspec

from keyrelay.core.conversation import Embeddings, EmbeddingsAsked
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.dialects import EmbeddingFacts, Target, Unreadable, UntranslatableError, Written
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.caller_contents import refuse
from keyrelay.wire.gemini.common import said
from keyrelay.wire.gemini.names import read
from keyrelay.wire.gemini.provider_answer import read_tokens

_PURPOSES = {
    "RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
_TASK_TYPES = {purpose: task for task, purpose in _PURPOSES.items()}
_WITHOUT_TASKS = "gemini-embedding-2"  # it takes what they say in the text itself
_vectors = msgspec.json.Decoder(shapes.Vectors)
_requests = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def read_asked(request: CallRequest) -> EmbeddingsAsked:
    """What a caller asks. Raise CallerError (400) for what is no text, and for a batch of unlike requests."""
    body = read(request.body, shapes.EmbedBody)
    single = body.requests is None
    requests: list[tuple[str, shapes.EmbedRequest]] = [("", body)]
    if body.requests is not None:
        requests = [(f"requests[{number}].", item) for number, item in enumerate(body.requests)]
    if not requests:
        raise refuse("requests", "expected at least one request", "missing_field")
    first = requests[0][1]
    for at, item in requests:
        if (item.task_type, item.output_dimensionality) != (first.task_type, first.output_dimensionality):
            raise refuse(f"{at}taskType", "expected the same task type and dimensions in all requests")
    task = (first.task_type or "").upper()
    left_out = ["taskType"] if task not in {"", "TASK_TYPE_UNSPECIFIED", *_PURPOSES} else []
    left_out += ["title"] if any(item.title for _, item in requests) else []
    return EmbeddingsAsked(
        inputs=tuple(_input(item, at) for at, item in requests),
        dimensions=first.output_dimensionality,
        purpose=_PURPOSES.get(task, ""),
        single=single,
        left_out=tuple(left_out),
    )


def _input(request: shapes.EmbedRequest, at: str) -> str:
    content = request.content
    if isinstance(content, str):
        return content
    given = content.parts if content is not None else None
    parts = [given] if isinstance(given, shapes.Part) else given
    if not parts:
        raise refuse(f"{at}content", "expected a content with a text", "missing_field")
    for number, part in enumerate(parts):
        if part.text is None:
            raise refuse(f"{at}content.parts[{number}]", "only texts are embedded")
    return "".join(part.text or "" for part in parts)


def write_answer(embeddings: Embeddings, facts: EmbeddingFacts) -> bytes:
    """The body for a caller, in the shape of what it asked."""
    vectors = [shapes.Vector(values=vector) for vector in embeddings.vectors]
    used = facts.input_tokens if embeddings.tokens is None else embeddings.tokens.input
    usage = shapes.Usage(prompt_token_count=used, total_token_count=used)
    answer = shapes.Vectors(usage_metadata=msgspec.Raw(msgspec.json.encode(usage)))
    if facts.asked.single:
        answer.embedding = next(iter(vectors), None)
    else:
        answer.embeddings = vectors
    return msgspec.json.encode(answer)


def write_embeddings_request(asked: EmbeddingsAsked, target: Target) -> Written:
    """The body for a provider: always a batch."""
    if asked.token_inputs:
        raise UntranslatableError("input", "Gemini takes texts, no token numbers")
    left_out = ["truncate"] if asked.truncate is not None else []
    task = _TASK_TYPES.get(asked.purpose)
    if asked.purpose and (task is None or target.model.startswith(_WITHOUT_TASKS)):
        left_out.append("purpose")
        task = None
    requests = [
        shapes.EmbedRequest(
            model=_resource(target.model),
            content=shapes.Content(parts=[shapes.Part(text=text)]),
            task_type=task,
            output_dimensionality=asked.dimensions,
        )
        for text in asked.inputs
    ]
    return Written(body=msgspec.json.encode(shapes.EmbedBody(requests=requests)), left_out=tuple(left_out))


def passed_embeddings(request: CallRequest, target: Target) -> Written:
    """A caller's own requests as a batch, each under the name of the target's model."""
    model = msgspec.Raw(msgspec.json.encode(_resource(target.model)))
    given = [request.fields]
    batch = request.fields.get("requests", shapes.ABSENT)
    if said(batch):
        given = _requests.decode(batch)
    return Written(body=msgspec.json.encode({"requests": [{**item, "model": model} for item in given]}))


def _resource(model: str) -> str:
    return model if model.startswith("models/") else f"models/{model}"


def read_embeddings(body: bytes) -> Embeddings | Unreadable:
    """Read the body of a 200, of either shape."""
    try:
        answer = _vectors.decode(body)
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    if said(answer.error):
        return Unreadable(problem="the answer holds an error although its status is 200", is_error=True)
    vectors = answer.embeddings or ([answer.embedding] if answer.embedding is not None else [])
    if not vectors or any(not vector.values for vector in vectors):
        return Unreadable(problem="the answer is empty")
    return Embeddings(
        vectors=tuple(vector.values or () for vector in vectors), tokens=read_tokens(answer.usage_metadata)
    )
