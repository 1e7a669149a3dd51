"""Messages as webhooks and chats take them."""

from typing import Any

import msgspec

from keyrelay.alerting.texts import line_text, text_of
from keyrelay.core.alerts import AlertLine, AlertMessage, Severity
from keyrelay.core.moments import rfc3339

TYPE = "alert"
_SLACK_TEXT = 2_900
"""Slack takes 3,000 characters in a section."""

_DISCORD_TEXT = 1_900
_SIGNS = {Severity.INFO: "ℹ️", Severity.WARNING: "⚠️", Severity.CRITICAL: "🔴"}  # noqa: RUF001 - the sign for information
_OVER = "✅"


def webhook_body(message: AlertMessage) -> bytes:
    """The document that a webhook gets."""
    return msgspec.json.encode(
        {
            "type": f"{TYPE}.{message.kind}",
            "timestamp": rfc3339(message.at_s),
            "data": {
                "id": webhook_id(message),
                "rule": message.rule,
                "severity": message.severity,
                "title": message.title,
                "text": text_of(message),
                "advice": message.advice,
                "count": message.count,
                "alerts": [_alert(line) for line in message.lines],
            },
        }
    )


def webhook_id(message: AlertMessage) -> str:
    """The id that a receiver knows a message by, however often it comes."""
    return f"msg_{message.id.removeprefix('req_')}"


def chat_body(message: AlertMessage, *, discord: bool) -> bytes:
    """What Slack, Mattermost and others of their kind take; Discord takes a text of its own unless asked otherwise."""
    heading = f"{_OVER if message.kind == 'resolved' else _SIGNS[message.severity]} {message.title}"
    text = text_of(message)
    if discord:
        return msgspec.json.encode(
            {"content": f"**{heading}**\n{_cut(text, _DISCORD_TEXT)}", "allowed_mentions": {"parse": []}}
        )
    escaped = _cut(_escaped(text), _SLACK_TEXT)
    blocks = [_section(f"*{_escaped(heading)}*"), _section(escaped)]
    return msgspec.json.encode({"text": f"{_escaped(heading)}\n{escaped}", "blocks": blocks})


def mail_text(message: AlertMessage) -> str:
    """What an e-mail says."""
    lines = [line_text(line) for line in message.lines]
    if message.count > len(lines):
        lines.append(f"And {message.count - len(lines)} more.")
    said = "\n\n".join(lines) or "Alerts arrive here."
    return f"{said}\n\n{message.advice}\n\n-- \nKeyrelay, {rfc3339(message.at_s)}\n"


def _alert(line: AlertLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "subject": line.subject,
        "firing": line.firing,
        "severity": line.severity,
        "detail": line.detail,
        "since": rfc3339(line.since_s),
    }


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """A text in which nothing calls anybody: `<!channel>` is written out."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
