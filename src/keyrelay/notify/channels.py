"""One channel after another: which way a message goes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from keyrelay.core.alerts import AlertMessage, Channel, ChannelSecret, Outcome
from keyrelay.core.errors import KeyrelayError
from keyrelay.notify.http import HttpChannels
from keyrelay.notify.operators import OperatorsChannel

if TYPE_CHECKING:
    from keyrelay.notify.mail import Mail


class Channels:
    """Implements `ports.Notifier`. `mail` makes what sends e-mail; it is called when there is one to be sent."""

    __slots__ = ("_http", "_mail", "_make_mail", "_operators")

    def __init__(self, http: HttpChannels, mail: "Callable[[], Mail]", operators: OperatorsChannel) -> None:
        self._http = http
        self._make_mail = mail
        self._mail: Mail | None = None
        self._operators = operators

    async def notify(self, channel: Channel, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        """Deliver one message, once."""
        try:
            match channel.kind:
                case "webhook":
                    return await self._http.webhook(secret, message)
                case "slack":
                    return await self._http.chat(secret, message)
                case "email":
                    if self._mail is None:
                        self._mail = self._make_mail()
                    return await self._mail.send(channel, secret, message)
                case "apprise":
                    return await self._operators.send(message)
        except (KeyrelayError, ValueError) as error:  # an address or a recipient that cannot be written
            return Outcome(problem=str(error), lasting=True)

    def close(self) -> None:
        """Let go of threads."""
        if self._mail is not None:
            self._mail.close()

    def __repr__(self) -> str:
        return "<Channels>"
