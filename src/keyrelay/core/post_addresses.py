"""Addresses that messages are posted to: URLs that are secret as a whole, since whoever knows one may post there."""

from urllib.parse import urlsplit

import msgspec

from keyrelay.core.origins import Origin, parse_base_url

MOST_CHARACTERS = 2_048


class PostAddress(msgspec.Struct, frozen=True):
    """Where a POST goes: an origin, guarded, because it was named by API, and path with query."""

    origin: Origin
    target: str

    def __repr__(self) -> str:
        return f"<PostAddress at {self.origin}>"


def parse_post_url(url: str) -> PostAddress:
    """The address that a URL stands for. Raise ValueError, which does not repeat it."""
    if len(url) > MOST_CHARACTERS:
        raise ValueError(f"a URL has at most {MOST_CHARACTERS} characters")
    head, mark, query = url.strip().partition("?")
    origin, path = parse_base_url(head, guarded=True)
    slash = "/" if not path or urlsplit(head).path.endswith("/") else ""
    target = f"{path}{slash}{mark}{query}"
    if any(not "!" <= character <= "~" or character == "#" for character in target):
        raise ValueError("a URL to post to is written in ASCII, without spaces and without a fragment")
    return PostAddress(origin, target)
