"""Messages for tests of channels."""

from keyrelay.core.alerts import AlertLine, AlertMessage, MessageKind, RuleName, Severity

NOW_S = 1_800_000_000.0


def message(
    kind: MessageKind = "firing", *, subject: str = "groq/work", lines: int = 1, count: int = 1
) -> AlertMessage:
    line = AlertLine(
        id="al_0123456789abcdef",
        subject=subject,
        firing=kind != "resolved",
        severity=Severity.WARNING,
        detail="the provider does not accept it.",
        since_s=NOW_S - 60,
    )
    return AlertMessage(
        rule=RuleName.KEY_INVALID,
        kind=kind,
        severity=Severity.WARNING,
        title=f"Warning: Key not accepted: {subject}",
        advice="Rotate the key.",
        at_s=NOW_S,
        lines=(line,) * lines,
        count=count,
        id="req_0198c0de00007abc8def0123456789ab",
    )
