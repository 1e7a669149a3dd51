"""The register of files on a real disk, written to by several workers, spoilt, full and out of reach."""

import errno
import os
import stat
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import StoreError
from keyrelay.storage import file_register
from keyrelay.storage.file_register import KEY_NAME, REGISTER_NAME, FileRegister, file_secret
from keyrelay.wire.file_lists import ListWishes


def told(name: str, **more: object) -> bytes:
    return msgspec.json.encode({"id": name, **more})


def register(directory: Path, reports: list[str] | None = None) -> FileRegister:
    return FileRegister(directory, (reports if reports is not None else []).append)


def read(files: FileRegister, client: str) -> list[bytes]:
    """What was said of a client's files, in the order in which that was, once all has been read."""
    while files.read_on():
        pass
    said = [told for (owner, _), told in files._files.items() if owner == client]
    listed = msgspec.json.decode(files.of(client).page(ListWishes(), 0.0))["data"]
    assert sorted(map(msgspec.json.encode, listed)) == sorted(said)
    return said


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestSecret:
    def test_the_first_start_makes_it_and_every_other_finds_it(self, tmp_path: Path) -> None:
        made = file_secret(tmp_path / "data")
        assert (len(made), file_secret(tmp_path / "data")) == (32, made)
        assert stat.S_IMODE((tmp_path / "data" / KEY_NAME).stat().st_mode) == 0o600
        assert names_in(tmp_path / "data") == [KEY_NAME]
        assert file_secret(tmp_path) != made

    @pytest.mark.parametrize("text", [b"", b"ab" * 31, b"no hex", b"\xff"])
    def test_a_damaged_one_is_not_replaced(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / KEY_NAME).write_bytes(text)
        with pytest.raises(StoreError, match="damaged") as caught:
            file_secret(tmp_path)
        assert caught.value.lasting
        assert (tmp_path / KEY_NAME).read_bytes() == text

    def test_a_place_that_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="cannot be kept"):
            file_secret(tmp_path / "file" / "data")


class TestRegister:
    def test_each_client_sees_its_own_files_in_the_order_in_which_they_came(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        assert read(files, "a") == []
        for client, name in (("a", "1"), ("b", "2"), ("a", "3")):
            files.add(client, name, told(name))
        assert (read(files, "a"), read(files, "b"), read(files, "c")) == ([told("1"), told("3")], [told("2")], [])
        assert stat.S_IMODE((tmp_path / REGISTER_NAME).stat().st_mode) == 0o600

    def test_what_is_forgotten_is_gone_for_its_owner_only(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        for client in ("a", "b"):
            files.add(client, "1", told("1"))
        files.forget("a", "1")
        assert (read(files, "a"), read(files, "b")) == ([], [told("1")])

    def test_what_is_said_last_counts(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        files.add("a", "1", told("1", status="uploaded"))
        files.add("a", "1", b'{"id": "1",\n  "status": "processed"}')
        assert read(files, "a") == [told("1", status="processed")]

    def test_workers_and_later_starts_see_what_others_put_down(self, tmp_path: Path) -> None:
        one, other = register(tmp_path), register(tmp_path)
        one.add("a", "1", told("1"))
        assert read(other, "a") == [told("1")]
        other.forget("a", "1")
        one.add("a", "2", told("2"))
        assert read(one, "a") == read(other, "a") == read(register(tmp_path), "a") == [told("2")]

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123"), st.booleans(), st.integers(0, 1))))
    def test_two_workers_agree_with_a_table(
        self, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, bool, int]]
    ) -> None:
        directory = tmp_path_factory.mktemp("data")
        workers = (register(directory), register(directory))
        table: dict[tuple[str, str], bytes] = {}
        for at, (client, name, comes, worker) in enumerate(steps):
            table.pop((client, name), None)
            if comes:
                table[client, name] = told(name, at=at)
                workers[worker].add(client, name, told(name, at=at))
            else:
                workers[worker].forget(client, name)
            wanted = [value for (owner, _), value in table.items() if owner == client]
            assert read(workers[1 - worker], client) == wanted

    def test_lines_that_cannot_be_read_are_passed_over(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        files.add("a", "1", told("1"))
        with (tmp_path / REGISTER_NAME).open("ab") as file:
            file.write(b'{"client":"a","id":"2","fi\n\xff\xfe\n{"client":"a","id":"3"')
        assert read(files, "a") == [told("1")]
        assert "1 files read" in repr(files)

    def test_an_object_that_is_too_long_is_not_listed(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        files.add("a", "1", told("1", filename="a" * file_register.MAX_OBJECT_BYTES))
        assert read(files, "a") == []

    def test_it_begins_anew_when_somebody_took_it_away(self, tmp_path: Path) -> None:
        files = register(tmp_path)
        files.add("a", "1", told("1"))
        assert read(files, "a") == [told("1")]
        (tmp_path / REGISTER_NAME).unlink()
        assert read(files, "a") == []
        files.add("a", "2", told("2"))
        assert read(files, "a") == [told("2")]

    def test_it_is_read_a_slice_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_register, "SLICE_BYTES", 200)
        writing, files = register(tmp_path), register(tmp_path)
        for number in range(50):
            writing.add("a", f"{number}", told(f"{number}"))
        with (tmp_path / REGISTER_NAME).open("ab") as file:
            file.write(b"x" * 1_000 + b"\n")
        writing.add("a", "last", told("last"))
        slices = [len(files.of("a"))]
        while files.read_on():
            slices.append(len(files.of("a")))
        assert [after - before <= 5 for before, after in pairwise(slices)] == [True] * (len(slices) - 1)
        assert len(slices) > 10
        assert len(files.of("a")) == 51
        assert not files.read_on()

    def test_a_long_one_is_rewritten_without_what_is_gone_and_then_without_the_oldest(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_register, "MAX_REGISTER_BYTES", 2_000)
        files, other = register(tmp_path), register(tmp_path)
        files.add("a", "first", told("first"))
        for number in range(200):
            files.add("b", "x", told("x", number=number))
        assert read(other, "a") == [told("first")]
        assert read(other, "b") == [told("x", number=199)]
        for number in range(200):
            other.add("a", f"{number:03}", told(f"{number:03}"))
        found = read(files, "a")
        assert found[-1] == told("199")
        assert 10 < len(found) < 60
        assert (tmp_path / REGISTER_NAME).stat().st_size <= 2_000
        assert names_in(tmp_path) == ["files.jsonl", "files.lock"]

    def test_a_directory_that_is_gone_stops_nobody(self, tmp_path: Path) -> None:
        reports: list[str] = []
        files = register(tmp_path / "gone", reports)
        files.add("a", "1", told("1"))
        assert read(files, "a") == []
        assert len(reports) == 1
        assert "cannot be written" in reports[0]

    def test_what_cannot_be_read_is_said(self, tmp_path: Path) -> None:
        reports: list[str] = []
        (tmp_path / REGISTER_NAME).mkdir()
        assert read(register(tmp_path, reports), "a") == []
        assert "cannot be read" in reports[0]

    def test_a_full_disk_leaves_no_half_of_a_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reports: list[str] = []
        files = register(tmp_path, reports)
        files.add("a", "1", told("1"))
        write = os.write
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda fd, data: write(fd, data[: len(data) // 2]))
            files.add("a", "2", told("2"))
        files.add("a", "3", told("3"))
        assert read(files, "a") == [told("1"), told("3")]
        assert len(reports) == 1

    def test_a_disk_that_is_too_full_for_a_shorter_one_is_not_filled_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_register, "MAX_REGISTER_BYTES", 200)
        reports: list[str] = []
        files = register(tmp_path, reports)

        def refuse(self: Path, target: Path) -> Path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "replace", refuse)
        for number in range(9):
            files.add("a", f"{number}", told(f"{number}"))
        assert len(read(files, "a")) == 9
        assert len(reports) > 1
        assert names_in(tmp_path) == ["files.jsonl", "files.lock"]
