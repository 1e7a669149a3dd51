"""Changes of clients as pure functions, and what has to be known before they are made."""

import hashlib

import pytest

from keyrelay.administration import client_edits
from keyrelay.administration.client_edits import (
    Change,
    ClientFields,
    adding_client,
    changing_client,
    never_resets,
    removing_client,
    resetting_client,
    revoking_client,
    rotating_client,
)
from keyrelay.configuration.stored_clients import PEPPER, pepper_of
from keyrelay.core.administered import NOTHING, Administered, ClientEntry, CountMark, PepperEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret, keyed_digest
from keyrelay.quota.values import Amounts

NOW_S = 1_800_000_000.0
ONE, OTHER = Secret("kr-test-0000000000000001"), Secret("kr-test-0000000000000002")
PEPPER_SECRET, LATER_PEPPER = Secret("pepper-0001"), Secret("pepper-0002")


def at(now_s: float = NOW_S, before: Amounts | None = None) -> Change:
    return Change(now_s=now_s, author="user:alice", before=before or Amounts(requests=0))


def made(
    state: Administered = NOTHING, label: str = "app", change: Change | None = None, **fields: object
) -> Administered:
    said = ClientFields(**fields)  # type: ignore[arg-type]
    return adding_client(label, said, change or at(), secret=ONE, pepper=PEPPER_SECRET)(state)


def app(state: Administered) -> ClientEntry:
    entry = state.get(ClientEntry, "app")
    assert entry is not None
    return entry


def kept(secret: Secret, pepper: Secret = PEPPER_SECRET) -> str:
    return keyed_digest(pepper, hashlib.sha256(secret.reveal().encode()).digest()).hex()


def rotated(state: Administered, grace_s: float) -> Administered:
    edit = rotating_client("app", at(NOW_S + 5), secret=OTHER, pepper=LATER_PEPPER, grace_s=grace_s)
    return edit(state)


def test_a_digest_is_kept_under_the_pepper_that_there_is() -> None:
    first = made()
    second = adding_client("two", ClientFields(), at(), secret=OTHER, pepper=LATER_PEPPER)(first)
    assert pepper_of(second) == PEPPER_SECRET
    assert second.get(PepperEntry, PEPPER) == PepperEntry(id=PEPPER, created_s=NOW_S)
    digests = [entry.digest for entry in second.all(ClientEntry)]
    assert digests == [kept(ONE), kept(OTHER)]
    assert ONE.reveal() not in str(second.entries)
    assert (app(first).tail, app(first).created_s, app(first).set_by) == ("0001", NOW_S, "user:alice")


def test_rotating_keeps_the_old_digest_for_a_while_or_not_at_all() -> None:
    entry = app(rotated(made(), 60.0))
    assert (entry.digest, entry.previous, entry.previous_until_s) == (kept(OTHER), kept(ONE), NOW_S + 65)
    assert (app(rotated(made(), 0.0)).previous, app(rotated(made(), 0.0)).previous_until_s) == ("", 0.0)


def test_what_was_revoked_comes_back_by_a_new_secret_alone() -> None:
    revoked = revoking_client("app", at(NOW_S + 1))(made())
    assert (app(revoked).revoked_s, app(revoked).digest) == (NOW_S + 1, kept(ONE))
    assert revoking_client("app", at(NOW_S + 2))(revoked) == revoked
    entry = app(rotated(revoked, 60.0))
    assert (entry.digest, entry.previous, entry.revoked_s) == (kept(OTHER), "", 0.0)


def test_a_lost_pepper_is_made_anew_and_old_digests_are_worth_nothing() -> None:
    lost = made().without("pepper", PEPPER)
    entry = app(rotated(lost, 60.0))
    assert (entry.digest, entry.previous) == (kept(OTHER, LATER_PEPPER), "")


def test_limits_are_counted_from_when_they_are_set_and_go_on_when_only_their_amount_changes() -> None:
    limits = ("5 usd per month", "9 tokens once", "4 requests concurrent")
    state = made(change=at(before=Amounts(7, 30, 20, 400)), limits=limits)
    assert app(state).limits == ("5 usd per month@UTC", "9 tokens once", "4 requests concurrent")
    assert app(state).marks == {
        "usd_micros month@UTC": CountMark(NOW_S),
        "tokens once": CountMark(NOW_S, 50),
    }
    more = ClientFields(limits=("6 usd per month", "9 requests once"))
    changed = changing_client("app", more, at(NOW_S + 9, Amounts(8, 30, 20, 400)))(state)
    assert app(changed).marks == {
        "usd_micros month@UTC": CountMark(NOW_S),
        "requests once": CountMark(NOW_S + 9, 8),
    }
    assert app(changing_client("app", ClientFields(notes="x"), at(NOW_S + 10))(changed)).marks == app(changed).marks


def test_a_reset_moves_the_mark_of_one_limit_or_of_all() -> None:
    state = made(limits=("5 usd per month", "9 tokens once"))
    later = at(NOW_S + 9, Amounts(1, 2, 3, 4))
    for chosen in ("5 usd per month@UTC", "usd_micros month@UTC"):
        marks = app(resetting_client("app", later, chosen)(state)).marks
        assert marks == {"usd_micros month@UTC": CountMark(NOW_S + 9), "tokens once": CountMark(NOW_S)}
    assert app(resetting_client("app", later)(state)).marks["tokens once"] == CountMark(NOW_S + 9, 5)
    for limit in ("1 usd per day", ""):
        with pytest.raises(CallerError) as caught:
            resetting_client("app", later, limit)(state if limit else made())
        assert (caught.value.status, caught.value.code) == (404, "limit_not_found")


@pytest.mark.parametrize(
    "edit",
    [
        changing_client("nobody", ClientFields(), at()),
        removing_client("nobody"),
        revoking_client("nobody", at()),
        resetting_client("nobody", at()),
        rotating_client("nobody", at(), secret=ONE, pepper=PEPPER_SECRET, grace_s=0.0),
    ],
)
def test_nobody_is_changed_who_is_not_there(edit: client_edits.Edit) -> None:
    with pytest.raises(CallerError) as caught:
        edit(made())
    assert (caught.value.status, caught.value.code) == (404, "client_not_found")


def test_removing_leaves_the_pepper() -> None:
    state = removing_client("app")(made())
    assert state.all(ClientEntry) == ()
    assert pepper_of(state) == PEPPER_SECRET


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_edits, "MAX_CLIENTS", 1)
    with pytest.raises(CallerError) as caught:
        made(made(), "other")
    assert caught.value.code == "too_many_clients"


@pytest.mark.parametrize(
    ("limits", "never"),
    [
        (("5 usd once",), True),
        (("5 usd per month", "nonsense"), False),
        (("1 usd once:2099-01-01@UTC",), True),
        ((), False),
    ],
)
def test_which_limits_need_to_know_what_was_used_before(limits: tuple[str, ...], never: bool) -> None:
    assert never_resets(ClientEntry(label="app", digest="", limits=limits)) is never
