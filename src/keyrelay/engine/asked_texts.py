"""What a request says, as far as a provider may quote it: looked at only when something has failed."""

import contextlib
from collections.abc import Iterator

import msgspec

from keyrelay.core.quotations import texts_of
from keyrelay.core.requests import CallRequest
from keyrelay.wire.body import JSON_ERRORS


def asked_texts(request: CallRequest) -> Iterator[str]:
    """Every text of a request, those that it goes on from included; of a form also what its files say."""
    for name, value in request.fields.items():
        if b'"' not in bytes(value):
            continue  # numbers, millions of them perhaps
        try:
            yield from texts_of(msgspec.json.decode(value), name)
        except JSON_ERRORS:  # whoever quotes it quotes the bytes
            yield bytes(value).decode(errors="replace")
    if request.form is not None:
        with contextlib.suppress(UnicodeDecodeError):  # sound, or a picture
            yield str(request.form.content, "utf-8")
