"""Where a provider is: its row's base URL with the variables filled in, or the operator's own."""

import ipaddress
import re

import msgspec

from keyrelay.configuration.environment import Environment, Found
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.stored import STORE
from keyrelay.configuration.values import CATALOGUE
from keyrelay.core.origins import Origin, parse_base_url
from keyrelay.core.providers import ProviderRow

_OLLAMA_PORT = 11_434
_VARIABLE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104 - is replaced


class Place(msgspec.Struct, frozen=True):
    """A base URL in its two parts, and where it came from."""

    origin: Origin
    base_path: str
    source: str

    def __str__(self) -> str:
        return f"{self.origin}{self.base_path}"


def find_base_url(row: ProviderRow, prefix: str, *, environment: Environment) -> Found | None:
    """The variable with the operator's own base URL, if any."""
    return environment.find(f"{prefix}_BASE_URL", *row.base_url_env)


def read_place(row: ProviderRow, prefix: str, *, environment: Environment, findings: Findings) -> Place | None:
    """Origin and path that calls go to; None, with a problem noted, when they cannot be made out."""
    found = find_base_url(row, prefix, environment=environment)
    if found is None:
        url = _fill_in(row, environment, findings=findings)
        return _split(row, url, where=f"{CATALOGUE} {row.id}", source=CATALOGUE, findings=findings) if url else None
    url = with_scheme(found.text) if row.native_dialect == "ollama" else found.text
    guarded = found.layer == STORE  # environment and catalogue are the operator's own words
    return _split(row, url, where=found.source, source=found.source, findings=findings, guarded=guarded)


def with_scheme(address: str) -> str:
    """Read an address as Ollama reads OLLAMA_HOST: `host`, `host:port` and `:port` are plain http at port 11434.

    An address that means "listen everywhere" is called on this machine.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        scheme, rest = "http", address
    authority, slash, path = rest.partition("/")
    host, port = _split_authority(authority)
    if not port and not found:
        port = f":{_OLLAMA_PORT}"
    return f"{scheme}://{_ANY_ADDRESS.get(host, host)}{port}{slash}{path}"


def _split_authority(authority: str) -> tuple[str, str]:
    """Host and `:port`; the port empty when there is none."""
    if authority.count(":") > 1 and not authority.startswith("["):
        return f"[{authority}]", ""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:.*)?", authority, re.DOTALL)
    return (match[1], match[2] or "") if match else (authority, "")


def own_address(row: ProviderRow, environment: Environment) -> str:
    """The origin that the catalogue gives a provider, as text; empty when it cannot be made out."""
    url = _fill_in(row, environment, findings=Findings())
    try:
        return str(parse_base_url(url)[0])
    except ValueError:
        return ""


def _fill_in(row: ProviderRow, environment: Environment, *, findings: Findings) -> str:
    """The row's base URL with each `{name}` replaced; empty when a variable is missing or unfit."""
    url = row.base_url
    for name, variable in row.variables.items():
        placeholder = f"{{{name}}}"
        if placeholder not in url:
            continue
        found = environment.find(variable)
        if found is None:
            # A token that serves other programs as well (CLOUDFLARE_API_TOKEN) must not keep Keyrelay from starting.
            findings.warn(variable, f"is not set, and {row.name}'s address needs it; {row.id} is left out.")
            return ""
        if not _VARIABLE.fullmatch(found.text):
            findings.problem(found.source, "holds characters that cannot stand in an address.", "Copy it once more.")
            return ""
        url = url.replace(placeholder, found.text)
    return url


def _split(
    row: ProviderRow, url: str, *, where: str, source: str, findings: Findings, guarded: bool = False
) -> Place | None:
    try:
        origin, path = parse_base_url(url, guarded=guarded)
    except ValueError:  # its text may repeat the URL, and that may hold a password
        fix = f"It starts with http:// or https:// and has neither user nor query, as in {_example(row)}."
        findings.problem(where, "is not a base URL.", fix)
        return None
    # Some give the origin and some the address with /v1; where the row's own paths begin with it, both are meant.
    if path and row.paths.chat.startswith(f"{path}/"):
        path = ""
    return Place(origin, path, source)


def is_private(host: str) -> bool:
    """Whether a host is one of the operator's own network, as far as its name tells."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".home.arpa", ".localhost"))


def _example(row: ProviderRow) -> str:
    return row.base_url or "https://host.example/v1"
