import datetime as dt
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.configuration import Credential, Key, Withheld
from keyrelay.core.failures import CALLER_KINDS, FAULT_KINDS, FailureKind, FailureScope
from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, parse_window
from keyrelay.core.origins import Origin
from keyrelay.core.prices import NO_PRICES, PriceList, Rates, simple_price
from keyrelay.core.providers import AuthRow
from keyrelay.core.secrets import Secret
from keyrelay.quota.values import LimitKey, Refusal
from keyrelay.routing.candidates import Candidate, failed, gate, limited, withheld
from keyrelay.routing.drops import PASSING_REASONS, Dropped, DropReason
from keyrelay.routing.health import Health
from tests.routing.helpers import MANUAL, NOW_S, candidate, failure, half, health, provider

KEY = Key(provider_id="groq", label="work", account="work", secret=None)
UNPROVEN = Dropped(DropReason.UNPROVEN, "another request is finding out whether this key works")
OTHER_KINDS = [kind for kind in FailureKind if kind not in FAULT_KINDS]


def proven(label: str = "home", model: str = "llama", *, known: Health | None = None, account: str = "") -> Candidate:
    """A candidate that has answered."""
    one = candidate(label, model, known=known, account=account)
    one.succeeded()
    return one


def may_serve(one: Candidate, now_s: float = NOW_S) -> bool:
    return gate(one, now_s) is None


@dataclass
class Family:
    """One candidate, and others that share with it what their names say; all of them proven."""

    known: Health = field(default_factory=lambda: health(failures=1000))

    def __post_init__(self) -> None:
        known = self.known
        self.one = proven("home", "llama", known=known, account="org")
        self.others = {
            "the same key, another model": proven("home", "qwen", known=known, account="org"),
            "another key of the account": proven("work", "llama", known=known, account="org"),
            "another key of the account, another model": proven("work", "qwen", known=known, account="org"),
            "another account": proven("spare", "llama", known=known, account="other"),
            "another account, another model": proven("spare", "qwen", known=known, account="other"),
        }
        elsewhere = candidate("home", "llama", known=known, of=provider("gemini"), account="org")
        elsewhere.succeeded()
        self.others["another provider"] = elsewhere

    def resting(self) -> set[str]:
        return {name for name, other in self.others.items() if not may_serve(other)}


class TestMaking:
    def test_it_knows_what_the_transport_sends(self) -> None:
        of = provider("azure", auth=AuthRow(header="api-key", prefix=""))
        one = candidate("home", "gpt", of=of, secret="hunter2")
        assert one.openai_ways["chat"].credential == Credential(
            Origin("https", "azure.example", 443), "api-key", "", Secret("hunter2")
        )
        assert (one.id, one.provider_id, repr(one)) == ("azure/home:gpt", "azure", "<Candidate azure/home:gpt>")
        assert (one.used, one.used_at_s, one.tracked, one.strikes) == (0.0, 0.0, False, 0)

    def test_it_knows_its_counts_and_its_model(self) -> None:
        per_model = Limit(unit=Unit.REQUESTS, amount=5, window=parse_window("60s"))
        other_model = Limit(unit=Unit.REQUESTS, amount=5, window=parse_window("60s"), models=("qwen",))
        of = provider("groq", models=["llama"], limits=(per_model, other_model))
        one = candidate("home", "llama", of=of, account="org")
        assert one.path == (LimitKey(per_model, ("acct:groq/org", "model:llama")),)
        assert one.model_row is of.models["llama"]
        assert candidate("home", "unheard-of", of=of).model_row is None

    def test_without_a_key_there_is_nothing_to_send_and_nothing_to_prove(self) -> None:
        one = candidate(secret="")
        assert one.openai_ways["chat"].credential is None
        one.begin(NOW_S)
        assert may_serve(one)
        one.failed(failure(FailureKind.RATE, until_s=NOW_S), NOW_S, half)
        assert all(proof.proven for proof in one.proofs)


class TestProofs:
    def test_an_untried_key_is_tried_by_one_request_at_a_time(self) -> None:
        known = health()
        first, second = candidate("home", "llama", known=known), candidate("home", "qwen", known=known)
        assert may_serve(first)
        first.begin(NOW_S)
        assert gate(first, NOW_S) == UNPROVEN
        assert gate(second, NOW_S) == UNPROVEN
        first.succeeded()
        assert may_serve(first)

    def test_a_proven_key_is_tried_with_each_model_once(self) -> None:
        known = health()
        proven("home", "llama", known=known)
        other = candidate("home", "qwen", known=known)
        other.begin(NOW_S)
        assert gate(other, NOW_S) == UNPROVEN
        assert may_serve(candidate("home", "gemma", known=known))

    @pytest.mark.parametrize("kind", OTHER_KINDS)
    def test_after_a_refusal_one_request_goes_first(self, kind: FailureKind) -> None:
        one = proven()
        one.begin(NOW_S)
        one.failed(failure(kind, until_s=None), NOW_S, half)
        assert may_serve(one)
        one.begin(NOW_S)
        expected = {FailureKind.AUTH, FailureKind.PERMISSION, FailureKind.BILLING, FailureKind.QUOTA, FailureKind.RATE}
        assert may_serve(one) is (kind not in expected)

    @pytest.mark.parametrize("kind", FailureKind)
    def test_the_first_try_of_a_key_proves_it_when_the_caller_was_at_fault(self, kind: FailureKind) -> None:
        one = candidate(known=health(failures=1000))
        one.begin(NOW_S)
        one.failed(failure(kind, FailureScope.REQUEST, until_s=None), NOW_S, half)
        one.begin(NOW_S)
        assert may_serve(one) is (kind in CALLER_KINDS)

    def test_a_try_that_was_given_up_lets_the_next_one_find_out(self) -> None:
        one = candidate()
        one.begin(NOW_S)
        one.released()
        assert may_serve(one)
        one.begin(NOW_S)
        assert not may_serve(one)

    def test_giving_up_does_not_unprove(self) -> None:
        one = proven()
        one.begin(NOW_S)
        one.released()
        one.begin(NOW_S)
        assert may_serve(one)


RESTS: list[tuple[FailureScope, set[str]]] = [
    (FailureScope.REQUEST, set()),
    (FailureScope.PAIR, {"another key of the account"}),
    (FailureScope.KEY, {"the same key, another model"}),
    (
        FailureScope.ACCOUNT,
        {"the same key, another model", "another key of the account", "another key of the account, another model"},
    ),
    (FailureScope.MODEL, {"another key of the account", "another account"}),
    (
        FailureScope.PROVIDER,
        {
            "the same key, another model",
            "another key of the account",
            "another key of the account, another model",
            "another account",
            "another account, another model",
        },
    ),
]


class TestFailed:
    @pytest.mark.parametrize("kind", OTHER_KINDS)
    @pytest.mark.parametrize(("scope", "resting"), RESTS)
    def test_what_the_failure_binds_rests_and_nothing_else(
        self, kind: FailureKind, scope: FailureScope, resting: set[str]
    ) -> None:
        family = Family()
        family.one.failed(failure(kind, scope), NOW_S, half)
        assert family.resting() == resting
        assert may_serve(family.one) is (scope is FailureScope.REQUEST)
        assert may_serve(family.one, NOW_S + 60)

    @pytest.mark.parametrize("kind", OTHER_KINDS)
    @pytest.mark.parametrize("scope", FailureScope)
    def test_without_an_end_nothing_rests(self, kind: FailureKind, scope: FailureScope) -> None:
        family = Family()
        family.one.failed(failure(kind, scope, until_s=None), NOW_S, half)
        assert family.resting() == set()
        assert may_serve(family.one)

    def test_bug_what_bound_a_whole_provider_rested_nothing(self) -> None:
        family = Family()
        family.one.failed(failure(FailureKind.PERMISSION, FailureScope.PROVIDER), NOW_S, half)
        assert len(family.resting()) == 5

    @pytest.mark.parametrize("kind", sorted(FAULT_KINDS))
    @pytest.mark.parametrize(("scope", "resting"), [(scope, names) for scope, names in RESTS if scope != "provider"])
    def test_a_fault_of_one_model_rests_it(self, kind: FailureKind, scope: FailureScope, resting: set[str]) -> None:
        family = Family()
        family.one.failed(failure(kind, scope), NOW_S, half)
        assert family.resting() == resting

    @pytest.mark.parametrize("kind", sorted(FAULT_KINDS))
    def test_a_fault_of_the_provider_is_for_its_circuit(self, kind: FailureKind) -> None:
        family = Family()
        family.one.failed(failure(kind, FailureScope.PROVIDER), NOW_S, half)
        assert family.resting() == set()
        assert may_serve(family.one)

    def test_a_denied_address_rests_the_provider_and_says_nothing_of_whether_it_is_there(self) -> None:
        family = Family()
        for _ in range(2):
            family.one.failed(failure(FailureKind.SERVICE, FailureScope.PROVIDER), NOW_S, half)
        family.one.failed(failure(FailureKind.ADDRESS, FailureScope.PROVIDER, until_s=NOW_S + 30), NOW_S, half)
        assert len(family.resting()) == 5
        assert [circuit.suspect for circuit in family.one.circuits] == [True, True]

    def test_each_refusal_is_a_strike_of_the_account_with_the_model(self) -> None:
        known = health()
        one, same = proven("home", known=known, account="org"), proven("work", known=known, account="org")
        for count in (1, 2, 3):
            one.failed(failure(), NOW_S, half)
            assert (one.strikes, same.strikes) == (count, count)
        same.failed(failure(FailureKind.BILLING, FailureScope.ACCOUNT), NOW_S, half)
        assert one.strikes == 3

    def test_an_answer_ends_the_row_of_faults_of_key_and_provider(self) -> None:
        one = proven()
        fault = failure(FailureKind.SERVICE, FailureScope.PROVIDER)
        for _ in range(2):
            one.failed(fault, NOW_S, half)
        assert [circuit.suspect for circuit in one.circuits] == [True, True]
        one.succeeded()
        assert [circuit.suspect for circuit in one.circuits] == [False, False]

    def test_a_refusal_is_an_answer_for_the_circuits(self) -> None:
        one = proven()
        for _ in range(4):
            one.failed(failure(FailureKind.SERVICE, FailureScope.PROVIDER, until_s=None), NOW_S, half)
            one.failed(failure(FailureKind.REQUEST, FailureScope.REQUEST, until_s=None), NOW_S, half)
        assert [circuit.suspect for circuit in one.circuits] == [False, False]


class TestCircuits:
    def fault(
        self, one: Candidate, times: int, kind: FailureKind = FailureKind.SERVICE, *, reached: bool = True
    ) -> None:
        for _ in range(times):
            one.begin(NOW_S)
            one.failed(failure(kind, FailureScope.PROVIDER, until_s=None, reached=reached), NOW_S, half)

    def test_three_faults_in_a_row_take_the_key_out(self) -> None:
        known = health()
        one, other = proven("home", known=known), proven("work", known=known)
        self.fault(one, 3)
        assert gate(one, NOW_S) == Dropped(
            DropReason.CIRCUIT_OPEN, "key:groq/home keeps failing: service: No.", NOW_S + 30
        )
        assert may_serve(other)

    def test_five_take_the_provider_out(self) -> None:
        known = health()
        one, other = proven("home", known=known), proven("work", known=known)
        self.fault(one, 5)
        assert gate(other, NOW_S) == Dropped(
            DropReason.CIRCUIT_OPEN, "provider:groq keeps failing: service: No.", NOW_S + 30
        )
        assert may_serve(candidate(known=known, of=provider("gemini")))

    def test_what_never_arrived_says_nothing_about_the_key(self) -> None:
        one = proven()
        self.fault(one, 5, FailureKind.NETWORK, reached=False)
        provider_circuit, key_circuit = one.circuits
        assert (provider_circuit.closed, key_circuit.closed) == (False, True)

    def test_a_fault_of_a_model_counts_for_no_circuit(self) -> None:
        one = proven()
        for _ in range(30):
            one.failed(failure(FailureKind.OVERLOADED, FailureScope.MODEL, until_s=None), NOW_S, half)
        assert all(circuit.closed for circuit in one.circuits)

    def test_one_probe_finds_out_and_its_answer_lets_everybody_pass(self) -> None:
        known = health()
        one, other = proven("home", known=known), proven("work", known=known)
        self.fault(one, 5)
        assert may_serve(other, NOW_S + 30)
        other.begin(NOW_S + 30)
        assert gate(other, NOW_S + 30) == Dropped(
            DropReason.CIRCUIT_OPEN, "provider:groq keeps failing: service: No.", NOW_S + 30
        )
        other.succeeded()
        assert may_serve(other, NOW_S + 30)

    def test_a_probe_that_was_given_up_makes_way(self) -> None:
        one = proven()
        self.fault(one, 5)
        one.begin(NOW_S + 40)
        one.released()
        assert may_serve(one, NOW_S + 40)


class TestSucceeded:
    def test_it_wakes_what_had_been_resting(self) -> None:
        family = Family()
        for scope in FailureScope:
            family.one.failed(failure(FailureKind.RATE, scope), NOW_S, half)
        family.one.succeeded()
        assert (family.resting(), family.one.strikes) == (set(), 0)

    def test_it_does_not_wake_the_dead(self) -> None:
        family = Family()
        family.one.failed(failure(FailureKind.AUTH, FailureScope.KEY, until_s=MANUAL), NOW_S, half)
        family.one.succeeded()
        assert family.resting() == {"the same key, another model"}


class TestGate:
    @pytest.mark.parametrize(
        ("kind", "until_s", "reason"),
        [
            (FailureKind.RATE, NOW_S + 5, DropReason.RESTING),
            (FailureKind.MODEL, NOW_S + 5, DropReason.RESTING),
            (FailureKind.PERMISSION, NOW_S + 5, DropReason.RESTING),
            (FailureKind.QUOTA, NOW_S + 5, DropReason.EXHAUSTED),
            (FailureKind.BILLING, NOW_S + 5, DropReason.EXHAUSTED),
            (FailureKind.OVERLOADED, NOW_S + 5, DropReason.CIRCUIT_OPEN),
            (FailureKind.ADDRESS, NOW_S + 5, DropReason.CIRCUIT_OPEN),
            (FailureKind.AUTH, MANUAL, DropReason.DEAD),
            (FailureKind.QUOTA, MANUAL, DropReason.DEAD),
        ],
    )
    def test_why_it_rests_and_until_when(self, kind: FailureKind, until_s: float, reason: DropReason) -> None:
        one = proven()
        one.failed(failure(kind, until_s=until_s), NOW_S, half)
        assert gate(one, NOW_S) == Dropped(reason, f"{kind}: No.", until_s, kind)

    def test_a_rest_is_over_when_its_time_has_come(self) -> None:
        one = proven()
        one.failed(failure(), NOW_S, half)
        assert [may_serve(one, NOW_S + later) for later in (0, 59.9, 60, 61)] == [False, False, True, True]

    def test_a_rest_tells_more_than_a_circuit_and_a_circuit_more_than_a_proof(self) -> None:
        one = candidate(known=health(failures=1))
        one.begin(NOW_S)
        assert gate(one, NOW_S) == UNPROVEN
        one.failed(failure(FailureKind.SERVICE, FailureScope.PROVIDER), NOW_S, half)
        assert (dropped := gate(one, NOW_S)) is not None
        assert dropped.reason is DropReason.CIRCUIT_OPEN
        for cell in one.cells:
            cell.rest(NOW_S + 5, failure())
        assert (dropped := gate(one, NOW_S)) is not None
        assert dropped.reason is DropReason.RESTING

    def test_of_two_rests_that_of_the_key_is_told(self) -> None:
        one = proven()
        one.failed(failure(FailureKind.RATE, FailureScope.PAIR), NOW_S, half)
        one.failed(failure(FailureKind.AUTH, FailureScope.KEY, until_s=MANUAL), NOW_S, half)
        assert gate(one, NOW_S) == Dropped(DropReason.DEAD, "auth: No.", MANUAL, FailureKind.AUTH)


class TestClear:
    """What was found clear is not looked at again until something changes; that must never show."""

    def test_a_proven_one_is_clear_once_the_gate_has_looked(self) -> None:
        one = proven()
        assert not one.clear
        assert may_serve(one)
        assert one.clear
        one.begin(NOW_S)
        one.succeeded()
        assert one.clear

    def test_an_unproven_one_is_not(self) -> None:
        one = candidate()
        assert may_serve(one)
        assert not one.clear

    def test_nor_one_that_was_refused_before_it_has_answered_again(self) -> None:
        one = candidate(secret="")
        one.failed(failure(), NOW_S, half)
        assert may_serve(one, NOW_S + 60)
        assert not one.clear

    @pytest.mark.parametrize("scope", [scope for scope, _ in RESTS if scope != "request"])
    def test_a_change_for_one_is_a_change_for_all(self, scope: FailureScope) -> None:
        family = Family()
        assert all(may_serve(other) for other in family.others.values())
        assert all(other.clear for other in family.others.values())
        family.one.failed(failure(scope=scope), NOW_S, half)
        assert family.resting() == dict(RESTS)[scope]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["begin", "succeeded", "rate", "auth", "fault", "model", "released"]),
                st.integers(0, 3),
                st.floats(0, 40),
            ),
            max_size=40,
        )
    )
    def test_the_gate_says_what_it_would_say_without(self, events: list[tuple[str, int, float]]) -> None:
        known = health()
        shared = [(label, model) for label in ("home", "work") for model in ("llama", "qwen")]
        group = [candidate(label, model, known=known, account="org") for label, model in shared]
        now_s = NOW_S
        for event, index, passed_s in events:
            now_s += passed_s
            one = group[index]
            if event == "begin":
                one.begin(now_s)
            elif event == "succeeded":
                one.succeeded()
            elif event == "released":
                one.released()
            elif event == "rate":
                one.failed(failure(until_s=now_s + 10), now_s, half)
            elif event == "auth":
                one.failed(failure(FailureKind.AUTH, FailureScope.KEY, until_s=now_s + 30), now_s, half)
            elif event == "model":
                one.failed(failure(FailureKind.OVERLOADED, FailureScope.MODEL, until_s=now_s + 5), now_s, half)
            else:
                one.failed(failure(FailureKind.SERVICE, FailureScope.PROVIDER, until_s=None), now_s, half)
            for label, model in shared:
                fresh = candidate(label, model, known=known, account="org")  # has not looked yet
                old = group[shared.index((label, model))]
                assert gate(old, now_s) == gate(fresh, now_s)


class TestReasons:
    def test_a_full_limit(self) -> None:
        limit = Limit(unit=Unit.REQUESTS, amount=15, window=parse_window("60s"), scope=(ScopePart.ACCOUNT,))
        refusal = Refusal(limit=LimitKey(limit, ("acct:groq/home",)), used=15, amount=15, until_s=NOW_S + 9, firm=True)
        assert limited(refusal) == Dropped(
            DropReason.LIMITED, "15 of 15 requests per 60s used", NOW_S + 9, FailureKind.RATE
        )

    def test_as_many_calls_in_flight_as_may_be_are_over_at_a_time_that_nobody_knows(self) -> None:
        limit = Limit(unit=Unit.REQUESTS, amount=2, window=parse_window("concurrent"), scope=(ScopePart.KEY,))
        refusal = Refusal(limit=LimitKey(limit, ("key:groq/home",)), used=2, amount=2, until_s=NOW_S + 900, firm=True)
        assert limited(refusal) == Dropped(DropReason.BUSY, "2 of 2 requests in flight", None, FailureKind.RATE)

    @pytest.mark.parametrize("kind", FailureKind)
    def test_a_failed_attempt(self, kind: FailureKind) -> None:
        passing = kind in {FailureKind.RATE, FailureKind.QUOTA}
        reason = DropReason.RESTING if passing else DropReason.FAILED
        assert failed(failure(kind)) == Dropped(reason, f"{kind}: No.", NOW_S + 60, kind)

    def test_reasons_that_pass_by_waiting(self) -> None:
        assert {"limited", "busy", "resting", "exhausted", "unproven"} == PASSING_REASONS


def test_the_clock_of_these_tests_is_what_it_says() -> None:
    assert dt.datetime.fromtimestamp(NOW_S, dt.UTC) == dt.datetime(2025, 11, 21, 12, tzinfo=dt.UTC)


PRICES = PriceList({"llama": simple_price("list", Rates(1, 2))})


def of_limit(unit: Unit, source: LimitSource = LimitSource.CONFIGURED, prices: PriceList = NO_PRICES) -> Candidate:
    """A candidate whose provider has one limit per day in this unit, and these prices in dollars and units."""
    limit = Limit(unit=unit, amount=5, window=parse_window("day@UTC"), scope=(ScopePart.ACCOUNT,), source=source)
    return candidate(of=provider(limits=(limit,), prices=prices, unit_prices=prices))


class TestPrices:
    def test_the_price_is_found_once(self) -> None:
        one = candidate(of=provider(prices=PRICES, unit_prices=PRICES.scaled(100)))
        assert one.price == simple_price("list", Rates(1, 2))
        assert one.unit_price == simple_price("list", Rates(100, 200))
        assert (one.counts_costs, one.counts_money, one.counts_units) == (False, False, False)
        assert candidate(model="other", of=provider(prices=PRICES)).price is None

    @pytest.mark.parametrize(
        ("unit", "flags"),
        [
            (Unit.USD_MICROS, (True, True, False)),
            (Unit.UNITS, (True, False, True)),
            (Unit.TOKENS, (False, False, False)),
        ],
    )
    def test_costs_are_counted_where_a_limit_is_about_them(self, unit: Unit, flags: tuple[bool, bool, bool]) -> None:
        one = of_limit(unit, prices=PRICES)
        assert (one.counts_costs, one.counts_money, one.counts_units) == flags
        assert not one.unpriced
        assert gate(one, NOW_S) is None

    @pytest.mark.parametrize(
        ("unit", "text"),
        [
            (Unit.USD_MICROS, 'groq/llama has no price: write [prices."groq/llama"] in keyrelay.toml'),
            (Unit.UNITS, "nobody knows how many llama takes"),
        ],
    )
    def test_what_an_operators_limit_cannot_count_is_not_used(self, unit: Unit, text: str) -> None:
        one = of_limit(unit)
        one.succeeded()
        for _ in range(2):
            dropped = gate(one, NOW_S)
            assert dropped is not None
            assert (dropped.reason, dropped.until_s) == (DropReason.UNPRICED, MANUAL)
            assert text in dropped.text

    @pytest.mark.parametrize("unit", [Unit.USD_MICROS, Unit.UNITS])
    def test_a_limit_that_is_only_believed_leaves_it_to_the_provider(self, unit: Unit) -> None:
        one = of_limit(unit, LimitSource.CATALOGUE)
        assert one.counts_costs
        assert gate(one, NOW_S) is None


@pytest.mark.parametrize(
    ("held", "reason", "text"),
    [
        (Withheld(KEY, "disabled", "user:alice"), DropReason.DISABLED, "it was disabled by user:alice"),
        (Withheld(KEY, "disabled"), DropReason.DISABLED, "it was disabled"),
        (Withheld(KEY, "expired"), DropReason.EXPIRED, "its expiry has passed"),
        (Withheld(KEY, "other_host", detail="it is another's"), DropReason.OTHER_HOST, "it is another's"),
    ],
)
def test_why_a_key_takes_no_requests(held: Withheld, reason: DropReason, text: str) -> None:
    assert withheld(held) == Dropped(reason, text, MANUAL)
