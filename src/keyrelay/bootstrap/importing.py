"""Importing what other systems were configured with, joined with the catalogue and the ledger."""

import importlib
from collections.abc import Awaitable, Callable, Mapping

from keyrelay.administration.importing.found import Found, ImportFile, Known, Read
from keyrelay.administration.importing.service import Importer
from keyrelay.administration.service import Administration
from keyrelay.bootstrap.parts import address_policy
from keyrelay.core.administered import Administered, UsageEntry
from keyrelay.core.configuration import Snapshot
from keyrelay.core.records import Used
from keyrelay.settings import Settings
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue


def compose_importer(
    administration: Administration,
    settings: Settings,
    epoch_s: Callable[[], float],
    count: Callable[[], Awaitable[object]],
) -> Importer:
    """The importer; `count` has the ledger count what was used elsewhere before."""
    return Importer(
        administration,
        load_catalogue(),
        GENERIC_ID,
        read=_read,
        addresses=address_policy(settings),
        epoch_s=epoch_s,
        count=count,
    )


def used_elsewhere(administered: Administered, snapshot: Snapshot) -> list[Used]:
    """What had been used before Keyrelay had a key; each model of a provider is taken for its default one."""
    return [
        Used(
            entry.provider,
            entry.label,
            snapshot.providers[entry.provider].default_model,
            entry.at_s,
            entry.requests,
            entry.tokens,
        )
        for entry in administered.all(UsageEntry)
        if entry.provider in snapshot.providers
    ]


def _read(file: ImportFile, known: Known, variables: Mapping[str, str], now_s: float) -> Found:
    """Read with readers that are loaded when they are first needed: YAML's takes memory."""
    read: Read = importlib.import_module("keyrelay.administration.importing.reading").read_file
    return read(file, known, variables, now_s)
