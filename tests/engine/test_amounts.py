"""What requests take from limits of money and units, and what they cost, with the price that was used."""

from pathlib import Path

import pytest

from keyrelay.configuration import load_configuration
from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.core.usage import Usage
from keyrelay.engine.amounts import expected_amounts, note_cost, used_amounts
from keyrelay.engine.jobs import Job
from keyrelay.engine.pool import Pool
from keyrelay.quota.calibration import Calibrations
from keyrelay.quota.values import Amounts
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.wire.openai import decode_request
from tests.engine.rig import START_S, FakeAnswer, Rig, snapshot_of

BODY = b'{"model":"m","messages":[{"role":"user","content":"hello there"}],"max_tokens":100}'
CLOUDFLARE = {"CLOUDFLARE_API_KEY": "sk-test-1", "CLOUDFLARE_ACCOUNT_ID": "acc", "CLOUDFLARE_TIER": "free"}
DEEPSEEK = {"DEEPSEEK_API_KEY": "sk-test-1"}
NOON_S, PEAK_S = 1_800_014_400.0, 1_799_975_400.0 + 3600  # 12:00 and 02:10 UTC


def candidate_of(model: str, pool: Pool) -> Candidate:
    plan = pool.plan(model)
    assert plan is not None
    return next(iter(plan.candidates()))


def pool_of(**environ: str) -> Pool:
    return Pool(snapshot_of(**environ), Health(CircuitSettings()), Calibrations())


def job_of(pool: Pool, model: str) -> Job:
    plan = pool.plan(model)
    assert plan is not None
    return Job(decode_request("chat", BODY, max_depth=8), RequestRecord("req", 1.0), plan, plan.estimate(BODY), 1e9)


def test_neurons_are_taken_before_and_after() -> None:
    pool = pool_of(**CLOUDFLARE)
    model = "cloudflare/@cf/openai/gpt-oss-120b"
    candidate, job = candidate_of(model, pool), job_of(pool, model)
    expected = expected_amounts(candidate, job, START_S)
    assert expected.units == -(-(expected.input_tokens * 31_818 + 100 * 68_182) // 1_000_000)
    assert expected.usd_micros == 0
    used = used_amounts(candidate, Usage(1000, 1000), expected, START_S)
    assert used == Amounts(1, 1000, 1000, units=100)
    assert used_amounts(candidate, None, expected, START_S) == expected


def test_neurons_of_a_model_without_figures_are_left_to_the_provider() -> None:
    pool = pool_of(**CLOUDFLARE)
    candidate = candidate_of("cloudflare/@cf/nobody/knows", pool)
    assert used_amounts(candidate, Usage(1000, 1000), Amounts(), START_S) == Amounts(1, 1000, 1000)


@pytest.mark.parametrize(("at_s", "micros"), [(NOON_S, 150 + 600), (PEAK_S, 300 + 1200), (None, 300 + 1200)])
def test_money_is_taken_by_the_price_of_the_time(at_s: float | None, micros: int) -> None:
    candidate = candidate_of(
        "deepseek-flash", pool_of(**DEEPSEEK, DEEPSEEK_LIMITS="5 usd per month@UTC of deepseek-flash")
    )
    assert used_amounts(candidate, Usage(1000, 1000), Amounts(), at_s).usd_micros == micros
    assert candidate.price is not None
    assert candidate.price.millionths(1000, 1000, at_s) == pytest.approx(micros)


def test_nothing_is_reckoned_where_no_limit_asks_for_it() -> None:
    candidate = candidate_of("deepseek-flash", pool_of(**DEEPSEEK))
    assert used_amounts(candidate, Usage(1000, 1000), Amounts(), NOON_S) == Amounts(1, 1000, 1000)


def test_cost_and_version_are_noted_together_or_not_at_all() -> None:
    pool = pool_of(**DEEPSEEK, NVIDIA_API_KEY="sk-test-2")
    record = RequestRecord("req", usage=Usage(1000, 1000))
    note_cost(record, candidate_of("deepseek-flash", pool), NOON_S)
    assert record.cost_usd == pytest.approx(0.00075)
    assert record.price_version.startswith("genai-prices ")
    without_usage = RequestRecord("req")
    note_cost(without_usage, candidate_of("deepseek-flash", pool), NOON_S)
    unpriced, nvidia = RequestRecord("req", usage=Usage(1, 1)), candidate_of("nvidia/openai/gpt-oss-20b", pool)
    note_cost(unpriced, nvidia, NOON_S)
    assert nvidia.price is None
    assert [(each.cost_usd, each.price_version) for each in (without_usage, unpriced)] == [(None, "")] * 2


def test_exact_counts_are_expected_of_the_models_that_they_are_for() -> None:
    environ = {"OPENAI_API_KEY": "sk-test-1", "GROQ_API_KEY": "sk-test-2", "OPENAI_MODELS": "gpt-4o"}
    pool = Pool(
        snapshot_of(**environ),
        Health(CircuitSettings()),
        vocabulary_of=lambda model: "o200k_base" if model == "gpt-4o" else "",
        count=lambda name, body: 7 if (name, body) == ("o200k_base", BODY) else None,
    )
    job = job_of(pool, "gpt-4o")
    assert expected_amounts(candidate_of("gpt-4o", pool), job).input_tokens == 7
    groq = candidate_of("groq/llama-3.1-8b-instant", pool)
    assert expected_amounts(groq, job).input_tokens == job.raw.text_tokens
    plan = pool.plan("groq/llama-3.1-8b-instant")
    assert plan is not None
    assert plan.estimate(BODY).exact is None
    preferring = pool.plan("gpt-4o")
    assert preferring is not None
    assert preferring.preferring(lambda each: each.provider_id == "openai", lambda: 0.0).estimate(BODY).exact == {
        "o200k_base": 7
    }


async def test_a_money_limit_keeps_out_a_model_whose_price_nobody_knows(tmp_path: Path) -> None:
    toml = '[prices."acme/known"]\ninput_usd_per_mtok = 1000\noutput_usd_per_mtok = 1000\n'
    (tmp_path / "keyrelay.toml").write_text(toml, encoding="utf-8")
    environ = {
        "ACME_BASE_URL": "http://acme.example/v1",
        "ACME_API_KEYS": "k=acme-00",
        "ACME_MODELS": "known,unknown",
        "ACME_LIMITS": "0.3 usd per day@UTC",
    }
    configuration = load_configuration(environ, directory=tmp_path, overrides={"data_dir": str(tmp_path)})
    rig = Rig(lambda *_: FakeAnswer(), {})
    rig.pool.replace(configuration.snapshot)
    with pytest.raises(CallerError) as caught:
        await rig.ask("unknown")
    assert caught.value.status == 503
    assert "unpriced" in caught.value.message
    assert '[prices."acme/unknown"]' in str(caught.value.detail)
    assert rig.upstream.calls == []
    await rig.ask("known", max_tokens=100)
    (standing,) = rig.ledger.peek(candidate_of("known", rig.pool).path, rig.clock.epoch_s())
    assert standing.used == 5 * 1000  # 3 + 2 tokens at $1,000 per million
