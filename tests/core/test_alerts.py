import pytest

from keyrelay.core.alerts import (
    AlertMessage,
    AlertRecord,
    Channel,
    ChannelSecret,
    Delivery,
    MessageKind,
    RuleName,
    Severity,
)


def message(kind: MessageKind = "firing", severity: Severity = Severity.WARNING) -> AlertMessage:
    return AlertMessage(
        rule=RuleName.QUOTA, kind=kind, severity=severity, title="t", advice="a", at_s=0.0, lines=(), count=0
    )


@pytest.mark.parametrize(
    ("channel", "kind", "wanted"),
    [
        (Channel(kind="slack"), "firing", True),
        (Channel(kind="slack", enabled=False), "firing", False),
        (Channel(kind="slack", least=Severity.WARNING), "firing", True),
        (Channel(kind="slack", least=Severity.CRITICAL), "firing", False),
        (Channel(kind="slack", rules=(RuleName.QUOTA,)), "firing", True),
        (Channel(kind="slack", rules=(RuleName.STORE,)), "firing", False),
        (Channel(kind="slack"), "resolved", True),
        (Channel(kind="slack", resolved=False), "resolved", False),
        (Channel(kind="slack", resolved=False), "reminder", True),
    ],
)
def test_a_channel_wants_what_it_is_for(channel: Channel, kind: MessageKind, *, wanted: bool) -> None:
    assert channel.wants(message(kind)) is wanted


def test_severities_have_an_order() -> None:
    assert [each.rank for each in (Severity.INFO, Severity.WARNING, Severity.CRITICAL)] == [0, 1, 2]


def test_a_message_is_open_while_one_channel_waits() -> None:
    waiting, sent = Delivery(channel="a"), Delivery(channel="b", state="sent")
    assert AlertRecord(message=message(), deliveries=(waiting, sent)).open
    assert not AlertRecord(message=message(), deliveries=(sent,)).open


def test_secrets_of_a_channel_are_not_shown() -> None:
    assert repr(ChannelSecret(url="https://hooks.example.com/T0/B0", key="k", password="p")) == "ChannelSecret(…)"
