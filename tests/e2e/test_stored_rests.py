"""What was found out about keys that only the store has is known again after a restart."""

from pathlib import Path

import pytest

from keyrelay.simulator import Scenario
from keyrelay.simulator.scenario import KeyState, ProviderPlan
from tests.api.administration.keyed import GOOD
from tests.api.served import MODEL, OPERATOR_SECRET
from tests.e2e.harness import Caller, calls_of, chat, embedded, environment, simulated


@pytest.mark.parametrize(("worth", "state"), [("exhausted_day", "exhausted"), ("no_credit", "out_of_credit")])
async def test_a_stored_key_that_is_used_up_is_not_asked_again_after_a_restart(
    tmp_path: Path, worth: KeyState, state: str
) -> None:
    plan = ProviderPlan(keys={GOOD: worth})
    async with simulated(Scenario(providers={"groq": plan})) as simulator:
        environ = environment(simulator, {"groq": ()}, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET)
        async with embedded(environ, tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as operator:
            made = await operator.post("/api/v1/keys", {"provider": "groq", "secret": GOOD, "label": "mine"})
            assert made.status == 201, made.body
            assert not (await gateway.ask(chat(f"groq/{MODEL}"))).is_good()
        async with embedded(environ, tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as operator:
            assert (await operator.get("/api/v1/keys/groq/mine")).json["state"] == state
            assert not (await gateway.ask(chat(f"groq/{MODEL}"))).is_good()
        assert len(calls_of(simulator)) == 1
