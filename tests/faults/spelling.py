"""Canaries, the ways in which a secret may be written, and looking for them in everything that was seen."""

import base64
import html
import json
import random
import string
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import msgspec

END = 12
"""A secret is found by so many of its first or last characters."""

_FEWEST = 8
"""Of what is left of a spelling; less than that is found anywhere by chance."""

_MARKS = "~&+%?=."


class Canary(msgspec.Struct, frozen=True):
    """A secret under the name by which findings call it."""

    name: str
    text: str | bytes

    @property
    def raw(self) -> bytes:
        return self.text.encode() if isinstance(self.text, str) else self.text

    def __repr__(self) -> str:
        return f"<Canary {self.name}>"


def coined(source: random.Random, name: str, *, before: str = "", marks: bool = False) -> Canary:
    """A canary that was never there before; with `marks` there are characters in it that every writing escapes."""
    letters = string.ascii_letters + string.digits
    first, last = ("".join(source.choices(letters, k=13)) for _ in range(2))
    middle = "canary".join(source.choices(_MARKS, k=2)) if marks else "canary"
    return Canary(name, f"{before}{first}{middle}{last}")


def spellings(raw: bytes) -> dict[str, bytes]:
    """A secret in every writing in which it is looked for, in lower case, by the name of the writing."""
    found = {"raw": raw, "reversed": raw[::-1], "hex": raw.hex().encode(), "percent": _each(raw, "%{:02x}")}
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw)
        partial = (offset + len(raw)) % 3 != 0
        core = encoded.rstrip(b"=")[(0, 2, 3)[offset] : -1 if partial else None]
        found[f"base64+{offset}"] = core
        found[f"base64url+{offset}"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    text = _text_of(raw)
    if text:
        found |= {
            "first": raw[:END],
            "last": raw[-END:],
            "url": quote(text, safe="").encode(),
            "url path": quote(text).encode(),
            "json": json.dumps(text)[1:-1].encode(),
            "json escapes": _each(raw, "\\u{:04x}"),
            "html": html.escape(text).encode(),
            "utf-16-le": text.encode("utf-16-le"),
            "utf-16-be": text.encode("utf-16-be"),
        }
    return {name: form.lower() for name, form in found.items() if len(form) >= _FEWEST}


def _each(raw: bytes, form: str) -> bytes:
    return "".join(map(form.format, raw)).encode()


def _text_of(raw: bytes) -> str:
    text = raw.decode("ascii", "ignore")
    return text if text.isprintable() and len(text) == len(raw) else ""


class Hit(msgspec.Struct, frozen=True, order=True):
    """A canary in a place where it must not be, in which writing, and what stands around it."""

    canary: str
    place: str
    writing: str
    around: str = ""

    def __str__(self) -> str:
        return f"{self.canary} in {self.place} ({self.writing}): {self.around}"


class Outcome(msgspec.Struct, kw_only=True):
    """What was looked through, and what was found. `allowed` counts the canaries in places where they have to be."""

    canaries: int
    needles: int
    places: int
    searched_bytes: int
    hits: list[Hit] = []
    allowed: dict[str, int] = {}

    def __str__(self) -> str:
        return (
            f"{self.canaries} canaries in {self.needles} writings, {self.places} places, "
            f"{self.searched_bytes:,} bytes: {len(self.hits)} hits"
        )


class Seen:
    """Everything that came out, by place. A place says which canaries have to be there."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, frozenset[str]], dict[bytes, None]] = {}

    def add(self, place: str, data: bytes | str, allowed: frozenset[str] = frozenset()) -> None:
        """Remember what was seen in a place; the same thing twice is looked at once."""
        raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
        self._pieces.setdefault((place, allowed), {})[raw.rstrip(b"\0")] = None  # files are longer than what is in them

    @property
    def places(self) -> Mapping[str, int]:
        """How many bytes were seen in each place."""
        sizes: dict[str, int] = {}
        for (place, _), pieces in self._pieces.items():
            sizes[place] = sizes.get(place, 0) + sum(map(len, pieces))
        return sizes

    def search(self, canaries: list[Canary]) -> Outcome:
        """Look for every canary in every writing everywhere."""
        forms = {canary: spellings(canary.raw) for canary in canaries}
        sizes = self.places
        outcome = Outcome(
            canaries=len(canaries),
            needles=sum(len(set(each.values())) for each in forms.values()),
            places=len(sizes),
            searched_bytes=sum(sizes.values()),
        )
        for (place, allowed), pieces in self._pieces.items():
            text = b"\n\0\n".join(pieces).lower()
            for canary, writings in forms.items():
                found = list(_found(text, writings))
                if found and canary.name in allowed:
                    where = f"{canary.name} in {place}"
                    outcome.allowed[where] = outcome.allowed.get(where, 0) + 1
                else:
                    outcome.hits += [Hit(canary.name, place, name, around) for name, around in found]
        outcome.hits.sort()
        return outcome

    def __repr__(self) -> str:
        return f"<Seen {len(self.places)} places>"


def _found(text: bytes, writings: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    looked_for = set[bytes]()
    for name, form in writings.items():
        if form in looked_for:
            continue
        looked_for.add(form)
        at = text.find(form)
        if at >= 0:
            yield name, repr(text[max(0, at - 120) : at + len(form) + 40])
