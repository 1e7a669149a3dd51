from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.findings import Findings
from keyrelay.configuration.keys import ParsedKey, SourcedKey, key_names, keyless, parse_keys, read_keys
from keyrelay.core.secrets import Secret
from tests.configuration.helpers import MakeEnvironment, provider_row

KEY = "gsk_0123456789abcdef"
OTHER = "gsk_fedcba9876543210"

Read = Callable[..., tuple[SourcedKey, ...]]

_labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}", fullmatch=True)
_keys = st.from_regex(r"[A-Za-z0-9_-]{20,60}={0,2}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (KEY, [("", "", KEY)]),
        (f"{KEY},{OTHER}", [("", "", KEY), ("", "", OTHER)]),
        (f" alice={KEY} , ,team:bob={OTHER},", [("", "alice", KEY), ("team", "bob", OTHER)]),
        (f"{KEY}\n{OTHER}\n", [("", "", KEY), ("", "", OTHER)]),
        ("c2VjcmV0==", [("", "", "c2VjcmV0==")]),
        ("alice=c2VjcmV0==", [("", "alice", "c2VjcmV0==")]),
        ("id:secret", [("", "", "id:secret")]),
        ("team:id=a:b=c", [("team", "id", "a:b=c")]),
        (f"{'x' * 40}={KEY}", [("", "", f"{'x' * 40}={KEY}")]),
        (f"bad label={KEY}", [("", "", f"bad label={KEY}")]),
    ],
)
def test_forms(text: str, parsed: list[tuple[str, str, str]]) -> None:
    assert [(each.account, each.label, each.secret.reveal()) for each in parse_keys(text)] == parsed


@given(st.lists(st.tuples(st.one_of(st.just(""), _labels), st.one_of(st.just(""), _labels), _keys)))
def test_what_is_written_is_read(entries: list[tuple[str, str, str]]) -> None:
    entries = [(account if label else "", label, key) for account, label, key in entries]
    text = ",".join(
        f"{account}:{label}={key}" if account else f"{label}={key}" if label else key for account, label, key in entries
    )
    assert parse_keys(text) == tuple(ParsedKey(Secret(key), label, account) for account, label, key in entries)


@given(st.text())
def test_any_text_parses(text: str) -> None:
    for parsed in parse_keys(text):
        assert parsed.secret or parsed.label


def test_every_variable_that_may_hold_keys() -> None:
    row = provider_row("groq", key_env=("GQ_TOKEN",))
    names = key_names(row, "GROQ", names=["GROQ_API_KEY_3", "GROQ_API_KEY_2_FILE", "X"])
    assert names == ("GROQ_API_KEY", "GROQ_API_KEY_2", "GROQ_API_KEY_3", "GQ_TOKEN", "GROQ_API_KEYS")


class TestReadKeys:
    @pytest.fixture
    def read(self, environment: MakeEnvironment, findings: Findings) -> Read:
        def read(**variables: str) -> tuple[SourcedKey, ...]:
            names = tuple(variables)
            return read_keys(provider_row(), names, environment=environment(**variables), findings=findings)

        return read

    def test_labels_and_accounts(self, read: Read) -> None:
        keys = [each.key for each in read(A=f"alice={KEY},team:bob={OTHER}")]
        assert [(key.id, key.account, key.secret) for key in keys] == [
            ("groq/alice", "alice", Secret(KEY)),
            ("groq/bob", "team", Secret(OTHER)),
        ]

    def test_a_key_without_label_is_called_by_its_fingerprint_wherever_it_stands(self, read: Read) -> None:
        label = Secret(KEY).fingerprint
        assert [each.key.label for each in read(A=f"{OTHER},{KEY}")][1] == label
        assert [each.key.label for each in read(A=KEY)] == [label]
        assert read(A=KEY)[0].key.account == label

    def test_source_is_the_variable(self, read: Read) -> None:
        assert [each.source for each in read(A=KEY, B=OTHER)] == ["environment A", "environment B"]

    def test_a_second_use_of_a_secret_is_dropped_with_a_warning(self, read: Read, findings: Findings) -> None:
        assert len(read(A=f"alice={KEY}", B=f"bob={KEY}")) == 1
        assert findings.warnings == ["environment B entry 1: this key stands there already; the first one counts."]

    def test_a_second_use_of_a_label_is_refused(self, read: Read, findings: Findings) -> None:
        read(A=f"alice={KEY}", B=f"alice={OTHER}")
        (problem,) = map(str, findings.problems)
        assert problem.startswith("environment B entry 1: the label alice is used already, in environment A. ")

    @pytest.mark.parametrize("bad", ["gsk_ 0123456789", "gsk_é0123456789", "gsk_\x7f123456789"])
    def test_what_no_header_can_carry_is_refused_unseen(self, bad: str, read: Read, findings: Findings) -> None:
        assert read(A=f"{KEY},{bad}")[0].key.secret == Secret(KEY)
        problem = str(findings.problems[0])
        assert problem.startswith("environment A entry 2: holds spaces or characters")
        assert bad not in problem
        assert "0123456789" not in problem

    @pytest.mark.parametrize(
        "text", ["your_groq_api_key", "your-key-here", "<key>", "xxxx", "sk-...", "changeme", "YOUR API"]
    )
    def test_placeholders_are_no_keys(self, text: str, read: Read, findings: Findings) -> None:
        assert read(A=text) == () or findings.problems
        assert not findings.warnings or "placeholder" in findings.warnings[0]

    def test_empty_variables_are_ignored_with_a_warning(self, read: Read, findings: Findings) -> None:
        assert read(A="", B=KEY)[0].key.secret == Secret(KEY)
        assert findings.warnings == ["A: is empty and therefore ignored."]

    def test_there_is_a_bound(self, read: Read, findings: Findings) -> None:
        read(A=",".join(f"key-number-{number:05}" for number in range(1001)))
        assert str(findings.problems[0]) == "groq: has more than 1000 keys. Remove some."

    def test_how_keys_are_shown(self, read: Read) -> None:
        shown = [each.shown for each in read(A=f"alice={KEY},team:bob={OTHER}")]
        assert [(each.name, each.value) for each in shown] == [
            ("providers.groq.keys.alice", "…cdef"),
            ("providers.groq.keys.bob", "…3210 (account team)"),
        ]
        assert keyless(provider_row(), "environment X").shown.value == "none needed"
