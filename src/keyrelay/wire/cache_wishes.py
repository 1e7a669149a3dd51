"""What a request's head says of the response cache: `x-keyrelay-cache` and `Cache-Control`.

`x-keyrelay-cache` is Keyrelay's own and read strictly, because a caller who misspells `no-store` has to hear of it.
`Cache-Control` comes from every HTTP library; what is not known in it is passed over, as RFC 9111 wants.
"""

import re
from typing import get_args

import msgspec

from keyrelay.core.configuration import CacheMode
from keyrelay.core.errors import CallerError

HEADER = "x-keyrelay-cache"
LONGEST_TTL_S = 30 * 86_400

_MODES: tuple[CacheMode, ...] = get_args(CacheMode)
_TTL = re.compile(r"ttl *= *([0-9]{1,9})")
_MAX_AGE = re.compile(r'max-age *= *"?([0-9]+)"?')
_LONGEST_AGE_DIGITS = 12


class CacheWishes(msgspec.Struct, frozen=True):
    """What a caller wants of the cache.

    `look`: an answer that was given before will do. `keep`: the answer may be kept. `ttl_s`: for so many seconds at
    most. `max_age_s`: one given longer ago will not do. `mode`: which requests count, in place of the setting.
    """

    look: bool = True
    keep: bool = True
    ttl_s: int | None = None
    max_age_s: int | None = None
    mode: CacheMode | None = None


AS_CONFIGURED = CacheWishes()


def read_cache_wishes(own: str, standard: str = "") -> CacheWishes:
    """The wishes in the values of `x-keyrelay-cache` and `Cache-Control`, the more cautious one where both speak.

    Raise CallerError (400) for a word in the first that means nothing.
    """
    wishes = AS_CONFIGURED
    for word in _words(own):
        wishes = _own(wishes, word)
    for word in _words(standard):
        wishes = _standard(wishes, word)
    return wishes


def _words(text: str) -> list[str]:
    return [word for part in text.lower().split(",") if (word := part.strip())]


def _own(wishes: CacheWishes, word: str) -> CacheWishes:
    if word == "no-store":
        return msgspec.structs.replace(wishes, look=False, keep=False)
    if word == "refresh":
        return msgspec.structs.replace(wishes, look=False)
    for mode in _MODES:
        if word == mode:
            return msgspec.structs.replace(wishes, mode=mode)
    ttl = _TTL.fullmatch(word)
    if ttl is None or int(ttl[1]) > LONGEST_TTL_S:
        raise _meaningless(word)
    ttl_s = int(ttl[1])
    return msgspec.structs.replace(wishes, ttl_s=ttl_s, keep=wishes.keep and ttl_s > 0)


def _standard(wishes: CacheWishes, word: str) -> CacheWishes:
    if word == "no-store":
        return msgspec.structs.replace(wishes, look=False, keep=False)
    if word == "no-cache":
        return msgspec.structs.replace(wishes, look=False)
    if not word.startswith("max-age"):
        return wishes
    age = _MAX_AGE.fullmatch(word)
    max_age_s = int(age[1][:_LONGEST_AGE_DIGITS]) if age else 0  # what cannot be read is taken as too old
    return msgspec.structs.replace(wishes, max_age_s=max_age_s, look=wishes.look and max_age_s > 0)


def _meaningless(word: str) -> CallerError:
    message = (
        f"{HEADER}: {word[:64]!a} means nothing here. It takes no-store, refresh, ttl=SECONDS (0 to {LONGEST_TTL_S}), "
        f"{', '.join(_MODES)}, several of them separated by commas."
    )
    return CallerError(400, message, code="invalid_header", param=HEADER)
