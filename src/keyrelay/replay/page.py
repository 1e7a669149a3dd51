"""The generated part of docs/quota.md: the shipped traces under the shipped plans, between markers.

`python -m keyrelay.replay.page docs/quota.md` (or scripts/replay-docs) brings a page up to date.
"""

import sys
from pathlib import Path

from keyrelay.replay.figures import markdown, rows
from keyrelay.replay.plan import load_plan
from keyrelay.replay.running import replay
from keyrelay.replay.trace import load_trace

PLANS = ("default", "round_robin", "priority")
TRACES = ("day", "burst")

BEGIN = "<!-- replay {}: generated -->\n"
END = "<!-- replay {}: end -->"


def table(trace: str) -> str:
    """A trace under every shipped plan, as a Markdown table."""
    read = load_trace(trace)
    columns = [replay(read, load_plan(plan)) for plan in PLANS]
    return markdown([trace, *(f"`{plan}`" for plan in PLANS)], rows(columns))


def renewed(text: str) -> str:
    """A page with its tables brought up to date. Raise ValueError when a marker is missing."""
    for trace in TRACES:
        begin, end = BEGIN.format(trace), END.format(trace)
        if (text.count(begin), text.count(end)) != (1, 1):
            raise ValueError(f"the page does not have the markers of replay {trace} once each")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{table(trace)}{end}{rest.partition(end)[2]}"
    return text


def main(arguments: list[str]) -> None:
    """Bring the pages named up to date."""
    for path in map(Path, arguments):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
