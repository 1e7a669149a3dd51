"""The generated parts of docs/configuration.md: what the tables of settings and variables say, between markers.

`python -m keyrelay.configuration.page docs/configuration.md` (or scripts/settings-docs) brings a page up to date.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from keyrelay.configuration import operator_limits
from keyrelay.settings import SETTINGS, Setting

SUFFIXES: Mapping[str, str] = {
    "API_KEY": "A key, or a comma list of keys. Also `_API_KEY_2`, `_API_KEY_3` and so on.",
    "API_KEYS": "A comma list of keys: `KEY`, `label=KEY` or `account:label=KEY`.",
    "BASE_URL": "Address of the API, in the form that the provider's official SDK takes.",
    "ENABLED": "`false` leaves the provider out, `true` takes one in that is off or needs no key.",
    "PRIORITY": "Whole number from 0; the lowest is tried first.",
    "WEIGHT": "Number above 0, for each of its keys: their share of the requests under the policy `weighted`.",
    "DIALECT": "The one wire format to speak to it: `openai`, `anthropic`, `gemini`, `cohere` or `ollama`.",
    "MARGIN": "Percent, 0 to 1, of the provider's own limits that are left unused because its clock is not trusted.",
    "TIER": "`free`, `paid` or `unknown`: whether the catalogue's free-tier limits hold.",
    "MODELS": "Comma list of models to add; the first becomes the default model.",
    **{suffix: f"Firm limit: {text}." for suffix, text in operator_limits.SUFFIXES.items()},
}
"""What may stand behind a provider's prefix, with one sentence each."""


def settings_table() -> str:
    """Every setting as a row of a Markdown table."""
    rows = ((f"`{each.name}`", _names(each), _default(each), _help(each)) for each in SETTINGS)
    return _table(("setting", "environment", "default", "meaning"), rows)


def variables_table() -> str:
    """Every suffix of a provider's variables as a row of a Markdown table."""
    return _table(("variable", "meaning"), ((f"`<PROVIDER>_{suffix}`", text) for suffix, text in SUFFIXES.items()))


def renewed(text: str) -> str:
    """A page with what stands between its markers brought up to date. Raise ValueError when a marker is missing."""
    return replaced(replaced(text, "settings", settings_table()), "variables", variables_table())


def replaced(text: str, name: str, part: str) -> str:
    """A page with another text between the markers of this name. Raise ValueError when they are not there once each."""
    begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
    if (text.count(begin), text.count(end)) != (1, 1):
        raise ValueError(f"the page does not have the markers of {name} once each")
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{part}{end}{rest.partition(end)[2]}"


def _names(setting: Setting) -> str:
    return ", ".join(f"`{name}`" for name in (*setting.environment_names, *setting.file_names))


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default else "empty"


def _help(setting: Setting) -> str:
    expected = setting.expected
    bounded = setting.choices or setting.minimum is not None
    return f"{setting.help} {expected[0].upper()}{expected[1:]}." if bounded else setting.help


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main(arguments: list[str]) -> None:
    """Bring the pages named up to date."""
    for path in map(Path, arguments):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
