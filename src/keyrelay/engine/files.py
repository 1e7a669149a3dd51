"""Files that providers keep: which key a request about one goes to, and who may ask.

A file is where it was sent, and nowhere else: what names it goes to that key or not at all. Its client's id says which
key that is (`wire.files`). An id that Keyrelay has not made says neither where the file is nor whose it is, so it goes
to a provider whose files Keyrelay hands out only where there is one key for it and one client who can mean it.
"""

import asyncio

import msgspec

from keyrelay.core.configuration import Key, Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest, FileCall
from keyrelay.engine.pool import Plan, Pool
from keyrelay.ports import FileRegister
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.drops import Dropped, DropReason
from keyrelay.routing.policies import Stage
from keyrelay.wire.file_lists import ListWishes
from keyrelay.wire.files import (
    MODEL,
    PREFIX,
    FileIds,
    FilePlace,
    is_own_id,
    may_hide_files,
    may_name_files,
    named_files,
    named_sources,
)

_OPENAI = frozenset({"openai", "responses"})
_ADVICE = "Upload it with POST /v1/files and use the id that gives."


class Located(msgspec.Struct, frozen=True):
    """Where the files are that a request names.

    `ids` are the ids that the client knows with the provider's own; the files are with the key `key_id`, empty when
    nothing says which one that is. `foreign` is an id that may be anybody's, empty when there is none.
    """

    key_id: str = ""
    ids: tuple[tuple[str, str], ...] = ()
    foreign: str = ""

    def elsewhere(self, candidate: Candidate) -> Dropped | None:
        """Why a candidate cannot be asked, if it cannot."""
        if self.key_id and candidate.key.id != self.key_id:
            return Dropped(DropReason.ELSEWHERE, f"a file that the request names is with the key {self.key_id}")
        if self.foreign and candidate.provider.path_of("files"):
            text = f"the file {self.foreign!r} was not uploaded through Keyrelay, so it may be anybody's. {_ADVICE}"
            return Dropped(DropReason.ELSEWHERE, text.removesuffix("."))
        return None

    def as_named(self, message: str) -> str:
        """What a provider says, with the ids that the client knows."""
        for given, own in self.ids:
            message = message.replace(own, given)
        return message


class Files:
    """Finds files for the clients to whom they belong."""

    __slots__ = ("_ids", "_looked_at", "_pool", "_register", "_somewhere")

    def __init__(self, pool: Pool, ids: FileIds, register: FileRegister) -> None:
        self._pool = pool
        self._ids = ids
        self._register = register
        self._looked_at: Snapshot | None = None
        self._somewhere = False

    def asked_for(self, call: FileCall, client: str) -> Located | None:
        """Where the file is that a request is about; None for an upload. Raise CallerError (404)."""
        given = call.file_id
        if not given:
            return None
        place = self._ids.read(given, client)
        if place is not None:
            self._check_key(place)
            return Located(place.key_id, ((given, place.id),))
        if not is_own_id(given):
            raise unknown_file(given)
        keys = self._keys(call.provider)
        if len(keys) != 1 or not self._one_client():
            message = f"The file {given!r} was not uploaded through Keyrelay, which cannot tell where or whose it is."
            raise CallerError(404, f"{message} {_ADVICE}", param="id", code="unknown_file")
        return Located(keys[0].id, ((given, given),))

    def may_name(self, body: bytes) -> bool:
        """Whether the body of a chat may name files. Who is the only client has nothing to hide.

        To look through every body takes time: where no provider has files, a name of one is the provider's to refuse.
        """
        snapshot = self._pool.snapshot
        if snapshot is not self._looked_at:
            self._looked_at, self._somewhere = snapshot, bool(self._keys(""))
        if not self._somewhere:
            return False
        return may_name_files(body) or (len(self._pool.snapshot.clients) > 1 and may_hide_files(body))

    def named_in(self, request: CallRequest, client: str, body: bytes) -> Located | None:
        """Where the files are that the body of a chat names, None when it names none. Raise CallerError (400, 404)."""
        if request.dialect == "anthropic":
            named = named_sources(bytes(request.fields.get("messages", b"")))
        elif request.dialect in _OPENAI:
            named = named_files(body, bytes(request.fields.get("metadata", b"")))
        else:
            return None
        places = {given: self._ids.read(given, client) for given in named}
        known = {given: place for given, place in places.items() if place is not None}
        unknown = next((given for given in places if given.startswith(PREFIX) and given not in known), None)
        if unknown is not None:
            raise unknown_file(unknown)
        key_ids = sorted({place.key_id for place in known.values()})
        if len(key_ids) > 1:
            message = f"The files that the request names are with different keys ({', '.join(key_ids)})."
            raise CallerError(400, f"{message} Upload them to one provider.", param="file_id", code="files_apart")
        for place in known.values():
            self._check_key(place)
        foreign = next((given for given in places if given not in known), "")
        if foreign and self._harmless():
            foreign = ""
        if not known and not foreign:
            return None
        return Located(key_ids[0] if key_ids else "", tuple((given, known[given].id) for given in known), foreign)

    def plan(self, call: FileCall, located: Located | None) -> Plan:
        """The keys that may be asked, in the order of their providers. Raise CallerError when there is none."""
        if located is not None:
            keys = [key for key in self._keys("") if key.id == located.key_id]
        else:
            keys = self._keys(call.provider)
            if not keys:
                raise self._no_files(call.provider)
            keys = [key for key in keys if self._takes(key, call.purpose)]
            if not keys:
                message = f"None of the configured providers with files takes any for the purpose {call.purpose!r}."
                raise CallerError(400, message, param="purpose", code="unsupported_operation")
        return self._pool.plan_made("\0".join(("files", *(key.id for key in keys))), lambda: self._plan(keys))

    def _plan(self, keys: list[Key]) -> Plan:
        snapshot = self._pool.snapshot
        ranks: dict[tuple[bool, int, int], list[Candidate]] = {}
        for key in keys:
            candidate = self._pool.candidate_of(key.provider_id, key.label, MODEL)
            if candidate is not None:
                candidate.unpriced = ""  # no money is taken for it
                rank = (key.backup, snapshot.providers[key.provider_id].priority, key.priority)
                ranks.setdefault(rank, []).append(candidate)
        return Plan(tuple(Stage(ranks[rank], snapshot.policy) for rank in sorted(ranks)), free_choice=False)

    def _takes(self, key: Key, purpose: str) -> bool:
        purposes = self._pool.snapshot.providers[key.provider_id].row.file_purposes
        return not purposes or purpose in purposes

    def uploaded(self, candidate: Candidate, own_id: str, client: str) -> str:
        """The id under which a client knows a file that it has sent to this key."""
        return self._ids.made(FilePlace(candidate.provider_id, candidate.key.label, own_id), client)

    def note(self, client: str, given: str, told: bytes) -> None:
        """Remember what a provider says of a client's file."""
        if given.startswith(PREFIX):
            self._register.add(client, given, told)

    def forget(self, client: str, given: str) -> None:
        """A file is gone."""
        if given.startswith(PREFIX):
            self._register.forget(client, given)

    async def listed(self, client: str, wishes: ListWishes, now_s: float) -> bytes:
        """A page of the list of a client's files. Raise CallerError (400)."""
        while self._register.read_on():  # noqa: ASYNC110 - nothing is waited for: others have a turn in between
            await asyncio.sleep(0)
        return self._register.of(client).page(wishes, now_s)

    def _keys(self, provider_id: str) -> list[Key]:
        """The keys of providers that have files, or of this one of them."""
        providers = self._pool.snapshot.providers
        having = {each.id for each in providers.values() if each.path_of("files") and provider_id in {"", each.id}}
        return [key for key in self._pool.snapshot.keys if key.provider_id in having]

    def _one_client(self) -> bool:
        return len({client.label for client in self._pool.snapshot.clients.values()}) <= 1

    def _harmless(self) -> bool:
        """Whether an id that Keyrelay has not made cannot lead to what another client has sent."""
        keys = self._keys("")
        return not keys or (len(keys) == 1 and self._one_client())

    def _check_key(self, place: FilePlace) -> None:
        if all(key.id != place.key_id for key in self._keys("")):
            message = (
                f"The file was sent with the key {place.key_id}, which is not in use any more, "
                "so it cannot be reached. It is still at the provider."
            )
            raise CallerError(404, message, param="id", code="file_key_gone")

    def _no_files(self, provider_id: str) -> CallerError:
        having = sorted({key.provider_id for key in self._keys("")})
        if not having:
            message = "No provider with files is configured (OpenAI is one): /v1/files needs a key of it."
            return CallerError(400, message, code="unsupported_operation")
        message = f"No provider called {provider_id!r} with files is configured; there is {', '.join(having)}."
        return CallerError(400, message, param="provider", code="unsupported_operation")

    def __repr__(self) -> str:
        return f"<Files with {len(self._keys(''))} keys>"


def unknown_file(given: str) -> CallerError:
    """The error for an id that leads nowhere, or not for this client: which of the two is not told."""
    return CallerError(404, f"No such File object: {given[:200]}", param="id", code="unknown_file")
