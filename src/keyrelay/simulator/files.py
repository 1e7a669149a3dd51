"""The files that one simulated provider keeps: for each account its own, as OpenAI's API has them."""

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import msgspec

from keyrelay.simulator.asking import Prompt, WrongRequestError
from keyrelay.simulator.dialects.passing_through import FormFile
from keyrelay.simulator.errors.reasons import Reason
from keyrelay.simulator.http import Request

MAX_KEPT_BYTES = 256 * 1024 * 1024
MAX_LISTED = 10_000

_NOT_FOUND, _BAD_REQUEST = 404, 400
_INVALID = "invalid_request_error"
_EXPIRES = "expires_after[seconds]"


def _openai_id(digits: str) -> str:
    return f"file-{digits[:22]}"


_ID_OF: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "groq": lambda digits: f"file_01{digits[:24]}",
        "mistral": lambda digits: str(uuid.UUID(digits[:32])),
    }
)
"""How providers write the id of a file, from hexadecimal digits, where they do not as OpenAI does."""


class _File(msgspec.Struct, frozen=True):
    account: str
    told: dict[str, Any]
    content: bytes


class FileBook:
    """The newest files, as many as there is room for."""

    def __init__(self, provider_id: str) -> None:
        self._id_of = _ID_OF.get(provider_id) or _openai_id
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._held = 0
        self._count = 0

    def __repr__(self) -> str:
        return f"FileBook({len(self._files)} files, {self._held} bytes)"

    def answer(self, request: Request, prompt: Prompt, account: str, now_s: float) -> dict[str, Any] | bytes:
        """Do what a request asks. Raise WrongRequestError, with the words for a file that is not there."""
        name, _, ending = request.path.partition("/files/")[2].partition("/")
        if not name:
            return self._add(prompt, account, now_s) if request.method == "POST" else self._list(request, account)
        file = self._find(name, account)
        if ending:
            return file.content
        if request.method == "DELETE":
            self._remove(name)
            return {"id": name, "object": "file", "deleted": True}
        return dict(file.told)

    def check(self, prompt: Prompt, account: str) -> None:
        """Raise WrongRequestError where a prompt names a file that is not the account's."""
        for media in prompt.media:
            kind, _, name = media.url.partition(" ")
            if kind == "file" and (name not in self._files or self._files[name].account != account):
                reason = Reason(_BAD_REQUEST, f"No such File object: {name}", _INVALID, param="messages")
                raise WrongRequestError("messages", "no such file", reason)

    def _add(self, prompt: Prompt, account: str, now_s: float) -> dict[str, Any]:
        file = prompt.body["file"]
        content = file.content if isinstance(file, FormFile) else b""
        name = file.filename if isinstance(file, FormFile) else ""
        self._count += 1
        told = {
            "id": self._id_of(hashlib.sha256(f"{self._count}/{account}".encode()).hexdigest()),
            "object": "file",
            "bytes": len(content),
            "created_at": int(now_s),
            "filename": name,
            "purpose": prompt.body["purpose"],
            "status": "processed",
        }
        seconds = prompt.body.get(_EXPIRES, "")
        if seconds.isdecimal():
            told["expires_at"] = int(now_s) + int(seconds)
        self._files[told["id"]] = _File(account, told, content)
        self._held += len(content)
        while self._held > MAX_KEPT_BYTES:
            self._remove(next(iter(self._files)))
        return dict(told)

    def _list(self, request: Request, account: str) -> dict[str, Any]:
        asked = {name: values[-1] for name, values in parse_qs(request.query).items()}
        found = [
            file.told
            for file in self._files.values()
            if file.account == account and asked.get("purpose") in {None, file.told["purpose"]}
        ]
        if asked.get("order", "desc") == "desc":
            found.reverse()
        after = next((at for at, told in enumerate(found, 1) if told["id"] == asked.get("after")), 0)
        limit = int(asked["limit"]) if asked.get("limit", "").isdecimal() else MAX_LISTED
        page = found[after : after + limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return {"object": "list", "data": page, **ends, "has_more": after + len(page) < len(found)}

    def _find(self, name: str, account: str) -> _File:
        file = self._files.get(name)
        if file is None or file.account != account:
            reason = Reason(_NOT_FOUND, f"No such File object: {name}", _INVALID, param="id")
            raise WrongRequestError("id", "no such file", reason)
        return file

    def _remove(self, name: str) -> None:
        self._held -= len(self._files.pop(name).content)
