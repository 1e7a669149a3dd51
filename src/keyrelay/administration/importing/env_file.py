"""An `.env`: keys, limits, addresses, clients and settings by the names that Keyrelay and its forerunners give them.

The variables of a provider are those that Keyrelay reads itself, and those by which older systems called the same:
`GOOGLE_LIMIT` for `GEMINI_LIMIT`, `GROQ_MODEL` for `GROQ_MODELS`, and `VITE_…` before any of them.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from keyrelay.administration.importing.found import Found, FoundClient, FoundKey, FoundProvider, FoundSetting, Known
from keyrelay.configuration.clients import LABEL, LABEL_RULE, VARIABLE, weakness_of
from keyrelay.configuration.environment import FILE_SUFFIX, numbered, parse_env
from keyrelay.configuration.keys import is_placeholder, is_usable, key_names, parse_keys
from keyrelay.configuration.operator_limits import SUFFIXES, limit_of, parse_limit
from keyrelay.configuration.providers import HIGHEST_PRIORITY_NUMBER, prefix_of
from keyrelay.configuration.setting_values import BY_NAME, read_switch, split_list
from keyrelay.configuration.stored import is_administered
from keyrelay.core.administered import ProviderEntry
from keyrelay.core.configuration import Tier
from keyrelay.core.origins import parse_base_url
from keyrelay.core.providers import PROVIDER_DIALECTS, ProviderRow
from keyrelay.core.secrets import Secret
from keyrelay.quota.limits import HIGHEST_AMOUNT
from keyrelay.settings import SETTINGS

MAX_VARIABLES = 10_000

_BUNDLERS = re.compile(r"(?:VITE|NEXT_PUBLIC|REACT_APP)_(?=[A-Z])")
_OLD_PREFIXES: Mapping[str, str] = {"GOOGLE_": "GEMINI_", "HF_": "HUGGINGFACE_", "CO_": "COHERE_"}
_OLD_SUFFIXES: Mapping[str, str] = {"_DEFAULT_MODEL": "_MODELS", "_MODEL": "_MODELS", "_API_BASE": "_BASE_URL"}
_SAID = ("BASE_URL", "DIALECT", "ENABLED", "PRIORITY", "TIER", "MARGIN", "MODELS", "WEIGHT", *SUFFIXES)
_NUMBERED_LIMITS = tuple(suffix for suffix in SUFFIXES if suffix != "LIMITS")
_PREFIX = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_OF_THE_PROCESS = frozenset({"host", "port", "workers", "data_dir", "url", "log_format"})
"""Settings that say how a process is started; what was right for another system's need not be for this one."""


def read_env(name: str, text: str, known: Known) -> Found:
    """What stands in an `.env`. Never raises for what is in it."""
    found = Found(name=name)
    variables, broken = parse_env(text.removeprefix("\ufeff"))
    filled = {name: value.strip() for name, value in variables.items() if value.strip()}
    if not filled and (broken or (variables and "=" not in text)):
        found.refuse("It holds no line that can be read as NAME=value.")
        return found
    for line in broken:
        found.leave(f"line {line}", "It cannot be read: write NAME=value.")
    for variable in list(filled)[MAX_VARIABLES:]:
        found.leave(variable, f"More than {MAX_VARIABLES} variables are not read at once.")
        del filled[variable]
    _Reader(found, filled, known).read()
    return found


class _Reader:
    """Reads the variables of one text; each is spoken of once."""

    def __init__(self, found: Found, variables: Mapping[str, str], known: Known) -> None:
        self._found = found
        self._known = known
        self._suggester = known.suggester()
        self._prefixes = known.prefixes
        rows = known.catalogue.values()
        self._exact = {name for row in rows for name in (*row.key_env, *row.base_url_env)}
        self._names: dict[str, str] = {}
        for name in variables:
            self._names.setdefault(self._usual(name, variables), name)
        self._values = {usual: variables[name] for usual, name in self._names.items()}
        self._spoken = set[str]()

    def read(self) -> None:
        claimed = frozenset(name for row in self._known.catalogue.values() for name in row.key_env)
        for row in self._known.catalogue.values():
            self._read_provider(row, claimed, prefix_of(row.id))
        for provider_id, prefix in self._own():
            self._read_provider(self._known.row_of(provider_id), claimed, prefix)
        self._read_clients()
        self._read_settings()
        for name in self._values:
            if name not in self._spoken:
                self._read_other(name)

    # Names

    def _usual(self, name: str, variables: Mapping[str, str]) -> str:
        """The name that Keyrelay gives to what a variable says; the name itself where it is known as it stands."""
        usual = _BUNDLERS.sub("", name)
        if usual.removesuffix(FILE_SUFFIX) not in self._exact:
            for old, new in _OLD_PREFIXES.items():
                usual = new + usual.removeprefix(old) if usual.startswith(old) else usual
            for old, new in _OLD_SUFFIXES.items():
                usual = usual.removesuffix(old) + new if usual.endswith(old) else usual
        prefix = next((each for each in self._prefixes if usual.startswith(f"{each}_")), "")
        changed = usual != name and (prefix or _BUNDLERS.match(name))
        return usual if changed and usual not in variables else name

    def _source(self, name: str) -> str:
        return self._names.get(name, name)

    def _own(self) -> list[tuple[str, str]]:
        """Providers of the operator's own: those with a base URL and a key, and those that there are already."""
        catalogued = {prefix_of(row.id) for row in self._known.catalogue.values()}
        found = {prefix_of(provider_id): provider_id for provider_id in sorted(self._known.own)}
        addresses = {name for row in self._known.catalogue.values() for name in row.base_url_env}
        for name in sorted(self._values):
            prefix = name.removesuffix("_BASE_URL")
            if name.endswith("_BASE_URL") and name not in addresses and _PREFIX.fullmatch(prefix):
                stems = (f"{prefix}_API_KEY", f"{prefix}_API_KEYS", f"{prefix}_MODELS")
                if any(stem in self._values for stem in (*stems, *numbered(self._values, stems[0]))):
                    found.setdefault(prefix, prefix.lower())
        return [(provider_id, prefix) for prefix, provider_id in found.items() if prefix not in catalogued]

    # Providers

    def _read_provider(self, row: ProviderRow, claimed: frozenset[str], prefix: str) -> None:
        for name in key_names(row, prefix, names=self._values):
            if name in row.key_env or name not in claimed:
                self._read_keys(name, row.id, self._weight(prefix))
        self._read_said(row, prefix)

    def _read_keys(self, name: str, provider_id: str, weight: float | None) -> None:
        if name + FILE_SUFFIX in self._values:
            self._spoken.add(name + FILE_SUFFIX)
            reason = "It names a file: keep the variable, or give the file to `keyrelay keys add`."
            self._found.leave(self._source(name + FILE_SUFFIX), reason)
        if name not in self._values or name in self._spoken:
            return
        self._spoken.add(name)
        source = self._source(name)
        for position, parsed in enumerate(parse_keys(self._values[name]), 1):
            where = source if position == 1 else f"{source} entry {position}"
            if is_placeholder(parsed.secret):
                self._found.leave(where, "It is a placeholder, not a key.")
            elif not is_usable(parsed.secret):
                self._found.leave(where, "It holds spaces or characters that cannot stand in an HTTP header.")
            else:
                self._found.keys.append(
                    FoundKey(
                        source=where,
                        provider=provider_id,
                        secret=parsed.secret,
                        label=parsed.label,
                        account=parsed.account,
                        weight=weight,
                    )
                )

    def _weight(self, prefix: str) -> float | None:
        text = self._values.get(f"{prefix}_WEIGHT", "")
        return float(text) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) and float(text) else None

    def _read_said(self, row: ProviderRow, prefix: str) -> None:
        """What the variables say of the provider itself."""
        names = [*(f"{prefix}_{suffix}" for suffix in _SAID), *row.base_url_env]
        there = [name for name in dict.fromkeys(names) if name in self._values and name not in self._spoken]
        said = dict[str, object]()
        sources = list[str]()
        for name in there:
            self._spoken.add(name)
            suffix = "BASE_URL" if name in row.base_url_env else name.removeprefix(f"{prefix}_")
            try:
                self._say(said, row, suffix, self._values[name])
            except ValueError as error:
                self._found.leave(self._source(name), f"{error}.")
            else:
                sources.append(self._source(name))
        if said:
            entry = msgspec.structs.replace(ProviderEntry(id=row.id), **said)
            self._found.providers.append(FoundProvider(source=", ".join(sources), entry=entry))

    def _say(self, said: dict[str, object], row: ProviderRow, suffix: str, text: str) -> None:
        """Note what one variable says. Raise ValueError, without the text, for what will not do."""
        if suffix == "BASE_URL":
            said |= _address(row, text)
        elif suffix in {"DIALECT", "TIER"}:
            said[suffix.lower()] = _one_of(text.lower(), PROVIDER_DIALECTS if suffix == "DIALECT" else tuple(Tier))
        elif suffix == "ENABLED":
            said["enabled"] = _switch(text)
        elif suffix == "PRIORITY":
            said["priority"] = _priority(text)
        elif suffix == "MARGIN":
            said["margin"] = _margin(text)
        elif suffix == "MODELS":
            said["models"] = _models(text)
        elif suffix == "WEIGHT":
            if self._weight(prefix_of(row.id)) is None:
                raise ValueError("It is not a number above 0")
        else:
            said["limits"] = (*_known_limits(said), *_limits(row, suffix, text))

    # The rest

    def _read_clients(self) -> None:
        if VARIABLE + FILE_SUFFIX in self._values:
            self._spoken.add(VARIABLE + FILE_SUFFIX)
            self._found.leave(VARIABLE + FILE_SUFFIX, "It names a file: keep the variable.")
        if VARIABLE not in self._values:
            return
        self._spoken.add(VARIABLE)
        for position, entry in enumerate(split_list(self._values[VARIABLE]), 1):
            source = f"{self._source(VARIABLE)} entry {position}"
            secret, colon, label = (part.strip() for part in entry.rpartition(":"))
            weakness = weakness_of(secret) if secret else ""
            if not colon or not LABEL.fullmatch(label):
                self._found.leave(source, f"It has no label, or not a good one, behind its last colon. {LABEL_RULE}")
            elif not secret or not is_usable(Secret(secret)):
                self._found.leave(source, "It has no secret that a header can carry before its label.")
            elif weakness:
                reason = f"{weakness[0].upper()}{weakness[1:]}: make another by `keyrelay clients new`."
                self._found.leave(source, reason)
            else:
                self._found.clients.append(FoundClient(source=source, label=label, secret=Secret(secret)))

    def _read_settings(self) -> None:
        for setting in SETTINGS:
            for name in (*setting.environment_names, *setting.file_names):
                if name not in self._values or name in self._spoken:
                    continue
                self._spoken.add(name)
                if not is_administered(BY_NAME[setting.name]) or setting.name in _OF_THE_PROCESS:
                    reason = "It belongs to the process that is started: keep it in its environment or `.env`."
                    self._found.leave(self._source(name), reason)
                else:
                    text = self._values[name]
                    self._found.settings.append(FoundSetting(source=self._source(name), name=setting.name, text=text))

    def _read_other(self, name: str) -> None:
        """A variable that nothing has claimed: maybe a key under another name, else it stays."""
        provider_id = self._suggester.provider_of_variable(name)
        if provider_id and not name.endswith(FILE_SUFFIX):
            self._read_keys(name, provider_id, None)
            return
        likely = self._suggester.suggest(Secret(self._values[name]))
        if likely:
            reason = f"It looks like a key of {' or '.join(likely)}: add it by `keyrelay keys add`."
        elif name.endswith(("_API_KEY", "_API_KEYS")):
            prefix = name.rpartition("_API_KEY")[0]
            reason = f"No provider of this name is known: set {prefix}_BASE_URL beside it, or add the provider first."
        else:
            reason = "Keyrelay has nothing of this name."
        self._found.leave(self._source(name), reason)


def _address(row: ProviderRow, text: str) -> dict[str, object]:
    """The provider's address; of that of the catalogue only that it is wanted."""
    if text.rstrip("/") == row.base_url.rstrip("/"):
        return {"enabled": True} if row.auth.optional else {}
    address = text if "://" in text else f"http://{text}"
    try:
        parse_base_url(address, guarded=True)
    except ValueError:
        raise ValueError("It is no base URL: write it as https://host/v1") from None
    return {"base_url": address}


def _one_of(text: str, words: Iterable[str]) -> str:
    if text not in words:
        raise ValueError(f"It is not one of {', '.join(words)}")
    return text


def _switch(text: str) -> bool:
    value = read_switch(text)
    if value is None:
        raise ValueError("It is not true or false")
    return value


def _priority(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) > HIGHEST_PRIORITY_NUMBER:
        raise ValueError(f"It is not a whole number from 0 to {HIGHEST_PRIORITY_NUMBER}")
    return int(text)


def _margin(text: str) -> float:
    if not re.fullmatch(r"\d(\.\d{1,6})?", text, re.ASCII) or float(text) > 1:
        raise ValueError("It is not a number from 0 to 1")
    return float(text)


def _models(text: str) -> tuple[str, ...]:
    names = tuple(split_list(text))
    if not names or not all(re.fullmatch(r"[!-~]{1,256}", name) for name in names):
        raise ValueError("It holds a model name with spaces in it")
    return names


def _known_limits(said: Mapping[str, object]) -> tuple[str, ...]:
    limits = said.get("limits", ())
    return limits if isinstance(limits, tuple) else ()


def _limits(row: ProviderRow, suffix: str, text: str) -> tuple[str, ...]:
    """Limits as they are written out."""
    if suffix in _NUMBERED_LIMITS:
        digits = text.replace("_", "")
        if not digits.isascii() or not digits.isdigit() or len(digits) > len(str(HIGHEST_AMOUNT)):
            raise ValueError(f"It is not a whole number from 1 to {HIGHEST_AMOUNT}")
        if not 1 <= int(digits) <= HIGHEST_AMOUNT:
            raise ValueError(f"It is not a whole number from 1 to {HIGHEST_AMOUNT}")
        return (str(limit_of(row, suffix, amount=int(digits))),)
    texts = tuple(filter(None, map(str.strip, text.split(";"))))
    for each in texts:
        try:
            parse_limit(each)
        except ValueError as error:
            raise ValueError(f"A limit cannot be read: {error}") from None
    return texts
