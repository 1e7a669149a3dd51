"""The lines of answers' heads, each `name: value` with its line end."""

STREAM_HEAD = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"
WHOLE_HEAD = "content-type: application/json\r\n"


def served_by(provider: str, model: str, key: str) -> str:
    """The lines that say who answered; none of the values can hold a line end."""
    said = ("".join(sign if " " <= sign <= "~" else "?" for sign in name) for name in (provider, model, key))
    return "x-keyrelay-provider: {}\r\nx-keyrelay-model: {}\r\nx-keyrelay-key: {}\r\n".format(*said)
