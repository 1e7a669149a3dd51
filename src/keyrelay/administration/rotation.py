"""Exchanging the secret of a key: the new one beside the old, tested, switched, the old one drained and retired.

Each step is one change and leaves what the next one needs in the store, so that a rotation that was cut off goes on
where it was: until the switch the old key serves, after it the new one does, and the old one is kept beside it, out of
use, until it is retired. The label stays, and so do counts, limits and whatever is said of the key. Requests under way
at the switch end with the key that they were sent with.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from keyrelay.administration.key_edits import NEXT, OLD, Edit, check_secret, holder_of, tail_of
from keyrelay.administration.keys import Checks, Keys, refuse_unproven
from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.service import Author
from keyrelay.core.administered import Administered, KeyEntry
from keyrelay.core.configuration import Key
from keyrelay.core.errors import CallerError
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.core.secrets import Secret

Step = Literal["all", "add", "test", "switch", "retire", "abort"]
STEPS: tuple[Step, ...] = ("all", "add", "test", "switch", "retire", "abort")

DRAIN_S = 60.0
MAX_DRAIN_S = 7 * 86_400.0


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a rotation, or of one step of it.

    `reached` is the last step that is done, `probed` what the provider said of the new key, if it was asked now.
    """

    reached: Literal["added", "tested", "switched", "retired", "aborted"]
    probed: Probed | None = None


class Rotation:
    """Rotates keys of the store. Everything raises CallerError, and StoreError when it cannot be kept."""

    __slots__ = ("_administration", "_keys")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._administration = keys.administration

    async def rotate(
        self,
        known: KnownKey,
        secret: Secret | None,
        author: Author,
        *,
        now_s: float,
        step: Step = "all",
        checks: Checks = Checks(),  # noqa: B008 - it is immutable
        drain_s: float = DRAIN_S,
    ) -> Rotated:
        """Go through the steps, or one of them; without a secret a rotation that was begun goes on."""
        if not known.owned or known.key.secret is None:
            message = f"Its secret stands in {known.source}: change it there, or import the key first."
            raise CallerError(409, message, code="not_here")
        key_id = known.key.id
        if step == "abort":
            return await self._abort(known, author)
        if step == "retire":
            await self._administration.change(retiring(key_id), author, "retire key")
            return Rotated(reached="retired")
        if step in {"all", "add"} and (secret is not None or step == "add"):
            if secret is None:
                raise CallerError(400, "secret: the new key is missing.", param="secret", code="invalid_parameter")
            check_secret(secret)
            edit = beginning(key_id, secret, author.name, now_s, keys=self._keys.configured())
            await self._administration.change(edit, author, "rotate key: add")
            if step == "add":
                return Rotated(reached="added")
        waiting = self._waiting(key_id)
        probed = None
        if step in {"all", "test"} and checks.validate and not waiting.tested_s:
            probed = await self._test(known, waiting, author, now_s, checks)
        if step == "test":
            return Rotated(reached="tested", probed=probed)
        edit = switching(key_id, author.name, now_s, drain_s)
        await self._administration.change(edit, author, "rotate key: switch")
        if probed is not None:
            serving = self._keys.find(known.key.provider_id, known.key.label)
            self._keys.health.tested(self._keys.provider_of(serving), serving.key, probed)
        return Rotated(reached="switched" if drain_s else "retired", probed=probed)

    def _waiting(self, key_id: str) -> KeyEntry:
        """The new key beside the old one. Raise CallerError (409)."""
        waiting = self._administration.state.get(KeyEntry, f"{key_id}{NEXT}")
        if waiting is None:
            raise CallerError(
                409, f"No rotation of {key_id} is under way: send the new key.", param="secret", code="no_rotation"
            )
        return waiting

    async def _test(self, known: KnownKey, waiting: KeyEntry, author: Author, now_s: float, checks: Checks) -> Probed:
        """Ask the provider; a key that it refuses is taken out again, so that the next one can be tried."""
        secret = self._administration.state.secrets[("key", waiting.id)]
        key = msgspec.structs.replace(known.key, label=waiting.label, secret=secret)
        probed = await self._keys.prober.probe(self._keys.provider_of(known, key), key)
        if probed.outcome is ProbeOutcome.INVALID:
            await self._administration.change(aborting(known.key.id, author.name), author, "rotate key: refused")
        refuse_unproven(probed, checks)
        await self._administration.change(proving(waiting.id, now_s), author, "rotate key: test")
        return probed

    async def _abort(self, known: KnownKey, author: Author) -> Rotated:
        await self._administration.change(aborting(known.key.id, author.name), author, "rotate key: abort")
        return Rotated(reached="aborted")

    def __repr__(self) -> str:
        return f"<Rotation over {self._keys!r}>"


def beginning(key_id: str, secret: Secret, author: str, now_s: float, *, keys: Sequence[Key] = ()) -> Edit:
    """Put the new key beside the old one, out of use; `keys` are those of the configuration."""

    def edit(state: Administered) -> Administered:
        entry = _entry(state, key_id)
        if state.get(KeyEntry, f"{key_id}{OLD}") is not None:
            message = f"The key before {key_id} is not retired yet: do that first (step retire)."
            raise CallerError(409, message, code="rotation_under_way")
        place = f"{key_id}{NEXT}"
        if state.secrets.get(("key", place)) == secret:
            return state
        if state.get(KeyEntry, place) is not None:
            message = f"Another rotation of {key_id} is under way: let it go on without a new key, or abort it."
            raise CallerError(409, message, code="rotation_under_way")
        holder = holder_of(secret, keys, state)
        if holder:
            raise CallerError(409, f"This key is there already, as {holder}.", param="secret", code="key_exists")
        return state.put(
            KeyEntry(
                provider=entry.provider,
                label=f"{entry.label}{NEXT}",
                account=entry.account or entry.label,
                enabled=False,
                fingerprint=secret.fingerprint,
                tail=tail_of(secret),
                created_s=now_s,
                set_by=author,
                replaces=entry.label,
            ),
            secret,
        )

    return edit


def proving(place: str, now_s: float) -> Edit:
    """Note that the new key was tested."""

    def edit(state: Administered) -> Administered:
        return state.put(msgspec.structs.replace(_entry(state, place), tested_s=now_s))

    return edit


def switching(key_id: str, author: str, now_s: float, drain_s: float) -> Edit:
    """Have the new key take the old one's place and name; the old one stays out of use until it is retired."""

    def edit(state: Administered) -> Administered:
        entry, waiting = _entry(state, key_id), state.get(KeyEntry, f"{key_id}{NEXT}")
        if waiting is None:
            raise CallerError(409, f"No rotation of {key_id} is under way.", code="no_rotation")
        old, new = state.secrets[("key", key_id)], state.secrets[("key", waiting.id)]
        serving = msgspec.structs.replace(
            entry,
            fingerprint=waiting.fingerprint,
            tail=waiting.tail,
            rotated_s=now_s,
            tested_s=waiting.tested_s,
            expires_s=0.0 if 0.0 < entry.expires_s <= now_s else entry.expires_s,
        )
        state = state.without("key", waiting.id).put(serving, new)
        if not drain_s:
            return state
        kept = msgspec.structs.replace(
            entry,
            label=f"{entry.label}{OLD}",
            account=entry.account or entry.label,
            enabled=False,
            set_by=author,
            replaces=entry.label,
            retire_s=now_s + drain_s,
        )
        return state.put(kept, old)

    return edit


def retiring(key_id: str) -> Edit:
    """Forget the old key."""

    def edit(state: Administered) -> Administered:
        place = f"{key_id}{OLD}"
        if state.get(KeyEntry, place) is None:
            raise CallerError(409, f"There is nothing to retire beside {key_id}.", code="no_rotation")
        return state.without("key", place)

    return edit


def aborting(key_id: str, author: str) -> Edit:
    """Take the new key out again; after the switch, go back to the old one."""

    def edit(state: Administered) -> Administered:
        entry, old = _entry(state, key_id), state.get(KeyEntry, f"{key_id}{OLD}")
        if state.get(KeyEntry, f"{key_id}{NEXT}") is not None:
            return state.without("key", f"{key_id}{NEXT}")
        if old is None:
            raise CallerError(409, f"No rotation of {key_id} is under way.", code="no_rotation")
        back = msgspec.structs.replace(
            entry, fingerprint=old.fingerprint, tail=old.tail, rotated_s=old.rotated_s, set_by=author
        )
        secret = state.secrets[("key", old.id)]
        return state.without("key", old.id).put(back, secret)

    return edit


def _entry(state: Administered, key_id: str) -> KeyEntry:
    entry = state.get(KeyEntry, key_id)
    if entry is None or ("key", key_id) not in state.secrets:
        raise CallerError(404, f"There is no key {key_id} in the store any more.", code="key_not_found")
    return entry
