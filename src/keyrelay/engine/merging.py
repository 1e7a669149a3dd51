"""Accounts that turn out to be one: their keys share a quota from then on, and what was used of it adds up."""

from msgspec.structs import replace

from keyrelay.engine.pool import Pool
from keyrelay.ports import Ledger
from keyrelay.quota.learning import Merge
from keyrelay.quota.values import LimitKey


def merge_accounts(pool: Pool, ledger: Ledger, merge: Merge, now_s: float) -> None:
    """Put the keys of one account into the other. Requests under way settle where they were reserved."""
    old, new = f"acct:{merge.provider_id}/{merge.account}", f"acct:{merge.provider_id}/{merge.into}"
    candidates = [candidate for candidate in pool.candidates() if candidate.provider_id == merge.provider_id]
    for key in {key for candidate in candidates for key in candidate.path if old in key.bound}:
        shared = LimitKey(key.limit, tuple(new if name == old else name for name in key.bound))
        used = sum(standing.used for each in (key, shared) for standing in ledger.peek((each,), now_s))
        ledger.follow(shared, now_s, used=used)
    regroup_keys(pool, merge)


def regroup_keys(pool: Pool, merge: Merge) -> None:
    """Put the keys of one account into the other, where what was used of it is added up already."""
    keys = (
        replace(key, account=merge.into)
        if (key.provider_id, key.account) == (merge.provider_id, merge.account)
        else key
        for key in pool.snapshot.keys
    )
    pool.replace(replace(pool.snapshot, keys=tuple(keys)))
