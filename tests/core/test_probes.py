"""What trying out a key finds."""

import msgspec

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.probes import Probed, ProbeOutcome


def test_a_finding_goes_from_one_worker_to_another_as_it_is() -> None:
    failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="no")
    probed = Probed(outcome=ProbeOutcome.INVALID, message="It says no.", failure=failure, ms=1.5)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(probed), type=Probed) == probed
    assert msgspec.json.decode(msgspec.json.encode(probed))["outcome"] == "invalid"
