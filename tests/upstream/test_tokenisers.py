"""Prompts are counted by vocabularies that are at hand, and the network is never asked for one that is not."""

import base64
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from keyrelay.upstream.tokenisers import MAX_COUNTED_BYTES, VOCABULARIES, Tokenisers, Vocabulary

URL = "https://vocabularies.example/tiny.tiktoken"
WORDS = ["hello", " world", "hel", "lo", " wor", "ld", "user"]
PICTURE = base64.b64encode(bytes(range(256)) * 4).decode()


def ranks() -> dict[bytes, int]:
    """Single bytes, and what the words above are merged from."""
    pieces = [bytes([number]) for number in range(256)]
    for word in WORDS:
        pieces += [word[:end].encode() for end in range(2, len(word) + 1)]
    return {piece: rank for rank, piece in enumerate(dict.fromkeys(pieces))}


FILE = b"".join(base64.b64encode(piece) + b" %d\n" % rank for piece, rank in ranks().items())
PLUGIN = f"""
from tiktoken.load import load_tiktoken_bpe

def tiny():
    ranks = load_tiktoken_bpe({URL!r}, expected_hash={hashlib.sha256(FILE).hexdigest()!r})
    return {{"name": "tiny", "pat_str": r"\\s?\\S+|\\s+", "mergeable_ranks": ranks, "special_tokens": {{}}}}

ENCODING_CONSTRUCTORS = {{"tiny": tiny}}
"""
TINY = Vocabulary("tiny", URL, hashlib.sha256(FILE).hexdigest(), models=("acme-1",))
MAIN = """
import json, sys

def offline(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.sendto")):
        raise SystemExit(f"went to the network: {event} {arguments}")

sys.addaudithook(offline)
from keyrelay.upstream.tokenisers import Vocabulary, open_tokenisers
assert "tiktoken" not in sys.modules
url, sha256, models, body = json.loads(sys.argv[1])
tokenisers = open_tokenisers(models, (Vocabulary("tiny", url, sha256, models=("acme-1",)),))
name = tokenisers.vocabulary_of("acme-1")
print(json.dumps([repr(tokenisers), name, tokenisers.count(name, body.encode()), tokenisers.notes]))
"""


def tiny() -> Tokenisers:
    encoding = tiktoken.Encoding("tiny", pat_str=r"\s?\S+|\s+", mergeable_ranks=ranks(), special_tokens={})
    return Tokenisers({"tiny": encoding}, {"acme-1": "tiny"})


def run(tmp_path: Path, environ: dict[str, str], models: tuple[str, ...] = ("acme-1",), body: str = "{}") -> list[Any]:
    """What a process of its own sees, with a plug-in of tiktoken's that knows the vocabulary."""
    plugins = tmp_path / "plugins" / "tiktoken_ext"
    plugins.mkdir(parents=True, exist_ok=True)
    (plugins / "tiny_public.py").write_text(PLUGIN, encoding="utf-8")
    path = [str(plugins.parent), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, json.dumps([URL, TINY.sha256, models, body])],
        env={"PYTHONPATH": ":".join(path), "TMPDIR": str(tmp_path), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def cached(directory: Path, content: bytes = FILE) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / TINY.file_name
    file.write_bytes(content)
    return file


class TestOpening:
    @pytest.mark.parametrize(
        ("directory", "variable"),
        [("cache", "TIKTOKEN_CACHE_DIR"), ("cache", "DATA_GYM_CACHE_DIR"), ("data-gym-cache", "")],
    )
    def test_a_vocabulary_in_the_cache_counts(self, tmp_path: Path, directory: str, variable: str) -> None:
        cached(tmp_path / directory)
        body = json.dumps({"messages": [{"role": "user", "content": "hello world"}]})
        environ = {variable: str(tmp_path / directory)} if variable else {}
        assert run(tmp_path, environ, body=body) == ["<Tokenisers tiny>", "tiny", 3 + 3 + 1 + 2, []]

    def test_one_that_is_not_there_is_not_fetched(self, tmp_path: Path) -> None:
        shown, name, count, notes = run(tmp_path, {"TIKTOKEN_CACHE_DIR": str(tmp_path / "nowhere")})
        assert (shown, name, count) == ("<Tokenisers none>", "", None)
        place = tmp_path / "nowhere" / TINY.file_name
        assert notes == [f"Prompts of tiny are estimated: {place} cannot be read (No such file or directory)."]

    def test_a_damaged_one_is_neither_fetched_nor_removed(self, tmp_path: Path) -> None:
        file = cached(tmp_path / "cache", FILE[:-5])
        _, name, _, notes = run(tmp_path, {"TIKTOKEN_CACHE_DIR": str(tmp_path / "cache")})
        assert (name, notes) == ("", [f"Prompts of tiny are estimated: {file} is not the file that tiktoken wants."])
        assert file.read_bytes() == FILE[:-5]

    def test_without_a_cache_nothing_is_loaded(self, tmp_path: Path) -> None:
        notes = run(tmp_path, {"TIKTOKEN_CACHE_DIR": ""})[3]
        assert notes == ["Prompts of tiny are estimated: tiktoken's cache is switched off."]

    def test_only_what_the_models_need_is_loaded(self, tmp_path: Path) -> None:
        cached(tmp_path / "cache")
        assert run(tmp_path, {"TIKTOKEN_CACHE_DIR": str(tmp_path / "cache")}, ("llama3",))[::3] == [
            "<Tokenisers none>",
            [],
        ]

    def test_without_tiktoken_prompts_are_estimated(self, tmp_path: Path) -> None:
        broken = tmp_path / "plugins" / "tiktoken"
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text("raise ImportError('not here')", encoding="utf-8")
        assert run(tmp_path, {}) == [
            "<Tokenisers none>",
            "",
            None,
            ["tiktoken is not installed, so that prompts are estimated."],
        ]

    def test_the_names_of_the_files_are_those_of_tiktoken(self) -> None:
        names = {vocabulary.name: vocabulary.file_name for vocabulary in VOCABULARIES}
        assert names == {
            "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
            "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
            "o200k_harmony": "fb374d419588a4632f3f557e76b4b70aebbca790",
        }

    def test_addresses_and_digests_are_those_of_the_installed_tiktoken(self) -> None:
        source = (Path(tiktoken.__file__).parents[1] / "tiktoken_ext" / "openai_public.py").read_text(encoding="utf-8")
        for vocabulary in VOCABULARIES:
            assert f'"{vocabulary.url}",\n        expected_hash="{vocabulary.sha256}"' in source


class TestModels:
    @pytest.mark.parametrize(
        ("model", "vocabulary"),
        [
            ("gpt-4o", "o200k_base"),
            ("gpt-5.4-mini", "o200k_base"),
            ("openai/gpt-oss-120b", "o200k_harmony"),
            ("@cf/openai/gpt-oss-20b", "o200k_harmony"),
            ("openai/gpt-oss-20b:free", "o200k_harmony"),
            ("gpt-4-0613", "cl100k_base"),
            ("ft:gpt-4o:acme::1", "o200k_base"),
            ("text-embedding-3-small", "cl100k_base"),
            ("davinci", ""),
            ("llama-3.3-70b", ""),
            ("", ""),
        ],
    )
    def test_a_model_is_known_whoever_serves_it(self, model: str, vocabulary: str) -> None:
        encoding = tiktoken.Encoding("x", pat_str=r".", mergeable_ranks=ranks(), special_tokens={})
        at_hand = Tokenisers({each.name: encoding for each in VOCABULARIES}, {})
        assert at_hand.vocabulary_of(model) == vocabulary
        assert Tokenisers({}, {}).vocabulary_of(model) == ""


class TestCounting:
    @pytest.mark.parametrize(
        ("request_body", "tokens"),
        [
            ({"messages": [{"role": "user", "content": "hello world"}]}, 3 + 3 + 1 + 2),
            ({"messages": [{"role": "user", "content": "hello"}, {"role": "user", "content": "hello"}]}, 3 + 2 * 5),
            ({"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}, 3 + 3 + 1 + 1),
            ({"input": "hello world"}, 2),
            ({"input": ["hello", " world"], "model": "hello"}, 2),
            ({"prompt": "hello", "temperature": 1}, 1),
            ({"messages": [], "tools": []}, 3),
            ({"messages": "hello"}, 1),
            (
                {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "text", "text": "hello"},
                                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
                                {"type": "input_audio", "input_audio": {"data": PICTURE, "format": "wav"}},
                            ],
                        }
                    ]
                },
                3 + 3 + 1 + 1,
            ),
        ],
    )
    def test_texts_are_counted_as_the_chat_format_has_them(self, request_body: object, tokens: int) -> None:
        assert tiny().count("tiny", json.dumps(request_body).encode()) == tokens

    def test_tools_count_as_their_json(self) -> None:
        body = json.dumps({"input": "hello", "tools": [{"name": "hello"}]}).encode()
        assert tiny().count("tiny", body) == 1 + len(b'[{"name":"hello"}]') - len("hello") + 1

    @pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"input":"\xff"}', b'"hello"'])
    def test_what_is_no_request_is_not_counted(self, body: bytes) -> None:
        assert tiny().count("tiny", body) is None

    def test_a_vocabulary_that_is_not_at_hand_counts_nothing(self) -> None:
        assert tiny().count("o200k_base", b'{"input":"hello"}') is None

    @pytest.mark.parametrize(("more", "counted"), [(0, True), (1, False)])
    def test_long_requests_are_left_to_the_estimate(self, more: int, counted: bool) -> None:
        body = b'{"input":"' + b"x " * (MAX_COUNTED_BYTES // 2)
        body = body[: MAX_COUNTED_BYTES - 2 + more] + b'"}'
        assert (tiny().count("tiny", body) is not None) == counted

    @pytest.mark.parametrize("piece", ["hello world ", "a", " ", "\n", "x" * 250 + " ", "語", "?!"])
    def test_no_text_holds_the_loop_up(self, piece: str) -> None:
        text = piece * (MAX_COUNTED_BYTES // len(piece.encode()))
        body = json.dumps({"input": text[: MAX_COUNTED_BYTES // 4]}, ensure_ascii=False).encode()
        tokenisers = tiny()
        began = time.perf_counter()
        tokenisers.count("tiny", body)
        assert time.perf_counter() - began < 0.1
