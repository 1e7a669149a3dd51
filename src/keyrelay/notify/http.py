"""Messages by HTTP: a POST to an address that somebody has named by API, and so to an allowed one only."""

import asyncio

from keyrelay.core.alerts import AlertMessage, ChannelSecret, Outcome
from keyrelay.core.post_addresses import PostAddress, parse_post_url
from keyrelay.notify.bodies import chat_body, webhook_body, webhook_id
from keyrelay.notify.signing import signature_headers
from keyrelay.ports import Clock, Fault, Upstream, UpstreamCall

ANSWER_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 65_536

_AGENT = (("user-agent", "Keyrelay"),)
_FINE = range(200, 300)
_LATER = frozenset({408, 409, 425, 429})
_CLIENT_ERRORS = range(300, 500)
_DISCORD = (".discord.com", ".discordapp.com")


class HttpChannels:
    """Webhooks, and chats that take them, over `upstream`."""

    __slots__ = ("_clock", "_upstream")

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock

    async def webhook(self, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        """Post a signed document."""
        body = webhook_body(message)
        headers = signature_headers(webhook_id(message), self._clock.epoch_s(), body, secret.key)
        return await self._post(parse_post_url(secret.url), body, headers)

    async def chat(self, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        """Post a text."""
        address = parse_post_url(secret.url)
        discord = f".{address.origin.host}".endswith(_DISCORD)
        own_form = discord and not address.target.endswith("/slack")
        return await self._post(address, chat_body(message, discord=own_form))

    async def _post(self, address: PostAddress, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Outcome:
        until_at = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        call = UpstreamCall(
            origin=address.origin,
            target=address.target,
            credential=None,
            body=body,
            first_byte_at=until_at,
            total_at=until_at,
            headers=(*_AGENT, *headers),
            content_type="application/json",
            max_body_bytes=MAX_ANSWER_BYTES,
        )
        answer = await self._upstream.send(call)
        if isinstance(answer, Fault):
            return Outcome(problem=answer.message, lasting=answer.kind == "address")
        status = answer.status
        answer.close()
        if status in _FINE:
            return Outcome()
        lasting = status in _CLIENT_ERRORS and status not in _LATER
        return Outcome(problem=f"{address.origin} answered {status}", lasting=lasting)

    def __repr__(self) -> str:
        return f"<HttpChannels over {self._upstream!r}>"
