"""One simulated provider: what it makes of a call, decided step by step, then delivered or refused."""

import random
from collections import deque
from typing import Any

import msgspec

from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind
from keyrelay.core.providers import ModelRow, ProviderRow
from keyrelay.simulator.asking import WrongRequestError
from keyrelay.simulator.clock import Clock
from keyrelay.simulator.composing import Composer
from keyrelay.simulator.delivery import deliver, pace_of
from keyrelay.simulator.dialects import dialect_of
from keyrelay.simulator.errors.reasons import ErrorCase
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults import FAULTS, Fault, check_faults, split_fault
from keyrelay.simulator.files import FileBook
from keyrelay.simulator.keys import Key, KeyBook
from keyrelay.simulator.limits import Enforcer, Excess, Scope
from keyrelay.simulator.listings import model_list, model_object
from keyrelay.simulator.probes import Catalogue, probe
from keyrelay.simulator.routes import FREE, LISTED, LOOKED_UP, Route
from keyrelay.simulator.scenario import Change, KeyPlan, KeyState, Latency, ProviderPlan, Scenario
from keyrelay.simulator.spans import limit_facts, span_of
from keyrelay.simulator.styles import style_of
from keyrelay.simulator.texts import Corpus

FAULT_HEADER = "x-sim-fault"

Refused = tuple[ErrorCase, dict[str, Any]]

_DEAD_KEYS: dict[str, ErrorCase] = {"invalid": "invalid_key", "banned": "banned", "leaked": "leaked"}
_WORTHLESS_KEYS: dict[str, ErrorCase] = {"no_credit": "no_credit", "no_permission": "no_permission"}
_USED_UP: dict[str, tuple[ErrorCase, WindowKind, int]] = {
    "exhausted_day": ("day", WindowKind.DAY, 1000),
    "exhausted_month": ("month", WindowKind.MONTH, 1000),
}
_CASE_OF_SPAN: dict[str, ErrorCase] = {"day": "day", "month": "month", "once": "month"}


class Provider:
    """A row of the catalogue come to life."""

    def __init__(self, row: ProviderRow, scenario: Scenario, corpus: Corpus, clock: Clock) -> None:
        plan = scenario.providers.get(row.id, ProviderPlan())
        check_faults((*plan.faults, *plan.script))
        _check_keys(plan.keys)
        self._row = row
        self._plan = plan
        self._clock = clock
        self._composer = Composer(row, corpus, seed=scenario.seed, answer_tokens=plan.answer_tokens)
        self._random = random.Random(f"{scenario.seed}/{row.id}")  # noqa: S311 - latencies and faults, repeatable
        self._catalogue = Catalogue(row, plan.models)
        self._enforcer = Enforcer(row.limits if plan.limits is None else plan.limits, plan.hidden_limits)
        self._faults = plan.faults
        self._script = deque(plan.script)
        self._latency: Latency = plan.latency or scenario.latency
        self._served = 0
        self._files = FileBook(row.id)
        self.keys = KeyBook(plan, zone=row.day_zone, now_s=clock.now())

    def __repr__(self) -> str:
        return f"Provider({self._row.id}, {self._served} served)"

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits enforced, hidden ones included."""
        return tuple(meter.limit for meter in self._enforcer.meters)

    def change(self, change: Change) -> None:
        """Take over what a change names."""
        check_faults((*(change.faults or ()), *(change.script or ())))
        _check_keys(change.keys)
        if change.faults is not None:
            self._faults = change.faults
        if change.script is not None:
            self._script = deque(change.script)
        if change.limits is not None:
            self._enforcer = Enforcer(change.limits, self._plan.hidden_limits)
        if change.latency is not None:
            self._latency = change.latency
        for name, entry in change.keys.items():
            self.keys.change(name, entry, self._clock.now())

    def identify(self, exchange: Exchange, secret: str) -> None:
        """Note whose call it is."""
        if not secret and not self._row.auth.optional:
            return
        key = self.keys.find(secret or "sim-no-key", self._clock.now())
        exchange.key = key
        exchange.call.key = key.label if key else "unknown"
        exchange.call.account = key.account if key else ""

    def serve(self, exchange: Exchange, route: Route, secret: str) -> None:
        """Answer one call of that route."""
        self.identify(exchange, secret)
        if route.dialect != "openai" and route.dialect not in (self._row.dialect, self._row.native_dialect):
            exchange.refuse("not_found")
            return
        if route.operation == "files" and not self._row.paths.files:
            exchange.refuse("not_found")
            return
        exchange.dialect = dialect_of(route.dialect, exchange.request.query)
        if route.operation in LOOKED_UP:
            self._look_up(exchange, secret)
            return
        self._read(exchange, route)
        if route.operation in FREE:
            self._count(exchange, secret)
            return
        try:
            fault, argument = self._choose_fault(exchange)
        except ValueError as exc:
            exchange.respond(400, (("content-type", "text/plain"),), str(exc).encode())
            return
        if fault is not None:
            exchange.call.fault = fault.name
            if fault.before_admission:
                exchange.run(fault.strike(exchange, argument))
                return
        refused = self._check_key(exchange, secret) or self._check_request(exchange)
        if refused is not None:
            exchange.call.fault = ""
            exchange.refuse(*refused)
        elif fault is not None:
            exchange.run(fault.strike(exchange, argument))
        else:
            deliver(exchange, pace_of(self._latency, self._random))

    def _read(self, exchange: Exchange, route: Route) -> None:
        prompt = exchange.dialect.read(route.operation, exchange.request)
        exchange.prompt = prompt
        exchange.call.model = prompt.model
        exchange.call.stream = prompt.stream
        exchange.call.input_tokens = prompt.input_tokens

    def _choose_fault(self, exchange: Exchange) -> tuple[Fault | None, str]:
        text = self._named_fault(exchange) or self._scripted_fault(exchange) or self._drawn_fault(exchange)
        if not text:
            return None, ""
        check_faults((text,))
        name, argument = split_fault(text)
        strikes = FAULTS[name].applies(stream=exchange.streaming, sse=exchange.dialect.sse)
        return (FAULTS[name], argument) if strikes else (None, "")

    def _named_fault(self, exchange: Exchange) -> str:
        text, at, provider = exchange.request.headers.get(FAULT_HEADER, "").rpartition("@")
        if not at:
            return provider
        return text if provider == self._row.id else ""

    def _scripted_fault(self, exchange: Exchange) -> str:
        if exchange.key is not None and exchange.key.script:
            return exchange.key.script.popleft()
        return self._script.popleft() if self._script else ""

    def _drawn_fault(self, exchange: Exchange) -> str:
        faults = {**self._faults, **exchange.key.faults} if exchange.key else self._faults
        if not faults:
            return ""
        draw = self._random.random()
        for name, probability in faults.items():
            draw -= probability
            if draw < 0:
                return name
        return ""

    def _check_key(self, exchange: Exchange, secret: str) -> Refused | None:
        if exchange.key is None:
            return ("invalid_key" if secret else "missing_key"), {}
        state = exchange.key.state(self._clock.now())
        case = _DEAD_KEYS.get(state)
        return (case, {}) if case else None

    def _check_request(self, exchange: Exchange) -> Refused | None:
        model = self._check_prompt(exchange)
        if not isinstance(model, ModelRow):
            return model
        return (
            self._check_rights(exchange, model)
            or self._check_content(exchange)
            or self._check_context(exchange, model)
            or self._admit(exchange, model)
        )

    def _check_prompt(self, exchange: Exchange) -> ModelRow | Refused:
        """The model that is asked, or what is wrong with the request."""
        prompt = exchange.prompt
        if prompt.wrong is not None:
            return "malformed", {}
        if exchange.call.operation == "files":
            return ModelRow(id=prompt.model)
        model = self._catalogue.find(prompt.model, listed=exchange.call.operation in LISTED)
        if model is None:
            return "unknown_model", {}
        exchange.call.model = model.id
        try:
            exchange.dialect.refusal_of(prompt, self._row.id, model)
            if self._row.paths.files:
                self._files.check(prompt, exchange.call.account)
        except WrongRequestError as error:
            prompt.refuse(error)
            return "malformed", {}
        return model

    def _count(self, exchange: Exchange, secret: str) -> None:
        """Answer what costs nothing."""
        model = self._check_key(exchange, secret) or self._check_prompt(exchange)
        if not isinstance(model, ModelRow):
            exchange.refuse(*model)
            return
        body = exchange.dialect.ready(exchange.call.operation, exchange.prompt, 0)
        exchange.respond(200, exchange.headers(), msgspec.json.encode(body))

    def _check_rights(self, exchange: Exchange, model: ModelRow) -> Refused | None:
        key, now_s = exchange.key, self._clock.now()
        if key is None:
            return None
        state = key.state(now_s)
        if state in _WORTHLESS_KEYS:
            return _WORTHLESS_KEYS[state], {}
        if state == "restricted_model" and model.id not in key.models:
            return "no_permission", {}
        if state in _USED_UP:
            return self._used_up(key, state, now_s)
        return None

    def _used_up(self, key: Key, state: str, now_s: float) -> Refused:
        case, kind, amount = _USED_UP[state]
        of_span = (li for li in self.limits if li.unit is Unit.REQUESTS and span_of(li.window) == kind)
        limit = next(of_span, None) or Limit(
            unit=Unit.REQUESTS,
            amount=amount,
            window=Window(kind, zone=self._row.day_zone),
            scope=(ScopePart.ACCOUNT, ScopePart.MODEL),
            source=LimitSource.CATALOGUE,
        )
        return case, limit_facts(limit, used=limit.amount, needed=1, free_at_s=key.until_s, now_s=now_s)

    def _check_content(self, exchange: Exchange) -> Refused | None:
        if exchange.prompt.blocked and not style_of(self._row.id).blocks_with_200:
            return "blocked", {}
        return None

    def _check_context(self, exchange: Exchange, model: ModelRow) -> Refused | None:
        tokens = exchange.prompt.input_tokens
        if not model.context_tokens or tokens <= model.context_tokens:
            return None
        return "context", {"context": model.context_tokens, "over": tokens - model.context_tokens}

    def _admit(self, exchange: Exchange, model: ModelRow) -> Refused | None:
        call, now_s = exchange.call, self._clock.now()
        exchange.caller = Scope(call.provider, call.account, call.key, call.model)
        excess = self._enforcer.admit(exchange.caller, call.input_tokens, now_s)
        if excess is not None:
            call.refused_by, call.refused_scope = excess.limit, excess.scope
            exchange.enforcer = self._enforcer
            return self._refusal_of(excess, now_s)
        self._served += 1
        exchange.enforcer = self._enforcer
        self._composer.compose(exchange, model, now_s)
        return self._look_into_files(exchange, now_s) if call.operation == "files" else None

    def _look_into_files(self, exchange: Exchange, now_s: float) -> Refused | None:
        try:
            exchange.ready = self._files.answer(exchange.request, exchange.prompt, exchange.call.account, now_s)
        except WrongRequestError as error:
            exchange.prompt.refuse(error)
            return "malformed", {}
        return None

    def _refusal_of(self, excess: Excess, now_s: float) -> Refused:
        never = excess.needed > excess.limit.amount and excess.limit.unit is not Unit.REQUESTS
        case: ErrorCase = "too_large" if never else _CASE_OF_SPAN.get(span_of(excess.limit.window), "rate")
        facts = limit_facts(
            excess.limit, used=excess.used, needed=excess.needed, free_at_s=excess.free_at_s, now_s=now_s
        )
        return case, facts

    def _look_up(self, exchange: Exchange, secret: str) -> None:
        path = exchange.request.path
        refused = self._check_key(exchange, secret)
        if refused is not None:
            exchange.refuse(*refused)
            return
        if exchange.key is None:
            return
        body: bytes | None
        native = "/openai/" not in path and "/compatibility/" not in path
        if exchange.call.operation == "models":
            body = msgspec.json.encode(model_list(self._row, self._catalogue.models(), path, native=native))
        elif exchange.call.operation == "model":
            model = self._catalogue.find(path.partition("/models/")[2])
            body = msgspec.json.encode(model_object(self._row, model, native=native)) if model else None
        else:
            body = probe(path, exchange.key)
        if body is None:
            exchange.refuse("unknown_model" if exchange.call.operation == "model" else "not_found")
        else:
            exchange.respond(200, exchange.headers(), body)


def _check_keys(keys: dict[str, KeyState | KeyPlan]) -> None:
    for key in keys.values():
        if isinstance(key, KeyPlan):
            check_faults((*key.faults, *key.script))
