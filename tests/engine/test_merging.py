from pathlib import Path

from keyrelay.bootstrap.engine import reconfigure
from keyrelay.configuration import load_configuration
from keyrelay.engine.merging import merge_accounts
from keyrelay.quota.learning import Merge
from tests.engine.rig import FakeAnswer, Rig, error, providers


def rig_of_two() -> Rig:
    return Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_RPM="5"))


async def test_what_both_accounts_have_used_adds_up() -> None:
    rig = rig_of_two()
    for _ in range(4):
        await rig.ask()
    merge_accounts(rig.pool, rig.ledger, Merge("acme", "k00", "k01", "org-test"), rig.clock.epoch_s())
    assert {key.account for key in rig.pool.snapshot.keys} == {"k00"}
    assert await rig.ask(), "one of five is left"
    refused = await rig.refusal()
    assert refused.status == 429
    assert {line["detail"] for line in (refused.detail or {})["candidates"]} == {"5 of 5 requests per 60s used"}


async def test_other_providers_and_accounts_stay_as_they_are() -> None:
    rig = Rig(lambda *_: FakeAnswer(), providers("acme", "other", keys=3, ACME_RPM="5"))
    await rig.ask("acme/m")
    merge_accounts(rig.pool, rig.ledger, Merge("acme", "k00", "k01", "org-test"), rig.clock.epoch_s())
    accounts = [(key.provider_id, key.account) for key in rig.pool.snapshot.keys]
    assert accounts == [("acme", name) for name in ("k00", "k00", "k02")] + [
        ("other", name) for name in ("k00", "k01", "k02")
    ]


async def test_keys_whose_refusals_name_the_same_organisation_are_merged_and_that_is_said_once() -> None:
    words = "Rate limit reached for m in organization org-acme on requests per min (RPM): Limit 3, Used 3, Requested 1."
    rig = Rig(lambda *_: error(429, words), providers("acme", keys=2))
    for _ in range(3):
        await rig.refusal()
    assert {key.account for key in rig.pool.snapshot.keys} == {"k00"}
    said = [text for text in rig.reports if "org-acme" in text]
    assert len(said) == 1
    assert "they share one quota" in said[0]


async def test_a_key_whose_account_merges_stays_as_dead_as_it_was() -> None:
    rig = Rig(
        lambda key, _: (
            error(401, "Incorrect API key provided", code="invalid_api_key") if key == "acme-01" else FakeAnswer()
        ),
        providers("acme", keys=2),
    )
    for _ in range(4):
        await rig.ask()
    assert rig.upstream.calls.count("acme-01") == 1
    merge_accounts(rig.pool, rig.ledger, Merge("acme", "k00", "k01", "org-test"), rig.clock.epoch_s())
    for _ in range(4):
        await rig.ask()
    assert rig.upstream.calls.count("acme-01") == 1


async def test_accounts_that_have_merged_stay_one_when_the_configuration_changes() -> None:
    words = "Rate limit reached for m in organization org-acme on requests per min (RPM): Limit 3, Used 3, Requested 1."
    environ = providers("acme", keys=2)
    rig = Rig(lambda *_: error(429, words), environ)
    for _ in range(3):
        await rig.refusal()
    changed = load_configuration(
        environ | {"ACME_PRIORITY": "3"}, directory=Path("/nowhere"), overrides={"data_dir": "/nowhere"}
    )
    reconfigure(rig.gateway, changed)
    assert rig.pool.snapshot.providers["acme"].priority == 3
    assert {key.account for key in rig.pool.snapshot.keys} == {"k00"}
