"""The judge and the scenario over HTTP, below `/__simulator/`, without authentication: for the loopback only."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from keyrelay.simulator.clock import Clock
from keyrelay.simulator.faults import FAULTS
from keyrelay.simulator.http import Request
from keyrelay.simulator.judge import Call, Judge
from keyrelay.simulator.provider import Provider
from keyrelay.simulator.scenario import Change

PREFIX = "__simulator"
_JSON = (("content-type", "application/json"),)
_PAGE = 1000
_MAX_PAGE = 10_000


class Controlled(Protocol):
    """What of the simulator is seen and changed from here."""

    judge: Judge
    clock: Clock

    @property
    def providers(self) -> Mapping[str, Provider]: ...  # noqa: D102 - see Simulator
    def base_url(self, provider_id: str) -> str: ...  # noqa: D102 - see Simulator
    def change(self, change: Change) -> None: ...  # noqa: D102 - see Simulator
    def reset(self) -> None: ...  # noqa: D102 - see Simulator


Answer = tuple[int, tuple[tuple[str, str], ...], bytes]


def answer(simulator: Controlled, prefix: str, rest: str, request: Request) -> Answer:
    """Answer whatever is not below a provider's prefix."""
    if prefix != PREFIX:
        providers = {name: simulator.base_url(name) for name in simulator.providers}
        return _answer(404 if prefix else 200, {"error": "no such provider", "providers": providers})
    handler = _ROUTES.get((request.method, rest))
    if handler is None:
        return _answer(404, {"error": "no such path", "paths": [f"{method} {path}" for method, path in _ROUTES]})
    return handler(simulator, request)


def summary(simulator: Controlled) -> dict[str, Any]:
    """Figures of the whole run; keys by label."""
    judge, now_s = simulator.judge, simulator.clock.now()
    statuses: dict[str, Counter[str]] = {}
    for call in judge.calls:
        statuses.setdefault(call.provider, Counter())[str(call.status)] += 1
    return {
        "now_s": now_s,
        "calls": judge.total,
        "dropped": judge.dropped,
        "calls_per_key": judge.calls_per_key(),
        "statuses": statuses,
        "faults": Counter(call.fault for call in judge.calls if call.fault),
        "violations": [
            {"limit": str(v.limit), "scope": v.scope, "refused_calls": len(v.calls)} for v in judge.violations()
        ],
        "disconnects": len(judge.disconnects()),
        "keys": {name: provider.keys.states(now_s) for name, provider in simulator.providers.items()},
    }


def _summary(simulator: Controlled, _: Request) -> Answer:
    return _answer(200, summary(simulator))


def _faults(_: Controlled, __: Request) -> Answer:
    return _answer(200, {name: fault.describe() for name, fault in FAULTS.items()})


def _reset(simulator: Controlled, _: Request) -> Answer:
    simulator.reset()
    return _answer(200, {"reset": True})


def _calls(simulator: Controlled, request: Request) -> Answer:
    given = {name: values[0] for name, values in parse_qs(request.query).items()}
    after = int(given.get("after", "-1")) if given.get("after", "-1").lstrip("-").isdecimal() else -1
    limit = min(int(given.get("limit", _PAGE)), _MAX_PAGE) if given.get("limit", "1").isdecimal() else _PAGE
    found: list[Call] = []
    for call in simulator.judge.calls:
        if call.number > after and given.get("provider", call.provider) == call.provider:
            found.append(call)
        if len(found) == limit:
            break
    return _answer(200, {"calls": found, "total": simulator.judge.total, "dropped": simulator.judge.dropped})


def _script(simulator: Controlled, request: Request) -> Answer:
    try:
        change = msgspec.json.decode(request.body, type=Change)
        simulator.change(change)
    except ValueError as exc:
        return _answer(400, {"error": str(exc)})
    return _answer(200, {"changed": True})


def _answer(status: int, body: Any) -> Answer:
    return status, _JSON, msgspec.json.encode(body)


_ROUTES: dict[tuple[str, str], Callable[[Controlled, Request], Answer]] = {
    ("GET", "calls"): _calls,
    ("GET", "summary"): _summary,
    ("GET", "faults"): _faults,
    ("POST", "script"): _script,
    ("POST", "reset"): _reset,
}
