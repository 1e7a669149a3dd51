"""docs/compatibility.md: what stands between its markers, made from what a run found."""

import re
from collections.abc import Callable, Iterable

import msgspec

from tests.clients.matrix import CLIENTS, DIALECTS, DIRECT, ROOT, Client, reason_for

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- compatibility: generated -->\n", "<!-- compatibility: end -->"

Works = Callable[[Client, str, str], bool]
"""Whether a cell is a yes, by client, target and feature."""


class Notes:
    """Reasons, numbered as they come."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Notes({len(self._texts)})"

    def number(self, text: str) -> int:
        """The number of a reason."""
        return self._texts.setdefault(text, len(self._texts) + 1)

    def listed(self) -> str:
        """All of them as a list."""
        return "".join(f"{number}. {text}\n" for text, number in self._texts.items())


class _NodePackage(msgspec.Struct):
    version: str = ""


class _NodeLock(msgspec.Struct):
    packages: dict[str, _NodePackage]


def version(client: Client) -> str:
    """The version that a client's lock names."""
    if client.environment == "node":
        lock = msgspec.json.decode((ROOT / "tests/clients/node/package-lock.json").read_bytes(), type=_NodeLock)
        return lock.packages[f"node_modules/{client.package}"].version
    text = (ROOT / "requirements" / f"{client.environment}.txt").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^{re.escape(client.package)}==(\S+)", text)
    assert found, f"{client.package} is not locked"
    return found[1]


def expected(client: Client, target: str, feature: str) -> bool:
    """What the page has to say: a yes wherever there is no reason for a no."""
    return not reason_for(client, target, feature)


def tables(works: Works) -> str:
    """All that is generated."""
    notes = Notes()
    sections = "".join(_section(client, works, notes) for client in CLIENTS)
    return f"## At a glance\n\n{_overview(works)}\n## Client by client\n\n{sections}## Notes\n\n{notes.listed()}"


def renewed(text: str, works: Works) -> str:
    """The page with what stands between its markers brought up to date. Raise ValueError when a marker is missing."""
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError("docs/compatibility.md does not have its markers once each")
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{tables(works)}{END}{rest.partition(END)[2]}"


def _overview(works: Works) -> str:
    rows = []
    for client in CLIENTS:
        cells = []
        for target in (*DIALECTS, DIRECT):
            right = sum(target in client.targets and works(client, target, feature) for feature in client.features)
            cells.append(f"{right} of {len(client.features)}" if target in client.targets else "-")
        rows.append((f"[{client.title}](#{_anchor(client)})", version(client), *cells))
    return _table(("client", "version", *DIALECTS, "without Keyrelay"), rows)


def _anchor(client: Client) -> str:
    return re.sub(r"[^\w\- ]", "", client.title.lower()).replace(" ", "-")


def _section(client: Client, works: Works, notes: Notes) -> str:
    def cell(target: str, feature: str) -> str:
        if works(client, target, feature):
            return "yes"
        return f"no [{notes.number(reason_for(client, target, feature))}]"

    names = {target: "without Keyrelay" if target == DIRECT else target for target in client.targets}
    if len(client.features) > len(names) and ":" in client.features[0]:  # features with long names stand at the left
        headers = ("feature", *names.values())
        rows = [(feature, *(cell(target, feature) for target in names)) for feature in client.features]
    else:
        headers = ("provider", *client.features)
        rows = [(name, *(cell(target, feature) for feature in client.features)) for target, name in names.items()]
    return f"### {client.title}\n\n{_table(headers, rows)}\n"


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
