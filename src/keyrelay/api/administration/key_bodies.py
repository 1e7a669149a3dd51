"""What the routes of keys take, and how it becomes what the administration understands."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from fastapi import Path
from msgspec import UNSET, UnsetType

from keyrelay.administration.key_edits import KeyFields, wrong
from keyrelay.administration.rotation import DRAIN_S, Step
from keyrelay.core.moment_texts import moment_ahead
from keyrelay.core.parcels import EncryptedSecret
from keyrelay.core.secrets import Secret

ProviderName = Annotated[str, Path(alias="provider", max_length=64, description="The provider's id.")]
LabelName = Annotated[str, Path(alias="label", max_length=64, description="The key's label.")]

Unseal = Callable[[EncryptedSecret], Awaitable[Secret]]
"""Opens what a browser has encrypted. Raise CallerError (400)."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be added, its secret in `secret` or, as a browser has encrypted it, in `encrypted`.

    `limits` are written as in `<PROVIDER>_LIMITS`, `expires_at` is RFC 3339 or a time ahead (`30d`). `validate`: its
    provider is asked before it is saved; `save_unknown` saves it also when that could not be found out. Among many keys
    the two are said of all of them together, beside the list.
    """

    provider: str
    secret: str = ""
    encrypted: EncryptedSecret | None = None
    label: str = ""
    account: str = ""
    priority: int = 0
    weight: float | None = None
    limits: tuple[str, ...] = ()
    expires_at: str | None = None
    notes: str = ""
    backup: bool = False
    enabled: bool = True
    validate: bool = True
    save_unknown: bool = False


class KeyPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be another of a key; what is left out stays. `expires_at` null: never."""

    label: str | UnsetType = UNSET
    account: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    weight: float | UnsetType | None = UNSET
    limits: tuple[str, ...] | UnsetType = UNSET
    expires_at: str | UnsetType | None = UNSET
    notes: str | UnsetType = UNSET
    backup: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class NewKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many keys: a list, or a text that was pasted (a `.env`, a table, JSON, or one key per line).

    `encrypted` is such a text as a browser has encrypted it. `provider` is that of all keys for which the text names
    none. `dry_run` adds nothing and says what would be added.
    """

    keys: tuple[NewKey, ...] = ()
    text: str = ""
    encrypted: EncryptedSecret | None = None
    provider: str = ""
    dry_run: bool = False
    validate: bool = True
    save_unknown: bool = False


class KeysToImport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys of the environment to be copied into the store, by their ids, or all."""

    keys: tuple[str, ...] = ()
    all: bool = False


class KeysToTest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which keys to test: `which` is `all`, `failed` (by their last use or test) or `stale` (not proven for a day).

    `provider` narrows that down to one, `keys` to those with these ids.
    """

    which: str = "all"
    provider: str = ""
    keys: tuple[str, ...] = ()


class KeyRotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new secret for a key, or a step of a rotation that was begun.

    `step` is `all`, or one of `add`, `test`, `switch`, `retire` and `abort`. The old secret is kept out of use for
    `drain_s` seconds after the switch; until then `abort` goes back to it.
    """

    secret: str = ""
    encrypted: EncryptedSecret | None = None
    step: Step = "all"
    drain_s: float = DRAIN_S
    validate: bool = True
    save_unknown: bool = False


async def secret_of(secret: str, encrypted: EncryptedSecret | None, unseal: Unseal) -> Secret | None:
    """The secret that a body holds in one of two ways; None in neither. Raise CallerError (400)."""
    if secret and encrypted is not None:
        raise wrong("encrypted", "the secret is there twice; send one of secret and encrypted")
    if encrypted is not None:
        return await unseal(encrypted)
    return Secret(secret.strip()) if secret.strip() else None


def new_fields(body: NewKey, now_s: float) -> KeyFields:
    """What is said of a key to be added. Raise CallerError (400)."""
    return KeyFields(
        label=body.label,
        account=body.account,
        priority=body.priority,
        weight=body.weight,
        limits=body.limits,
        expires_s=expiry_of(body.expires_at, now_s),
        notes=body.notes,
        backup=body.backup,
        enabled=body.enabled,
    )


def changed_fields(body: KeyPatch, now_s: float) -> KeyFields:
    """What is to be another of a key. Raise CallerError (400)."""
    said = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
    if "expires_at" in said:
        said["expires_s"] = expiry_of(said.pop("expires_at"), now_s)
    return KeyFields(**said)


def expiry_of(text: str | None, now_s: float) -> float:
    """An expiry in epoch seconds, 0 for none. Raise CallerError (400)."""
    if text is None:
        return 0.0
    try:
        return moment_ahead(text, now_s)
    except ValueError as error:
        raise wrong("expires_at", str(error)) from None
