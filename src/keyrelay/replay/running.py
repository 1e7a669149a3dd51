"""Running a trace: every request at its time through the gateway, until the last one has ended."""

import asyncio
from collections.abc import Callable, Mapping

from keyrelay.core.errors import CallerError
from keyrelay.core.records import Attempt, RequestRecord
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.wishes import Wishes
from keyrelay.quota.fairness import Priority
from keyrelay.replay.bodies import request_body
from keyrelay.replay.composing import Setting, compose, make_ready
from keyrelay.replay.figures import Figures, Outcome, figures_of
from keyrelay.replay.oracle import Oracle, Place
from keyrelay.replay.plan import Plan
from keyrelay.replay.provider import SimulatedProvider, enforced, limits_told, true_limits
from keyrelay.replay.trace import Trace, TraceRequest
from keyrelay.replay.upstream import SimulatedUpstream
from keyrelay.replay.virtual_time import VirtualClock, VirtualLoop
from keyrelay.simulator.limits import Meter, Scope, limit_of
from keyrelay.wire.openai import decode_request

Progress = Callable[[int, int], None]
"""Told how many requests of how many have been sent."""

_PROGRESS_STEP = 100
_MAX_DEPTH = 64


def replay(trace: Trace, plan: Plan, on_progress: Progress = lambda _done, _of: None) -> Figures:
    """Run a trace against a plan on a clock of its own and return what came of it.

    It owns the thread while it runs. Raise ConfigurationError for a plan that no gateway would start with.
    """
    setting = make_ready(plan)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(_Replay(trace, plan, setting).run(on_progress))


class _Silence:
    """Implements `ports.Observer`: the records are kept by who asks."""

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """Each record holds its attempts."""

    def finished(self, record: RequestRecord) -> None:
        """See above."""


class _Discard:
    """Implements `ports.Sink`: a caller who takes everything at once and keeps nothing."""

    gone = False

    async def start(self, head: bytes) -> None:
        """Take the head."""

    def write_now(self, data: bytes) -> bool:
        """Take a piece."""
        del data
        return True

    async def write(self, data: bytes) -> None:
        """Take a piece."""

    async def end(self, data: bytes) -> None:
        """Take the last piece."""


class _Replay:
    """One trace against one plan."""

    def __init__(self, trace: Trace, plan: Plan, setting: Setting) -> None:
        self._trace = trace
        self._plan = plan
        self._setting = setting
        self._seed = trace.header.seed + plan.seed

    async def run(self, on_progress: Progress) -> Figures:
        """Send every request when it is due."""
        loop = asyncio.get_running_loop()
        clock = VirtualClock(loop, self._trace.start_s)
        providers = self._providers(clock)
        upstream = SimulatedUpstream(providers)
        gateway = compose(self._setting, self._plan, upstream, clock=clock, observer=_Silence(), seed=self._seed)
        usable = self._usable(gateway, providers)
        outcomes = await self._send_all(gateway, clock, on_progress)
        tallies = [provider.tally for provider in providers.values()]
        return figures_of(self._plan, self._trace.requests, outcomes, usable=usable, tallies=tallies)

    async def _send_all(self, gateway: Gateway, clock: VirtualClock, on_progress: Progress) -> list[Outcome]:
        """Send each request at its time, whatever has become of those before it, and wait for the last one's end."""
        requests = self._trace.requests
        outcomes = dict[int, Outcome]()

        async def ask(request: TraceRequest, number: int) -> None:
            outcomes[number] = await _ask(gateway, request, number, clock)

        began_s = clock.monotonic_s()
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                wait_s = began_s + request.at_s - clock.monotonic_s()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(ask(request, number))
                if number % _PROGRESS_STEP == 0:
                    on_progress(number, len(requests))
        on_progress(len(requests), len(requests))
        return [outcomes[number] for number in range(len(requests))]

    def _providers(self, clock: VirtualClock) -> dict[str, SimulatedProvider]:
        entries = self._plan.providers
        return {
            name: SimulatedProvider(
                row, entries[name], seed=self._seed, clock=clock, told=limits_told(row, entries[name])
            )
            for name, row in self._setting.rows.items()
        }

    def _usable(self, gateway: Gateway, providers: Mapping[str, SimulatedProvider]) -> list[bool]:
        """Which requests could have been answered with these keys, as the gateway's own pool resolves their names."""
        meters = {
            name: [Meter(limit_of(limit)) for limit in enforced(true_limits(row, self._plan.providers[name]))]
            for name, row in self._setting.rows.items()
        }
        known = dict[tuple[str, str], list[Place]]()

        def places(request: TraceRequest) -> list[Place]:
            group = (request.model, request.operation)
            if group not in known:
                known[group] = _places(gateway, providers, request)
            return known[group]

        longest_s = self._setting.configuration.settings.max_wait_s
        return Oracle(meters, places, longest_wait_s=longest_s).answerable(self._trace.requests, self._trace.start_s)


def _places(gateway: Gateway, providers: Mapping[str, SimulatedProvider], request: TraceRequest) -> list[Place]:
    """The candidates of a request as the oracle sees them."""
    plan = gateway.pool.plan(request.model)
    places = []
    for candidate in plan.candidates() if plan else ():
        if not candidate.provider.path_of(request.operation):
            continue
        caller = Scope(candidate.provider_id, candidate.key.account, candidate.key.label, candidate.model)
        context = candidate.model_row.context_tokens if candidate.model_row else 0
        places.append(Place(caller, providers[candidate.provider_id].works_from_s(caller), context))
    return places


def _wishes(request: TraceRequest) -> Wishes:
    """What the request's headers would say."""
    return Wishes(deadline_s=request.deadline_s, priority=Priority(request.priority or Priority.INTERACTIVE))


async def _ask(gateway: Gateway, request: TraceRequest, number: int, clock: VirtualClock) -> Outcome:
    """One request as the data plane would hand it in."""
    record = RequestRecord(f"req_{number:08d}", clock.monotonic_s(), client=request.client)
    call = decode_request(request.operation, request_body(request, number), max_depth=_MAX_DEPTH)
    try:
        await gateway.serve(call, record, _Discard(), _wishes(request))
    except CallerError as error:
        record.status = error.status
        record.category = record.category or error.code or error.kind
    finally:
        gateway.finish(record)
    return Outcome.of(record)
