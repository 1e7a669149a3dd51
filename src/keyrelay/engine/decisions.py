"""What was decided for each request, kept for a while so that it can be explained.

Of a request that the first candidate answered its record says everything, and nearly all are like that. So records are
kept as the lines that they are in the log, many in one piece: objects that stay alive for ten thousand requests would
cost each request as much memory traffic as all of its accounting. Only when a candidate was passed over or failed,
the reasons are kept as well. Nothing is put into words before somebody asks (`engine.explanations`), and nothing that
is kept has a prompt or a body in it.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from keyrelay.core.records import RequestRecord
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Plan, Pool
from keyrelay.engine.reasons import Decision
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate

KEPT_REQUESTS: Final = 10_000

MAX_REASONS: Final = 500
"""Reasons kept of one request; what is beyond them is only counted."""

REASONS_PER_REQUEST: Final = 10
"""Reasons kept on average: N requests hold at most so many times N, whatever a request went through."""

_REQUEST: Final = b'{"event":"request"'
_record: Final = msgspec.json.Decoder(RequestRecord)


class Decisions:
    """The newest decisions, found by request id: at least `most` of them, and hardly more.

    `refresh` brings in what has ended since the last page of lines was written.
    """

    __slots__ = ("_by_id", "_in_order", "_lines", "_most_reasons", "_pages", "_pool", "_reasons", "most", "refresh")

    def __init__(self, pool: Pool, most: int = KEPT_REQUESTS) -> None:
        self.keep_at_least(most)
        self.refresh: Callable[[], None] = _nothing
        self._pool = pool
        self._pages: deque[tuple[bytes, int]] = deque()
        self._lines = 0
        self._reasons = 0
        self._by_id: dict[str, Decision] = {}
        self._in_order: deque[Decision] = deque()

    def keep_at_least(self, most: int) -> None:
        """From now on keep this many."""
        self.most = most
        self._most_reasons = most * REASONS_PER_REQUEST

    def keep(self, job: Job, chosen: Candidate | None = None, preferred: str = "") -> None:
        """Keep the reasons behind a request that has ended, if there are any; once per request."""
        record, amounts = job.record, job.amounts
        record.reserved_input_tokens, record.reserved_output_tokens = amounts.input_tokens, amounts.output_tokens
        if not (job.drops or job.tried or job.parked or preferred):
            return
        decision = Decision(record, job.plan, amounts, job.drops, job.tried, chosen, preferred, job.parked)
        if job.drops or job.tried:
            decision = self._weighed(decision)
        self._by_id[record.id] = decision
        self._in_order.append(decision)
        while len(self._in_order) > self.most:
            self._forget_oldest()

    def remember(self, page: bytes, requests: int) -> None:
        """Keep the lines of the log in which so many requests stand, the oldest first."""
        if requests:
            self._pages.append((page, requests))
            self._lines += requests
        while self._pages and self._lines - self._pages[0][1] >= self.most:
            self._lines -= self._pages.popleft()[1]

    def find(self, request_id: str) -> Decision | None:
        """The decision for a request; None when there is none, or it is too long ago."""
        self.refresh()
        words = f'"request_id":"{request_id}"'.encode()
        for page, _ in reversed(self._pages):
            at = page.find(words)
            while at >= 0:
                start, end = page.rfind(b"\n", 0, at) + 1, page.find(b"\n", at)
                if page.startswith(_REQUEST, start):
                    return self._decision(page[start:end])
                at = page.find(words, end)
        return None

    def clear(self) -> None:
        """Let go of everything: nobody will ask any more."""
        self._pages.clear()
        self._by_id.clear()
        self._in_order.clear()
        self._lines = self._reasons = 0

    def _decision(self, line: bytes) -> Decision:
        """What is known of a request that stands in a line of the log."""
        record = _record.decode(line)
        return self._by_id.get(record.id) or self._plain(record)

    def _plain(self, record: RequestRecord) -> Decision:
        """The decision for a request whose record says everything: the first candidate answered, or none was asked."""
        plan = self._pool.plan(record.model_asked) or Plan((), free_choice=False)
        served = record.provider, record.key, record.model
        asked = () if record.cached else plan.candidates()
        chosen = next((each for each in asked if (each.provider_id, each.key.label, each.model) == served), None)
        amounts = Amounts(1, record.reserved_input_tokens, record.reserved_output_tokens)
        return Decision(record, plan, amounts, {}, {}, chosen)

    def _weighed(self, decision: Decision) -> Decision:
        """The decision with no more reasons than may be kept, for which room has been made."""
        decision = _bounded(decision)
        self._reasons += decision.reasons
        while self._reasons > self._most_reasons and self._in_order:
            self._forget_oldest()
        return decision

    def _forget_oldest(self) -> None:
        oldest = self._in_order.popleft()
        if oldest.drops or oldest.tried:
            self._reasons -= oldest.reasons
        self._by_id.pop(oldest.record.id, None)

    def __len__(self) -> int:
        return self._lines

    def __repr__(self) -> str:
        return f"<Decisions {len(self)} of about {self.most}, {self._reasons} reasons>"


def _nothing() -> None:
    """All that has ended is there."""


def _bounded(decision: Decision) -> Decision:
    """The decision with at most so many reasons: those of calls before those of candidates passed over."""
    too_many = decision.reasons - MAX_REASONS
    if too_many <= 0:
        return decision
    tried = dict(list(decision.tried.items())[:MAX_REASONS])
    drops = dict(list(decision.drops.items())[: MAX_REASONS - len(tried)])
    return msgspec.structs.replace(decision, tried=tried, drops=drops, left_out=too_many)
