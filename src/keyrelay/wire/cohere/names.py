"""Tools' names in the letters that Cohere allows: `A` to `Z`, `a` to `z`, `0` to `9` and `_`, no digit first.

Other characters become `_x2D_` (their code point in hexadecimal digits), so that a name can be read back by itself,
without the request that it came from. A name that fits stays as it is, unless it holds what looks like such a mark;
then each underscore before an `x` is written so too.
"""

import re

_FITS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(r"_x([0-9A-F]{1,6})_")
_MARKED = re.compile(r"^[0-9]|[^A-Za-z0-9_]|_(?=x)")
_LAST = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def fitting_name(name: str) -> str:
    """The name as Cohere takes it."""
    if _FITS.fullmatch(name) and not _MARK.search(name):
        return name
    return _MARKED.sub(lambda found: f"_x{ord(found[0]):X}_", name)


def own_name(name: str) -> str:
    """The name that `fitting_name` was given."""
    return _MARK.sub(_character, name)


def _character(found: re.Match[str]) -> str:
    code = int(found[1], 16)
    return found[0] if code > _LAST or code in _SURROGATES else chr(code)
