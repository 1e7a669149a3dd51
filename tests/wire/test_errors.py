import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.core.failures import ProviderError
from keyrelay.wire.errors import embedded_status, encode_error, encode_error_event, read_error

NOW_S = 1_763_726_400.0


def read(status: int, body: Any, **headers: str) -> ProviderError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return read_error(status, raw, {name.replace("_", "-"): value for name, value in headers.items()}, NOW_S)


def quota_failure(quota_id: str, value: str, delay: str) -> dict[str, Any]:
    return {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota… Please retry in 45.578569677s.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [
                        {
                            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
                            "quotaId": quota_id,
                            "quotaDimensions": {"location": "global", "model": "gemini-2.5-flash"},
                            "quotaValue": value,
                        }
                    ],
                },
                {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "x", "url": "y"}]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
            ],
        }
    }


PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"

PERPLEXITY_PAGE = b"""<html>\r
<head><title>401 Authorization Required</title></head>\r
<body>\r
<center><h1>401 Authorization Required</h1></center>\r
<hr><center>openresty/1.25.3.1</center>\r
</body>\r
</html>\r
"""

# Who says it, status, body, message, codes.
SHAPES: list[tuple[str, int, Any, str, tuple[str, ...]]] = [
    (
        "OpenAI",
        401,
        {
            "error": {
                "message": "Incorrect API key provided: sk-thisi****lkey.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
                "param": None,
            },
            "status": 401,
        },
        "Incorrect API key provided: sk-thisi****lkey.",
        ("invalid_api_key", "invalid_request_error", "401"),
    ),
    (
        "Together, with an id beside",
        402,
        {
            "id": "x",
            "error": {"message": "Credit limit exceeded.", "type": "credit_limit", "param": None, "code": None},
        },
        "Credit limit exceeded.",
        ("credit_limit",),
    ),
    (
        "Azure",
        400,
        {"error": {"code": "content_filter", "message": "No.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "No.",
        ("content_filter", "responsibleaipolicyviolation"),
    ),
    (
        "vLLM",
        400,
        {"error": {"message": "Too long.", "type": "BadRequestError", "param": None, "code": 400}},
        "Too long.",
        ("400", "badrequesterror"),
    ),
    (
        "OpenRouter",
        402,
        {
            "error": {
                "code": 402,
                "message": "Key limit exceeded.",
                "metadata": {"error_type": "payment_required", "provider_name": "x"},
            },
            "user_id": "u",
        },
        "Key limit exceeded.",
        ("402", "payment_required"),
    ),
    (
        "Gemini",
        400,
        {
            "error": {
                "code": 400,
                "message": "API key not valid.",
                "status": "INVALID_ARGUMENT",
                "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
            }
        },
        "API key not valid.",
        ("400", "invalid_argument", "api_key_invalid"),
    ),
    (
        "Gemini in a list",
        404,
        [{"error": {"code": 404, "message": "models/x is not found.", "status": "NOT_FOUND"}}],
        "models/x is not found.",
        ("404", "not_found"),
    ),
    (
        "Anthropic",
        429,
        {
            "type": "error",
            "error": {
                "type": "rate_limit_error",
                "message": "Too fast.",
                "details": {"error_code": "ramp_limit_exceeded"},
            },
            "request_id": "req_1",
        },
        "Too fast.",
        ("rate_limit_error", "error", "ramp_limit_exceeded"),
    ),
    (
        "Cerebras",
        401,
        {"message": "Wrong API Key", "type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"},
        "Wrong API Key",
        ("wrong_api_key", "invalid_request_error"),
    ),
    (
        "Mistral",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"},
        "Invalid model: x",
        ("1500", "invalid_model"),
    ),
    ("Mistral's gateway", 401, {"message": "Unauthorized", "request_id": "x"}, "Unauthorized", ()),
    ("Mistral in one word", 401, {"detail": "Invalid API Key"}, "Invalid API Key", ()),
    (
        "Mistral's validation",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs.", "input": "spend limit"}]},
        "Extra inputs.",
        ("extra_forbidden",),
    ),
    ("Cohere", 401, {"id": "x", "message": "invalid api token"}, "invalid api token", ()),
    ("Ollama", 404, {"error": "model 'x' not found"}, "model 'x' not found", ()),
    ("Ollama with an address", 401, {"error": "unauthorized", "signin_url": "https://x"}, "unauthorized", ()),
    (
        "xAI",
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***na."},
        "Incorrect API key provided: xa***na.",
        ("client specified an invalid argument",),
    ),
    (
        "NVIDIA",
        403,
        {"status": 403, "title": "Forbidden", "detail": "Authorization failed"},
        "Authorization failed",
        ("403",),
    ),
    ("NVIDIA without detail", 429, {"status": 429, "title": "Too Many Requests"}, "Too Many Requests", ("429",)),
    ("DeepInfra", 402, {"detail": {"error": "You need positive balance."}}, "You need positive balance.", ()),
    (
        "DeepInfra in a list",
        402,
        {"detail": [{"error": "You need positive balance."}]},
        "You need positive balance.",
        (),
    ),
    (
        "Cloudflare",
        429,
        {"result": None, "success": False, "errors": [{"code": 3036, "message": "Out of neurons."}], "messages": []},
        "Out of neurons.",
        ("3036",),
    ),
    (
        "Perplexity",
        401,
        PERPLEXITY_PAGE,
        "401 Authorization Required 401 Authorization Required openresty/1.25.3.1",
        (),
    ),
    ("an empty body", 410, b"", "", ()),
    ("a text", 503, b"upstream connect error\n", "upstream connect error", ()),
    ("bytes", 502, b"\xff\xfe\x00", "\ufffd\ufffd\x00", ()),
    ("null", 500, b"null", "null", ()),
    ("a number", 500, b"5", "", ()),
    ("a string", 500, b'"Down."', "Down.", ()),
    ("a list of strings", 500, b'["Down.","Out."]', "Down.", ()),
    ("an empty list", 500, b"[]", "", ()),
    ("a list in a list", 500, b'[[{"error":"x"}]]', "", ()),
    ("an empty object", 500, b"{}", "", ()),
    ("an error that is null", 500, {"error": None, "message": "Down."}, "Down.", ()),
    ("an error that is a number", 500, {"error": 5, "message": "Down.", "code": 7}, "Down.", ("7",)),
    ("an error that is an empty list", 500, {"errors": [], "detail": "Down."}, "Down.", ()),
    ("a list of errors in words", 422, {"error": ["Down.", "Out."]}, "Down.", ()),
    ("a message that is none", 500, {"error": {"message": {"a": 1}, "detail": "Down."}}, "Down.", ()),
]


@pytest.mark.parametrize(("who", "status", "body", "message", "codes"), SHAPES, ids=[who for who, *_ in SHAPES])
def test_every_shape_is_read(who: str, status: int, body: Any, message: str, codes: tuple[str, ...]) -> None:
    error = read(status, body)
    assert (error.status, error.message, error.codes) == (status, message, codes)
    assert (error.hint_s, error.should_retry, error.detail) == (None, None, "")


def test_the_field_at_fault_is_named() -> None:
    assert read(400, {"error": {"message": "No.", "param": "temperature"}}).param == "temperature"
    assert read(400, {"error": {"message": "No.", "param": ["temperature"]}}).param is None


class TestCodes:
    @pytest.mark.parametrize("code", [None, True, False, 1.5, "", [], ["x"], {"x": 1}])
    def test_what_is_no_code_is_none(self, code: object) -> None:
        assert read(400, {"error": {"message": "x", "code": code, "type": "T"}}).codes == ("t",)

    def test_numbers_and_texts_are_compared_as_texts_in_lower_case(self) -> None:
        assert read(400, {"error": {"code": 429, "type": "RATE", "status": "x"}}).codes == ("429", "rate", "x")

    def test_each_one_once_those_inside_first(self) -> None:
        body = {"code": "outer", "type": "same", "error": {"code": "inner", "type": "same"}}
        assert read(400, body).codes == ("inner", "same", "outer")

    def test_their_number_and_length_are_bounded(self) -> None:
        details = [{"code": f"{index}" + "x" * 500} for index in range(100)]
        codes = read(400, {"error": {"details": details}}).codes
        assert len(codes) == 16
        assert {len(code) for code in codes} == {100}

    def test_long_numbers_do_no_harm(self) -> None:
        assert read(400, b'{"error":{"code":' + b"9" * 5000 + b',"message":"x"}}').status == 400
        assert read(400, b'{"error":{"code":' + b"9" * 4000 + b"}}").codes == ("9" * 100,)


class TestDetails:
    def test_gemini_names_quota_and_amount(self) -> None:
        error = read(429, quota_failure(PER_DAY, "20", "45s"))
        assert error.detail == f"{PER_DAY}=20"
        assert error.hint_s == 45.0

    def test_gemini_names_the_project(self) -> None:
        metadata = {"service": "generativelanguage.googleapis.com", "consumer": "projects/123"}
        assert read(429, {"error": {"details": [{"metadata": metadata}]}}).detail == "projects/123"

    def test_openrouter_names_what_limits(self) -> None:
        metadata = {"limit_source": "openrouter_key_limit", "provider_code": "p1", "raw": "API key invalid"}
        assert read(402, {"error": {"code": 402, "metadata": metadata}}).detail == "openrouter_key_limit p1"

    @pytest.mark.parametrize(
        "details",
        [
            None,
            5,
            "text",
            True,
            [5, None, "x", []],
            {"violations": 5},
            {"violations": True},
            {"violations": "text"},
            {"violations": {"quotaId": "x"}},
            {"violations": [5, None, "x"]},
            {"headers": "x", "retryDelay": {"seconds": 5}},
            {"headers": {"X-RateLimit-Reset": []}, "resets_at": None},
            {"limit_source": 5, "provider_code": ["x"]},
            [{"retryDelay": "garbage"}],
        ],
    )
    @pytest.mark.parametrize("name", ["details", "metadata", "innererror"])
    def test_bug_details_of_another_type_raised(self, name: str, details: object) -> None:
        error = read(429, {"error": {"message": "x", name: details}})
        assert (error.message, error.detail, error.hint_s) == ("x", "", None)

    def test_violations_without_their_members(self) -> None:
        assert read(429, {"error": {"details": [{"violations": [{}, {"quotaValue": 0}]}]}}).detail == "= =0"

    def test_their_length_is_bounded(self) -> None:
        assert len(read(429, {"error": {"metadata": {"limit_source": "x" * 5000}}}).detail) == 1000


class TestHints:
    @pytest.mark.parametrize(
        ("metadata", "hint_s"),
        [
            ({"headers": {"X-RateLimit-Reset": f"{(NOW_S + 40) * 1000:.0f}"}}, 40.0),
            ({"headers": {"X-RateLimit-Reset": int((NOW_S + 40) * 1000)}}, 40.0),
            ({"headers": {"X-RateLimit-Reset": "0"}}, 0.5),
            ({"retryDelay": "34.5s"}, 34.5),
            ({"retryDelay": 12}, 12.0),
            ({"retryDelay": "-5"}, 0.5),
            ({"retryDelay": "1e300"}, 93_600.0),
            ({"retryDelay": "x", "headers": {"X-RateLimit-Reset": "7"}}, 7.0),
            ({"retryDelay": True}, None),
        ],
    )
    def test_in_the_details(self, metadata: dict[str, Any], hint_s: float | None) -> None:
        assert read(429, {"error": {"metadata": metadata}}).hint_s == hint_s

    @pytest.mark.parametrize(
        ("resets_at", "hint_s"),
        [("2025-11-21T12:05:00Z", 300.0), (NOW_S + 60, 60.0), ("2026-01-01T00:00:00Z", 93_600.0)],
    )
    def test_bug_when_openrouters_budget_resets_was_not_read(self, resets_at: object, hint_s: float) -> None:
        metadata = {"limit_source": "openrouter_workspace_budget", "resets_at": resets_at}
        assert read(403, {"error": {"code": 403, "metadata": metadata}}).hint_s == hint_s

    def test_the_first_of_several_details_counts(self) -> None:
        details = [{"retryDelay": "garbage"}, {"retryDelay": "3s"}, {"retryDelay": "9s"}]
        assert read(429, {"error": {"details": details}}).hint_s == 3.0

    def test_headers_before_details_before_words(self) -> None:
        body = quota_failure(PER_DAY, "20", "45s")
        assert read(429, body, retry_after="7").hint_s == 7.0
        assert read(429, body).hint_s == 45.0
        body["error"]["details"].pop()
        assert read(429, body).hint_s == 45.578569677

    @pytest.mark.parametrize(
        "body",
        [b"Too many requests. Please try again in 20s.", b"<p>Please try again in <b>20s</b></p>", b'"Retry in 20s"'],
    )
    def test_bug_the_words_of_a_plain_text_were_not_read(self, body: bytes) -> None:
        assert read(429, body).hint_s == 20.0
        assert read(429, body, retry_after="7").hint_s == 7.0

    @pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False), ("maybe", None), ("", None)])
    def test_whether_to_try_again_at_all(self, value: str, *, expected: bool | None) -> None:
        assert read(500, b"", x_should_retry=value).should_retry is expected


class TestLength:
    def test_a_message_is_cut(self) -> None:
        assert read(400, {"error": {"message": "x" * 5000}}).message == "x" * 1000
        assert read(400, b"x" * 5000).message == "x" * 1000

    def test_a_hint_behind_the_cut_is_read_all_the_same(self) -> None:
        assert read(429, {"error": {"message": "x" * 5000 + " try again in 20s"}}).hint_s == 20.0

    def test_of_a_huge_body_the_beginning_is_read_as_text(self) -> None:
        body = msgspec.json.encode({"error": {"message": "x" * 300_000}})
        assert read(400, body).message.startswith('{"error":{"message":"xxx')

    @pytest.mark.parametrize(
        "body", [b"<" * 300_000, b"<a " * 100_000, b" " * 300_000, b"[" * 300_000, b'{"a":' * 60_000]
    )
    def test_bug_a_hostile_page_took_long(self, body: bytes) -> None:
        began = time.perf_counter()
        read(500, body)
        assert time.perf_counter() - began < 0.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["error", "errors", "detail", "details", "metadata", "message", "code", "status", "violations", "headers",
             "retryDelay", "resets_at", "X-RateLimit-Reset", "quotaId", "param", "type", "msg"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    JSON.map(msgspec.json.encode) | st.binary(max_size=60), st.dictionaries(st.text(max_size=20), st.text(max_size=20))
)
def test_no_answer_raises(body: bytes, headers: dict[str, str]) -> None:
    error = read_error(429, body, headers, NOW_S)
    assert error.hint_s is None or 0.5 <= error.hint_s <= 93_600.0
    assert all(code == code.lower() for code in error.codes if code.isascii())
    assert 400 <= embedded_status(body) < 600
    again = read_error(429, body, {"retry-after": "x", "x-ratelimit-reset": "5", "x-ratelimit-remaining": "0"}, NOW_S)
    assert again.hint_s == 5.0


class TestEmbeddedStatus:
    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"error": {"code": 503}}, 503),
            ({"error": {"code": "429"}}, 429),
            ({"error": {"code": "overloaded", "status": 529}}, 529),
            ({"error": {"message": "x"}, "status_code": 400}, 400),
            ({"error": {"status_code": 404}}, 404),
            ([{"error": {"code": 503}}], 503),
            ({"code": 500, "message": "x"}, 500),
            ({"error": "down"}, 502),
            ({"error": None}, 502),
            ({"error": {"code": 200}}, 502),
            ({"error": {"code": 600}}, 502),
            ({"error": {"code": 4290}}, 502),
            ({"error": {"code": True}}, 502),
            ({"error": {"code": 429.0}}, 502),
            ({"error": {"code": "-429"}}, 502),
            ({"error": {"code": "٤٢٩"}}, 502),
            ({"error": {"code": [429]}}, 502),
            ({}, 502),
            (b"nonsense", 502),
            (b"null", 502),
            (b"", 502),
        ],
    )
    def test_it_is_the_errors_own_or_that_of_a_bad_gateway(self, body: Any, status: int) -> None:
        assert embedded_status(body if isinstance(body, bytes) else msgspec.json.encode(body)) == status

    def test_bug_a_code_of_five_thousand_digits_raised(self) -> None:
        assert embedded_status(b'{"error":{"code":"' + b"9" * 5000 + b'"}}') == 502


class TestOwnErrors:
    ERROR = CallerError(429, "Later. é", kind="rate_limit_error", code="all_limited", param="model")

    def test_openais_shape(self) -> None:
        assert (
            encode_error(self.ERROR).decode()
            == '{"error":{"message":"Later. é","type":"rate_limit_error","param":"model","code":"all_limited"}}'
        )

    def test_the_decision_goes_into_a_member_of_its_own(self) -> None:
        error = CallerError(503, "No.", detail={"candidates": []})
        assert msgspec.json.decode(encode_error(error)) == {
            "error": {
                "message": "No.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
                "keyrelay": {"candidates": []},
            }
        }

    def test_as_an_event_nothing_follows_it(self) -> None:
        assert encode_error_event(self.ERROR) == b"data: " + encode_error(self.ERROR) + b"\n\n"

    def test_what_is_said_is_read_back(self) -> None:
        error = read(429, encode_error(self.ERROR))
        assert (error.message, error.codes, error.param) == ("Later. é", ("all_limited", "rate_limit_error"), "model")
