"""What readers know in these tests, and plans made in front of an empty configuration."""

from keyrelay.administration.importing.found import Found, Known
from keyrelay.administration.importing.plan import ImportLine, Plan, Surroundings, planned
from keyrelay.core.addresses import PUBLIC_ONLY
from keyrelay.core.administered import NOTHING, Administered
from keyrelay.core.configuration import Key, Snapshot
from keyrelay.core.secrets import Secret
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue

ROWS = dict(load_catalogue())
GENERIC = ROWS.pop(GENERIC_ID)
KNOWN = Known(ROWS, GENERIC)
NOW_S = 1_800_000_000.0


def around(*keys: Key) -> Surroundings:
    return Surroundings(
        snapshot=Snapshot(providers={}, keys=keys, routes={}, clients={}),
        catalogue=ROWS,
        addresses=PUBLIC_ONLY,
        author="tests",
        now_s=NOW_S,
        pepper=Secret("0123456789abcdef"),
    )


def plan(*files: Found, state: Administered = NOTHING, keys: tuple[Key, ...] = ()) -> Plan:
    return planned(files, state, around(*keys))


def outcomes(made: Plan) -> dict[str, str]:
    """What becomes of each thing, by where it stands."""
    return {line.source: line.outcome for line in made.lines}


def line_of(made: Plan, source: str) -> ImportLine:
    (line,) = (line for line in made.lines if line.source == source)
    return line


def reasons(found: Found) -> dict[str, str]:
    whole = {"the file": found.unreadable} if found.unreadable else {}
    return {left.source: left.reason for left in found.left} | whole
