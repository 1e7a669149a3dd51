"""What every program shares: the questions, what a right answer to each is, and one line for each thing that was tried.

A program is run with one argument, a JSON list of targets, and tries all its features on each of them. It stands in an
environment of the clients' own, which holds nothing of Keyrelay.
"""

import base64
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple


class Target(NamedTuple):
    """Whom to ask: where, with which key, and the names of models by what they can do.

    `origin` is where the server's paths begin, `name` the provider whose models are asked. `slow_origin` is where the
    model that answers slowly is, if not there too.
    """

    name: str
    origin: str
    key: str
    models: dict[str, str]
    slow_origin: str = ""

    def model(self, kind: str = "chat") -> str:
        """The model for a kind of request."""
        return self.models.get(kind) or self.models["chat"]

    @property
    def slow(self) -> "Target":
        """The same with the model that answers slowly enough to be cancelled."""
        return self._replace(origin=self.slow_origin or self.origin, models={"chat": self.model("slow")})


Feature = Callable[[Target], object]
Call = tuple[str, str, Any]
"""A call of a tool as a client shows it: id, name, arguments."""

TIMEOUT_S = 20.0
SENTENCE = "the ferry waits for nobody"
SAY = f"Repeat: {SENTENCE}"
THINK = f"Please think, then repeat: {SENTENCE}"
WRONG_KEY = "wrong-secret-0123456789"
UNKNOWN_MODEL = "no-such-model-anywhere"
MOST_TOKENS = 4096

WEATHER: Any = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Where."},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
    },
    "required": ["city"],
}
TIDE: Any = {
    "type": "object",
    "properties": {"harbour": {"type": "string"}, "hours": {"type": "array", "items": {"type": "integer"}}},
    "required": ["harbour"],
}
TOOLS = (("get_weather", "Tells the weather of a city.", WEATHER), ("get_tide", "Tells the tides.", TIDE))
CALL_ONE = 'call get_weather {"city": "Bergen", "unit": "celsius"}'
CALL_TWO = CALL_ONE + '\ncall get_tide {"harbour": "Oslo", "hours": [3, 15]}'
RESULTS = {"get_weather": "4 degrees and sleet", "get_tide": "low water at 03:12"}

REPORT: Any = {
    "type": "object",
    "properties": {
        "harbour": {"type": "string"},
        "metres": {"type": "number"},
        "open": {"type": "boolean"},
    },
    "required": ["harbour", "metres", "open"],
    "additionalProperties": False,
}


def picture(width: int = 3, height: int = 2) -> bytes:
    """A PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x20\x40\x60" * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PICTURE_TYPE = "image/png"
PICTURE = base64.b64encode(picture()).decode()
PICTURE_URL = f"data:{PICTURE_TYPE};base64,{PICTURE}"


# What a right answer is.


def expect(condition: object, what: str, seen: object = "") -> None:
    """Raise AssertionError with what was expected and what was seen."""
    if not condition:
        shown = repr(seen)
        raise AssertionError(f"{what}: {shown[:300]}" if seen != "" else what)


def said(text: str | None, *wanted: str) -> None:
    """The answer holds these words."""
    for words in wanted or (SENTENCE,):
        expect(words in (text or ""), f"the answer holds {words!r}", text)


def streamed(pieces: Iterable[str | None], *wanted: str) -> None:
    """The answer came in pieces that make it up."""
    listed = [piece for piece in pieces if piece]
    said("".join(listed), *wanted)
    expect(len(listed) > 1, "the answer comes in pieces", listed)


def arguments_of(given: Any) -> Any:
    """The arguments of a call as an object, whether a client shows them as text or as one."""
    return json.loads(given) if isinstance(given, str) else dict(given)


def called(calls: Iterable[Call], *, both: bool = False) -> None:
    """The tool that the prompt names was called with its arguments, or both were, each with an id of its own."""
    listed = list(calls)
    expected: list[tuple[str, Any]] = [("get_weather", {"city": "Bergen", "unit": "celsius"})]
    if both:
        expected.append(("get_tide", {"harbour": "Oslo", "hours": [3, 15]}))
    seen = [(name, arguments_of(arguments)) for _, name, arguments in listed]
    expect(seen == expected, f"calls of {[name for name, _ in expected]}", listed)
    ids = [call_id for call_id, _, _ in listed]
    expect(all(ids) and len(set(ids)) == len(ids), "an id for each call", ids)


def quoted(text: str | None) -> None:
    """The answer quotes the results of both tools."""
    said(text, *RESULTS.values())


def fits(value: Any) -> None:
    """The value fits REPORT."""
    found = json.loads(value) if isinstance(value, str) else value
    expect(isinstance(found, dict) and set(found) == set(REPORT["properties"]), "a report", found)
    expect(isinstance(found["harbour"], str) and isinstance(found["open"], bool), "a report's types", found)
    expect(isinstance(found["metres"], int | float), "a report's types", found)


def counted(input_tokens: int | None, output_tokens: int | None, total: int | None = None) -> None:
    """Tokens were counted."""
    expect(isinstance(input_tokens, int) and input_tokens > 0, "tokens of the prompt", input_tokens)
    expect(isinstance(output_tokens, int) and output_tokens > 0, "tokens of the answer", output_tokens)
    if total is not None and input_tokens is not None and output_tokens is not None:
        expect(total == input_tokens + output_tokens, "the total", (input_tokens, output_tokens, total))


@contextmanager
def raises(*kinds: type[BaseException], status: int | None = None, words: str = "") -> Iterator[None]:
    """One of these exceptions is raised, with this status and these words."""
    names = "/".join(kind.__name__ for kind in kinds)
    try:
        yield
    except kinds as exc:
        seen = getattr(exc, "status_code", None) or getattr(exc, "code", None)
        expect(status is None or seen == status, f"{names} with status {status}", (seen, str(exc)))
        expect(words.lower() in str(exc).lower(), f"{names} that says {words!r}", str(exc))
        return
    except Exception as exc:
        raise AssertionError(f"{names} expected, not {type(exc).__name__}: {exc}") from exc
    raise AssertionError(f"{names} expected, and nothing was raised")


# The program.


def run(features: Mapping[str, Feature]) -> None:
    """Try each feature on each target that the first argument names; one JSON line on standard output for each."""
    for given in json.loads(sys.argv[1]):
        target = Target(**given)
        for name, feature in features.items():
            detail = ""
            try:
                feature(target)
            except Exception as exc:  # noqa: BLE001 - whatever a client raises is what is wrong with this feature
                detail = f"{type(exc).__name__}: {exc}"
            line = {"target": target.name, "feature": name, "ok": not detail, "detail": " ".join(detail.split())[:600]}
            sys.stdout.write(f"{json.dumps(line)}\n")
            sys.stdout.flush()
