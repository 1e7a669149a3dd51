"""Adding keys where there are many: on the event loop, and so in little time."""

import time

from keyrelay.administration.key_edits import KeyFields, WantedKey, adding
from keyrelay.core.administered import Administered, KeyEntry
from keyrelay.core.configuration import Key
from keyrelay.core.secrets import Secret


def test_a_thousand_keys_are_added_to_ten_thousand_without_comparing_each_with_all() -> None:
    keys = [
        Key(provider_id="groq", label=f"k{number}", account="a", secret=Secret(f"gsk_test_{number:08d}"))
        for number in range(10_000)
    ]
    state = Administered(
        entries={("key", key.id): KeyEntry(provider="groq", label=key.label) for key in keys},
        secrets={("key", key.id): key.secret for key in keys if key.secret is not None},
    )
    wanted = [
        WantedKey("groq", Secret(f"gsk_more_{number:08d}"), KeyFields(label=f"n{number}")) for number in range(1_000)
    ]
    began = time.process_time()
    after = adding(wanted, keys, "user:alice", 0.0)(state)
    assert len(after.secrets) == 11_000
    assert time.process_time() - began < 1.2
