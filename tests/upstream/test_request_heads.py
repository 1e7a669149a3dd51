import msgspec
import pytest

from keyrelay.core.configuration import Credential
from keyrelay.core.errors import HostBindingError
from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.ports import UpstreamCall
from keyrelay.upstream.request_heads import RequestHeads

ORIGIN = Origin("https", "provider.example", 443)


def a_call(
    *,
    target: str = "/v1",
    method: str = "POST",
    body: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
    credential: Credential | None = None,
) -> UpstreamCall:
    return UpstreamCall(
        origin=ORIGIN,
        target=target,
        credential=credential,
        body=body,
        first_byte_at=0.0,
        total_at=0.0,
        method=method,
        headers=headers,
    )


def key(secret: str = "sk-canary-0123", *, header: str = "x-api-key", prefix: str = "") -> Credential:
    return Credential(ORIGIN, header, prefix, Secret(secret))


def parts(*contents: bytes) -> tuple[memoryview, ...]:
    return tuple(map(memoryview, contents))


@pytest.fixture
def heads() -> RequestHeads:
    return RequestHeads(ORIGIN, 4)


def test_heads_differ_only_in_their_length(heads: RequestHeads) -> None:
    credential = key()
    common = (
        b"POST /v1 HTTP/1.1\r\nhost: provider.example\r\naccept-encoding: identity\r\nx-api-key: sk-canary-0123\r\n"
    )
    for body in (b"", b"x" * 12345):
        head = heads.head_of(a_call(body=body, credential=credential))
        assert head == common + b"content-length: %d\r\n\r\n" % len(body)
    assert repr(heads) == "<RequestHeads https://provider.example heads=1>"


def test_no_length_where_there_is_no_body(heads: RequestHeads) -> None:
    assert b"content-length" not in heads.head_of(a_call(method="GET"))
    assert b"content-length: 1" in heads.head_of(a_call(method="GET", body=b"x"))


def test_the_number_of_heads_is_bounded(heads: RequestHeads) -> None:
    for number in range(9):
        heads.head_of(a_call(target=f"/{number}"))
    assert repr(heads) == "<RequestHeads https://provider.example heads=1>"


def test_each_key_has_its_own_head(heads: RequestHeads) -> None:
    for number in range(20):
        assert f"sk-{number}\r".encode() in heads.head_of(a_call(credential=key(f"sk-{number}")))


def test_another_origins_key_is_refused(heads: RequestHeads) -> None:
    other = Credential(Origin("https", "evil.example", 443), "x-api-key", "", Secret("sk-canary-0123"))
    with pytest.raises(HostBindingError, match=r"bound to https://evil\.example") as caught:
        heads.head_of(a_call(credential=other))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\x7f", "\u20ac", "\ud800", "a\r\nb: c"])
def test_what_would_break_the_message_is_refused(heads: RequestHeads, bad: str) -> None:
    broken = [
        a_call(target=f"/v1{bad}"),
        a_call(method=f"GET{bad}"),
        a_call(headers=((f"x{bad}", "1"),)),
        a_call(headers=(("x", f"canary{bad}"),)),
        a_call(credential=key(f"sk-canary{bad}")),
        a_call(credential=key(prefix=f"canary{bad}")),
        a_call(credential=key(header=f"x{bad}")),
    ]
    for refused in broken:
        with pytest.raises(ValueError, match=r"target|method|header") as caught:
            heads.head_of(refused)
        assert "canary" not in str(caught.value)


def test_hosts_are_written_in_ascii() -> None:
    def head_of(host: str) -> bytes:
        origin = Origin("https", host, 8443)
        return RequestHeads(origin, 4).head_of(msgspec.structs.replace(a_call(), origin=origin))

    assert b"host: xn--mnchen-3ya.example:8443\r\n" in head_of("münchen.example")
    assert b"host: [::1]:8443\r\n" in head_of("::1")
    for host in ("bad host", "a\r\nx: y"):
        with pytest.raises(ValueError, match="host"):
            head_of(host)


@pytest.mark.parametrize(
    "refused",
    [
        a_call(target="v1"),
        a_call(target="http://evil.example/"),
        a_call(target="/a b"),
        a_call(method=""),
        a_call(headers=(("", "x"),)),
        a_call(headers=(("Host", "evil.example"),)),
        a_call(headers=(("Transfer-Encoding", "chunked"),)),
        a_call(headers=(("content-length", "0"),)),
        a_call(headers=(("accept-encoding", "gzip"),)),
        a_call(headers=(("X-Api-Key", "other"),), credential=key()),
        a_call(credential=key(header="host")),
    ],
)
def test_what_the_transport_says_itself_is_refused(heads: RequestHeads, refused: UpstreamCall) -> None:
    with pytest.raises(ValueError, match=r"target|method|header"):
        heads.head_of(refused)


def test_a_body_in_parts_has_one_length_and_a_type_of_its_own(heads: RequestHeads) -> None:
    call = a_call(body=b"12")
    for boundary in ("a", "b"):
        content_type = f"multipart/form-data; boundary={boundary}"
        head = heads.head_of(msgspec.structs.replace(call, parts=parts(b"345", b"", b"6"), content_type=content_type))
        assert head.endswith(f"\r\ncontent-type: {content_type}\r\ncontent-length: 6\r\n\r\n".encode())
    assert repr(heads) == f"<RequestHeads {ORIGIN} heads=1>"
    with pytest.raises(ValueError, match="content-type"):
        heads.head_of(msgspec.structs.replace(call, content_type="a\r\nb"))
    assert b"content-length: 1\r\n" in heads.head_of(a_call(method="GET", body=b"1"))
