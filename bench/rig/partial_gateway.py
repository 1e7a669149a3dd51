"""`keyrelay up` with a part of the way of a request left out, for `bench/where_time_goes.py`.

Run: `python -m rig.partial_gateway PART UPSTREAM_URL`. `caller` answers at once, with a body of the right length;
`passing` sends the request on and its answer back, and nothing else. The servers, protocols and connections are those
of the gateway itself.
"""

import asyncio
import sys

from starlette.types import Receive, Scope, Send

from keyrelay.api.answering import DIRECT, DirectAnswer
from keyrelay.api.app import Application
from keyrelay.cli import main as cli
from keyrelay.core.origins import parse_base_url
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.upstream.transport import HttpTransport
from rig.payloads import CHAT, SMALL

_HEAD = b"content-type: application/json\r\n"
_LONGEST_S = 30.0


async def at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """The caller's side alone."""
    del receive, send
    direct: DirectAnswer = scope["extensions"][DIRECT]
    direct.take_body()
    direct.write_whole(200, _HEAD, SMALL.answer)


class Passing:
    """The caller's side and the provider's."""

    def __init__(self, url: str, application: Application) -> None:
        self._origin, self._path = parse_base_url(url)
        self._upstream = HttpTransport(outbox=application.outbox)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        del receive, send
        direct: DirectAnswer = scope["extensions"][DIRECT]
        latest_at = asyncio.get_running_loop().time() + _LONGEST_S
        answer = await self._upstream.send(
            UpstreamCall(
                origin=self._origin,
                target=f"{self._path}/chat/completions",
                credential=None,
                body=direct.take_body() or b"",
                first_byte_at=latest_at,
                total_at=latest_at,
            )
        )
        body = b"" if isinstance(answer, Fault) else answer.body
        direct.write_whole(200, _HEAD, body)


def main(part: str, url: str) -> None:
    """Entry point."""
    start = Application.start

    async def started(application: Application) -> None:
        await start(application)
        handler = at_once if part == "caller" else Passing(url, application)
        place = application.exact[b"POST", CHAT.encode()]
        application.exact[b"POST", CHAT.encode()] = type(place)(place.method, place.path, handler)

    Application.start = started  # type: ignore[method-assign,assignment]  # the one place where it is put in
    sys.argv = ["keyrelay", "up"]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
