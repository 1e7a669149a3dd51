import pytest

from keyrelay.core.failures import FailureKind
from keyrelay.routing.recovery import Recovery, recover
from tests.routing.helpers import failure

EXPECTED = {
    FailureKind.AUTH: Recovery.ROTATE,
    FailureKind.PERMISSION: Recovery.ROTATE,
    FailureKind.BILLING: Recovery.ROTATE,
    FailureKind.QUOTA: Recovery.ROTATE,
    FailureKind.RATE: Recovery.ROTATE,
    FailureKind.MODEL: Recovery.ROTATE,
    FailureKind.CONTEXT: Recovery.OTHER_MODEL,
    FailureKind.CONTENT: Recovery.GIVE_UP,
    FailureKind.REQUEST: Recovery.GIVE_UP,
    FailureKind.OVERLOADED: Recovery.RETRY,
    FailureKind.SERVICE: Recovery.RETRY,
    FailureKind.NETWORK: Recovery.RETRY,
    FailureKind.TIMEOUT: Recovery.RETRY,
    FailureKind.MALFORMED: Recovery.RETRY,
    FailureKind.ADDRESS: Recovery.ROTATE,
}


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_has_its_recovery(kind: FailureKind) -> None:
    assert recover(failure(kind)) is EXPECTED[kind]
