"""Taking secrets out of text before it reaches a log or a caller.

The first line of defence is that logs are built from fields that cannot hold a secret. This is the second:
every known secret in the forms in which it may come back (plain, quoted for URLs, for JSON, in base64), and
what looks like a key although nobody knows it.
"""

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = "[redacted]"
_SHORTEST_SECRET = 6
MOST_FORMER = 32
"""Secrets that are no longer in use and still taken out: what is under way may bring them up, and their owners too."""

_KEY_LIKE = re.compile(
    r"(?:(?<!file-)\b(?:sk|pk|rk|kr|gsk|csk|xai|nvapi|pplx|hf|fw|sk-or|sk-ant)[-_][A-Za-z0-9_\-*]{6,}"
    r"|\bAIza[0-9A-Za-z_\-]{10,}|\bAQ\.[0-9A-Za-z_\-]{10,}"
    r"|\b(?i:Bearer)\s+[A-Za-z0-9._~+/=\-]{6,}"
    r"|\b[A-Za-z0-9]{2,8}-?[A-Za-z0-9]{0,8}\*{3,}[A-Za-z0-9]{0,8}"
    r"|(?<=[?&]key=)[^&\s\"']+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@))"
)


class Redactor:
    """Redacts by exact secret and by pattern."""

    __slots__ = ("_count", "_known", "_secrets")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: dict[str, None] = {}
        self.know(secrets)

    def know(self, secrets: Iterable[str]) -> None:
        """Take these out from now on, and the last of those that were known before."""
        newest = dict.fromkeys(secrets)
        former = [secret for secret in self._secrets if secret not in newest]
        before, self._secrets = self._secrets, dict.fromkeys(former[-MOST_FORMER:]) | newest
        if before and before.keys() == self._secrets.keys():
            return  # only the order has changed in which they are forgotten one day; the expression is the same
        forms = {form for secret in self._secrets if len(secret) >= _SHORTEST_SECRET for form in _forms(secret)}
        self._count = len(forms)
        longest_first = sorted(forms, key=len, reverse=True)
        # Whatever the case: error codes are read in lower case, and a provider may put anything there.
        known = "|".join(map(re.escape, longest_first))
        self._known = re.compile(known, re.IGNORECASE) if known else None

    def redact(self, text: str) -> str:
        """The text without anything that is, or looks like, a secret."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _KEY_LIKE.sub(MASK, text)

    def __repr__(self) -> str:
        return f"<Redactor {self._count} forms of secrets>"


def _forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], encoded, encoded.rstrip("=")}
