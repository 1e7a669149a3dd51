import datetime as dt
import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import ConfigurationError
from keyrelay.replay.trace import Header, TraceRequest, load_trace, read_trace, shipped_traces, write_trace

HEADER = Header(trace="t", version=1, start=dt.datetime(2026, 11, 16, 8, tzinfo=dt.UTC), seed=3)
FIRST = b'{"trace":"t","version":1,"start":"2026-11-16T08:00:00Z"}'
REQUEST = b'{"at_s":1,"model":"m"}'

requests = st.builds(
    TraceRequest,
    at_s=st.floats(0, 86_400).map(lambda at_s: round(at_s, 3)),
    model=st.text(min_size=1, max_size=20),
    client=st.text(max_size=5),
    operation=st.sampled_from(["chat", "completions", "embeddings"]),
    stream=st.booleans(),
    input_tokens=st.integers(0, 10_000_000),
    output_tokens=st.integers(0, 10_000_000),
    max_tokens=st.none() | st.integers(0, 10_000_000),
    deadline_s=st.none() | st.floats(0.001, 86_400),
    priority=st.sampled_from(["", "batch"]),
)


@given(st.lists(requests, min_size=1, max_size=20))
def test_what_is_written_is_read(drawn: list[TraceRequest]) -> None:
    ordered = sorted(drawn, key=lambda request: request.at_s)
    data = write_trace(HEADER, ordered)
    packed, plain = read_trace(data, "t"), read_trace(gzip.decompress(data), "t")
    assert packed == plain
    assert packed.header == HEADER
    assert packed.requests == tuple(ordered)


def test_a_trace_holds_no_field_for_text() -> None:
    assert set(TraceRequest.__struct_fields__) == {
        "at_s", "model", "client", "operation", "stream", "input_tokens", "output_tokens", "max_tokens", "deadline_s",
        "priority",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "where", "problem"),
    [
        (b"", "t line 1", "this is not JSON"),
        (b"nonsense", "t line 1", "this is not JSON"),
        (b'{"trace":"t"}', "t line 1", "missing required field `version`"),
        (FIRST.replace(b":1,", b":2,"), "t line 1: version", "2 is not 1"),
        (FIRST.replace(b"Z", b""), "t line 1: start", "the time has no zone"),
        (FIRST.replace(b"Z", b"!"), "t line 1: start", "Invalid RFC3339"),
        (FIRST, "t", "the trace holds no request"),
        (FIRST + b"\n" + REQUEST + b"\n{", "t line 3", "this is not JSON"),
        (FIRST + b'\n{"at_s":-1,"model":"m"}', "t line 2: at_s", "Expected `float` >= 0.0"),
        (FIRST + b'\n{"at_s":"x","model":"m"}', "t line 2: at_s", "Expected `float`, got `str`"),
        (FIRST + b'\n{"at_s":1}', "t line 2", "missing required field `model`"),
        (FIRST + b'\n{"at_s":1,"model":"m","prompt":"secret"}', "t line 2", "unknown field `prompt`"),
        (FIRST + b'\n{"at_s":1,"model":"m","operation":"dance"}', "t line 2: operation", "Invalid enum value"),
        (FIRST + b'\n{"at_s":1,"model":"m","priority":"urgent"}', "t line 2: priority", "Invalid enum value 'urgent'"),
        (FIRST + b'\n{"at_s":1,"model":"m","deadline_s":0}', "t line 2: deadline_s", "Expected `float` > 0.0"),
        (FIRST + b"\n" + REQUEST + b'\n{"at_s":0.5,"model":"m"}', "t line 3: at_s", "goes back in time"),
        (gzip.compress(FIRST, mtime=0)[:20], "t", "the gzip is cut off"),
        (b"\x1f\x8bnonsense", "t", "the gzip is broken"),
    ],
)
def test_a_wrong_trace_is_refused_naming_line_and_field(data: bytes, where: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_trace(data, "t")
    assert refused.value.where == where
    assert problem in refused.value.problem


def test_empty_lines_mean_nothing() -> None:
    assert len(read_trace(FIRST + b"\n\n" + REQUEST + b"\n\n", "t").requests) == 1


def test_the_shipped_traces_are_found_by_name() -> None:
    assert shipped_traces() == ["burst", "day"]
    for name in shipped_traces():
        assert load_trace(name).header.trace == name


def test_a_file_is_read_and_a_missing_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(FIRST + b"\n" + REQUEST)
    assert load_trace(str(path)).requests == (TraceRequest(at_s=1, model="m"),)
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file.*burst, day"):
        load_trace(str(tmp_path / "y.jsonl"))


def test_values_that_say_nothing_are_left_out() -> None:
    assert msgspec.json.encode(TraceRequest(at_s=1.5, model="m")) == b'{"at_s":1.5,"model":"m"}'
