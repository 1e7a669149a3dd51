import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.environment import (
    MAX_FILE_BYTES,
    Environment,
    Found,
    Layer,
    numbered,
    read_env_file,
    read_text,
)
from keyrelay.configuration.findings import Findings

Layers = Callable[[dict[str, str], dict[str, str]], Environment]


@pytest.fixture
def layers(tmp_path: Path, findings: Findings) -> Layers:
    def make(real: dict[str, str], below: dict[str, str]) -> Environment:
        return Environment((Layer("environment", real), Layer(".env", below)), directory=tmp_path, findings=findings)

    return make


def test_a_real_variable_wins_over_the_file(layers: Layers) -> None:
    assert layers({"A": "real"}, {"A": "file"}).find("A") == Found("A", "real", "environment")


def test_a_layer_is_searched_for_all_names_before_the_next(layers: Layers) -> None:
    found = layers({"PORT": "1"}, {"KEYRELAY_PORT": "2"}).find("KEYRELAY_PORT", "PORT")
    assert found is not None
    assert found == Found("PORT", "1", "environment")
    assert found.source == "environment PORT"


def test_an_empty_value_is_no_value(layers: Layers) -> None:
    environment = layers({"A": "  ", "B": ""}, {"A": "file"})
    assert environment.find("A") == Found("A", "file", ".env")
    assert environment.names == ("A",)
    assert environment.empty_names == ("B",)


def test_nothing_found(layers: Layers) -> None:
    environment = layers({}, {})
    assert environment.find("A") is None
    assert environment.find_secret("A") is None


def test_reprs_hold_no_values(layers: Layers) -> None:
    environment = layers({"A": "hunter2"}, {})
    assert repr(environment) == "Environment(Layer(environment, 1 variables), Layer(.env, 0 variables))"
    assert repr(environment.find("A")) == "Found(environment A)"


class TestSecretFiles:
    def test_a_secret_may_stand_in_a_file(self, layers: Layers, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("s3cret\n")
        environment = layers({"A_FILE": "key"}, {})
        assert environment.find_secret("A") == Found("A_FILE", "s3cret", "environment")
        assert environment.files == (tmp_path / "key",)

    def test_a_real_variable_wins_over_a_file_named_in_the_env_file(
        self, layers: Layers, tmp_path: Path, findings: Findings
    ) -> None:
        (tmp_path / "key").write_text("from file")
        assert layers({"A": "real"}, {"A_FILE": "key"}).find_secret("A") == Found("A", "real", "environment")
        assert not findings.problems

    def test_both_in_one_layer_is_a_problem(self, layers: Layers, findings: Findings) -> None:
        layers({"A": "hunter2", "A_FILE": "key"}, {}).find_secret("A")
        assert str(findings.problems[0]) == "environment A_FILE: A is set as well. Keep one of A and A_FILE."

    def test_a_missing_file_is_a_problem_noted_once(self, layers: Layers, findings: Findings, tmp_path: Path) -> None:
        environment = layers({"A_FILE": "nowhere"}, {})
        assert environment.find_secret("A") is None
        assert environment.find_secret("A") is None
        (problem,) = map(str, findings.problems)
        assert problem.startswith(f"environment A_FILE: cannot read {tmp_path / 'nowhere'}: No such file or directory.")

    def test_an_empty_file_is_ignored_with_a_warning(self, layers: Layers, findings: Findings, tmp_path: Path) -> None:
        (tmp_path / "key").write_text(" \n")
        assert layers({}, {"A_FILE": "key"}).find_secret("A") is None
        assert findings.warnings == [".env A_FILE: the file holds nothing; it is ignored."]


class TestReadText:
    def test_byte_order_mark_is_no_text(self, tmp_path: Path, findings: Findings) -> None:
        (tmp_path / "file").write_bytes(b"\xef\xbb\xbftext")
        assert read_text(tmp_path / "file", where="here", findings=findings) == "text"

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (MAX_FILE_BYTES + 1)])
    def test_what_cannot_be_text_is_a_problem(self, content: bytes, tmp_path: Path, findings: Findings) -> None:
        (tmp_path / "file").write_bytes(content)
        assert read_text(tmp_path / "file", where="here", findings=findings) is None
        assert findings.problems[0].where == "here"

    def test_an_optional_file_may_be_missing_or_a_directory(self, tmp_path: Path, findings: Findings) -> None:
        assert read_text(tmp_path / "file", where="here", findings=findings, optional=True) is None
        assert read_text(tmp_path, where="here", findings=findings, optional=True) is None
        assert not findings.problems


class TestEnvFile:
    def test_values_are_taken_as_they_stand(self, tmp_path: Path, findings: Findings) -> None:
        (tmp_path / ".env").write_text(
            "A=1\nexport B=\"two words\"  # a comment\nC=${HOME}\nD\n\n# E=5\nF='x#y'\n", encoding="utf-8"
        )
        layer = read_env_file(tmp_path / ".env", findings=findings)
        assert layer == Layer(".env", {"A": "1", "B": "two words", "C": "${HOME}", "D": "", "F": "x#y"})
        assert "F" not in os.environ

    def test_a_line_that_cannot_be_read_is_named_by_number_only(
        self, tmp_path: Path, findings: Findings, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once, and by us alone: a library's own log would say it again."""
        (tmp_path / ".env").write_text("A=1\nB = 'hunter2\n")
        read_env_file(tmp_path / ".env", findings=findings)
        assert not caplog.records
        assert str(findings.problems[0]).startswith(".env line 2: cannot be read.")
        assert "hunter2" not in str(findings.problems[0])

    def test_missing_optional_file(self, tmp_path: Path, findings: Findings) -> None:
        assert read_env_file(tmp_path / ".env", findings=findings, optional=True) == Layer(".env", {})


class TestNumbered:
    def test_order_is_that_of_the_numbers(self) -> None:
        names = ["K_10", "K_2", "K_1_FILE", "K", "K_x", "K_02", "KK_3", "K_", "K_99999999999", "K_2_FILE", "K_٣"]
        assert numbered(names, "K") == ("K_1", "K_2", "K_10")

    @given(st.sets(st.integers(1, 999_999)))
    def test_every_number_is_found_in_order(self, numbers: set[int]) -> None:
        assert numbered([f"K_{number}" for number in numbers], "K") == tuple(
            f"K_{number}" for number in sorted(numbers)
        )


def test_what_other_layers_hold_is_known_by_name_and_place(tmp_path: Path) -> None:
    layers = (
        Layer("environment", {"A": "1", "B": " "}),
        Layer(".env", {"A": "2", "B": "3", "C": "4"}),
        Layer("store", {"A": "5", "D": "6"}),
    )
    environment = Environment(layers, directory=tmp_path, findings=Findings())
    assert environment.outside("store") == {"A": "environment", "B": ".env", "C": ".env"}
