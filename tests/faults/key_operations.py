"""The changes of keys, and of what seals them, that `key_steps` cuts off: how each is done, done again, and judged."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from keyrelay.administration.entries import read_all
from keyrelay.core.administered import KeyEntry
from keyrelay.ports import EntryChanges
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.ring_store import SqlRingStore
from keyrelay.vault.ring import RETIRE_AFTER_S, decode_ring, encode_ring


class Ask(msgspec.Struct, frozen=True):
    """A request to a gateway; without a method, what it does by itself when the time has come."""

    method: str
    path: str = ""
    body: Any = None


class Command(msgspec.Struct, frozen=True):
    """`keyrelay …`"""

    arguments: tuple[str, ...]


Change = Ask | Command
Edit = Callable[[Database], Awaitable[None]]
"""Changes what is stored so that time seems to have passed."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What there is, without what differs from run to run. Of times only whether there is one, of secrets the print.

    `files` are those of the master key, `ring` is which master key wraps it, of how many at hand, and its terms. The
    `audit` log comes oldest first.
    """

    entries: dict[str, str]
    audit: tuple[str, ...]
    master: str
    known: int
    terms: tuple[tuple[int, int], ...]
    files: tuple[str, ...]
    problem: str
    secrets: dict[str, str]

    def like(self, other: "Standing") -> bool:
        """Whether nothing differs that a person has changed; a ring may have been made, which is no change of keys."""
        return (self.entries, self.audit) == (other.entries, other.audit)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A change, and what is done before it. `between` are the phases that it goes through, each done by itself.

    `again` does it to the end, given what there was before and what was found after the kill. What changes how keys are
    sealed (`sound`) has phases that nothing else leads to: these are right when that says so of before and found.
    """

    name: str
    change: Change
    prepared: tuple[Change | Edit, ...] = ()
    again: Callable[["Standing", "Standing"], Change] | None = None
    between: tuple[Change, ...] = ()
    sound: Callable[[Standing, Standing], bool] | None = None
    is_sealing: bool = False


# What they are made of

KEYS = "/api/v1/keys"
ONE = "gsk_test_first_000001_0123456789"
OTHER = "gsk_test_other_000002_0123456789"
NEXT = "gsk_test_next_000003_0123456789"
MANY = "\n".join(f"gsk_test_many{number}_000004_0123456789" for number in range(5))
ENV = """
GROQ_API_KEYS=sim-groq-imported-1,sim-groq-imported-2,sim-groq-imported-3
GROQ_RPM=30
OPENAI_API_KEY=sim-openai-imported
CLIENT_API_KEYS_MAP=5f4dcc3b5aa765d61d8327deb882cf99aa:app
"""
DUE = Ask("")


def added(label: str, secret: str) -> Ask:
    return Ask("POST", KEYS, {"provider": "groq", "secret": secret, "label": label})


def rotating(**body: Any) -> Ask:
    return Ask("POST", f"{KEYS}/groq/one/rotate", {"drain_s": 3600, **body})


ADD_ONE, ADD_OTHER = added("one", ONE), added("other", OTHER)
BEGUN = rotating(secret=NEXT, step="add")
IMPORT = Ask("POST", "/api/v1/import", {"files": [{"kind": "env", "name": "old.env", "text": ENV}]})


async def overdue(database: Database) -> None:
    """Let the time of an old key have come."""
    store = SqlEntryStore(database)
    revision, stored = await store.read()
    entries, _ = read_all([msgspec.structs.replace(each, sealed=b"") for each in stored], None)
    changes = []
    for each, entry in zip(stored, entries.values(), strict=True):
        if isinstance(entry, KeyEntry) and entry.retire_s:
            document = msgspec.json.encode(msgspec.structs.replace(entry, retire_s=1.0))
            changes.append(msgspec.structs.replace(each, document=document))
    assert len(changes) == 1
    await store.commit(revision, EntryChanges(put=tuple(changes)))


async def late(database: Database) -> None:
    """Let it be long ago that a term was the current one."""
    store = SqlRingStore(database, lambda: 0.0)
    stored = await store.read_ring()
    assert stored is not None
    ring = decode_ring(stored.value)
    terms = [
        msgspec.structs.replace(term, superseded_s=term.superseded_s and term.superseded_s - RETIRE_AFTER_S - 1)
        for term in ring.terms
    ]
    assert await store.write_ring(
        encode_ring(msgspec.structs.replace(ring, terms=tuple(terms))), replaces=stored.generation
    )


def _new(before: Standing, found: Standing, action: str) -> int:
    """How many lines of this kind the log has got."""
    return sum(line.startswith(action) for line in found.audit[len(before.audit) :])


def _master_key_is_sound(before: Standing, found: Standing) -> bool:
    return _new(before, found, "rotate master key") == (found.master != before.master)


def _term_is_sound(before: Standing, found: Standing) -> bool:
    (_, old), *others = found.terms
    resealed = bool(others) and not old
    return (_new(before, found, "rotate term"), _new(before, found, "reseal")) == (len(others), resealed)


def _retirement_is_sound(before: Standing, found: Standing) -> bool:
    return _new(before, found, "retire term") == len(before.terms) - len(found.terms)


MIGRATE = Command(("db", "migrate"))
STATUS = Command(("secrets", "status"))


def _master_key_again(before: Standing, found: Standing) -> Change:
    """What was begun is ended without an option; what was not is begun, and what was done stays."""
    if found.known > 1:
        return Command(ROTATE_MASTER_KEY.arguments[:2])
    return ROTATE_MASTER_KEY if found.master == before.master else STATUS


def _term_again(before: Standing, found: Standing) -> Change:
    done = len(found.terms) > len(before.terms) and not found.terms[0][1]
    return STATUS if done else ROTATE_TERM


def _rotation_again(before: Standing, found: Standing) -> Change:
    """A rotation that was cut off goes on without the secret."""
    return rotating() if "key/groq/one.next" in found.entries else ROTATE


ROTATE = rotating(secret=NEXT)
ROTATE_MASTER_KEY = Command(("secrets", "rotate-master-key", "--generate"))
ROTATE_TERM = Command(("secrets", "rotate-term"))
IMPORT_OFFLINE = Command(("import", "old.env", "--yes"))
PROVEN = rotating(step="test")
SWITCH = rotating(step="switch")

OPERATIONS = (
    Operation(name="add the first key", change=ADD_ONE),
    Operation(name="add a key", prepared=(ADD_OTHER,), change=ADD_ONE),
    Operation(name="add many", prepared=(ADD_OTHER,), change=Ask("POST", f"{KEYS}/bulk", {"text": MANY})),
    Operation(
        name="rotate: all",
        prepared=(ADD_ONE,),
        change=ROTATE,
        between=(BEGUN, PROVEN),
        again=_rotation_again,
    ),
    Operation(name="rotate: add", prepared=(ADD_ONE,), change=BEGUN),
    Operation(name="rotate: test", prepared=(ADD_ONE, BEGUN), change=PROVEN),
    Operation(name="rotate: switch", prepared=(ADD_ONE, BEGUN, PROVEN), change=SWITCH),
    Operation(name="rotate: abort", prepared=(ADD_ONE, BEGUN), change=rotating(step="abort")),
    Operation(name="rotate: back", prepared=(ADD_ONE, ROTATE), change=rotating(step="abort")),
    Operation(name="rotate: retire", prepared=(ADD_ONE, ROTATE), change=rotating(step="retire")),
    Operation(name="rotate: retire by the clock", prepared=(ADD_ONE, ROTATE, overdue), change=DUE),
    Operation(name="delete", prepared=(ADD_OTHER, ADD_ONE), change=Ask("DELETE", f"{KEYS}/groq/one")),
    Operation(name="delete amid a rotation", prepared=(ADD_ONE, BEGUN), change=Ask("DELETE", f"{KEYS}/groq/one")),
    Operation(name="import by the API", prepared=(ADD_OTHER,), change=IMPORT),
    Operation(name="import offline", prepared=(ADD_OTHER,), change=IMPORT_OFFLINE),
    Operation(name="import offline, the first keys", change=IMPORT_OFFLINE),
    Operation(
        name="secrets rotate-master-key",
        prepared=(IMPORT_OFFLINE,),
        change=ROTATE_MASTER_KEY,
        again=_master_key_again,
        sound=_master_key_is_sound,
    ),
    Operation(
        name="secrets rotate-term",
        prepared=(IMPORT_OFFLINE,),
        change=ROTATE_TERM,
        again=_term_again,
        sound=_term_is_sound,
    ),
    Operation(
        name="secrets reseal",
        prepared=(IMPORT_OFFLINE, ROTATE_TERM, late),
        change=Command(("secrets", "reseal")),
        sound=_retirement_is_sound,
    ),
)
