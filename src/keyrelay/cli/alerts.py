"""`keyrelay alerts`: what fires at a running gateway, by which rules, and where that is told.

URLs and passwords of channels come from a file, from stdin or from a prompt, never from an argument.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.asking import YesOption, confirm
from keyrelay.cli.exits import Exit
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption, document_of, quoted

app = group(
    "Show what fires, by which rules, and say where it is told.",
    "Show alerts, and say where they are told.",
    "keyrelay alerts list",
    "keyrelay alerts channels add ops webhook --from-file hook.url",
    "keyrelay alerts rules edit quota --threshold 0.8 --threshold 0.95",
    "keyrelay alerts silence al_0123456789abcdef --for 4h",
)
rules_app = group(
    "Show and change the rules by which alerts fire.",
    "Show and change the rules of alerts.",
    "keyrelay alerts rules list",
    "keyrelay alerts rules edit latency_p95 --disable",
)
channels_app = group(
    "Say where alerts are told.",
    "Manage where alerts are told.",
    "keyrelay alerts channels list",
    "keyrelay alerts channels add chat slack --least warning",
    "keyrelay alerts channels remove chat",
)
app.add_typer(rules_app, name="rules")
app.add_typer(channels_app, name="channels")

_PATH = "/api/v1/alerts"
_MESSAGES = 20
_MOST_BYTES = 8_192
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

AlertArgument = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id, as `keyrelay alerts list` shows.")]
RuleArgument = Annotated[str, typer.Argument(metavar="RULE", help="The rule's name, `quota` say.")]
ChannelArgument = Annotated[str, typer.Argument(metavar="NAME", help="What the channel is called.")]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--from-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with the URL, of e-mail with the password; else it comes from stdin, or is asked for.",
    ),
]


@app.command("list")
@options.sets(*options.REMOTE)
def list_alerts(
    *,
    overrides: options.Overrides,
    limit: Annotated[
        int, typer.Option("--limit", metavar="NUMBER", min=1, max=1000, help="At most so many messages.")
    ] = _MESSAGES,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show what fires now, and what was told lately.

    \b
    Examples:
      keyrelay alerts list
      keyrelay alerts list --limit 100 --json
    """
    document = document_of(Gateway(overrides, secret_file).get(_PATH, {"limit": limit}))
    if json:
        print_json(**document)
        return
    if document["firing"]:
        headers = ("id", "severity", "rule", "about", "since", "what")
        print_table(headers, [_alert_row(alert) for alert in document["firing"]])
    else:
        typer.echo("Nothing fires.")
    if document["items"]:
        typer.echo()
        print_table(("told", "message", "channels"), [_message_row(item) for item in document["items"]])


@app.command()
@options.sets(*options.REMOTE)
def acknowledge(alert: AlertArgument, *, overrides: options.Overrides, secret_file: SecretFileOption = None) -> None:
    """Say that somebody sees to an alert: no reminders until it fires anew.

    \b
    Examples:
      keyrelay alerts acknowledge al_0123456789abcdef
    """
    Gateway(overrides, secret_file).send("POST", f"{_PATH}/{quoted(alert)}/acknowledge")
    note(f"{alert} is acknowledged.")


@app.command()
@options.sets(*options.REMOTE)
def silence(
    alert: AlertArgument,
    *,
    overrides: options.Overrides,
    time: Annotated[
        str, typer.Option("--for", metavar="TIME", help="For how long: 30m, 4h, 7d; 0 ends the silence.")
    ] = "1h",
    secret_file: SecretFileOption = None,
) -> None:
    """Have nothing told of an alert for a while.

    \b
    Examples:
      keyrelay alerts silence al_0123456789abcdef --for 4h
    """
    body = {"for_s": _seconds(time)}
    answer = document_of(Gateway(overrides, secret_file).send("POST", f"{_PATH}/{quoted(alert)}/silence", body))
    until = answer["silenced_until"]
    note(f"{alert} is silent until {until}." if until else f"{alert} is told again.")


@app.command("test")
@options.sets(*options.REMOTE)
def try_out(name: ChannelArgument, *, overrides: options.Overrides, secret_file: SecretFileOption = None) -> None:
    """Send a test message to a channel; exit code 3 when it did not take it.

    \b
    Examples:
      keyrelay alerts test ops
    """
    answer = document_of(Gateway(overrides, secret_file).send("POST", f"{_PATH}/channels/{quoted(name)}/test"))
    if not answer["delivered"]:
        note(f"{name} did not take it: {answer['problem']}")
        raise typer.Exit(Exit.PROBLEMS)
    note(f"{name} has taken a test message.")


@app.command("quiet-hours")
@options.sets(*options.REMOTE)
def quiet_hours(
    *,
    overrides: options.Overrides,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this time of day on, 22:00.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Until this time of day, 07:00.")] = None,
    zone: Annotated[str, typer.Option("--zone", metavar="ZONE", help="The time zone, Europe/Berlin.")] = "UTC",
    off: Annotated[bool, typer.Option("--off", help="Have no quiet hours.")] = False,
    secret_file: SecretFileOption = None,
) -> None:
    """Set the hours in which only what is critical is told.

    \b
    Examples:
      keyrelay alerts quiet-hours --from 22:00 --to 07:00 --zone Europe/Berlin
      keyrelay alerts quiet-hours --off
    """
    if off is (start is not None or end is not None) or (not off and None in {start, end}):
        note("keyrelay: give --from and --to, or --off.")
        raise typer.Exit(Exit.USAGE)
    gateway = Gateway(overrides, secret_file)
    if off:
        gateway.send("DELETE", f"{_PATH}/quiet-hours")
        note("There are no quiet hours.")
        return
    gateway.send("PUT", f"{_PATH}/quiet-hours", {"start": start, "end": end, "zone": zone})
    note(f"From {start} to {end} ({zone}) only what is critical is told.")


@rules_app.command("list")
@options.sets(*options.REMOTE)
def list_rules(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List the rules as they are in force, and the quiet hours.

    \b
    Examples:
      keyrelay alerts rules list
    """
    document = document_of(Gateway(overrides, secret_file).get(f"{_PATH}/rules"))
    if json:
        print_json(**document)
        return
    print_table(("rule", "on", "fires at", "measure", "for", "per hour", "changed"), map(_rule_row, document["items"]))
    hours = document["quiet_hours"]
    if hours:
        typer.echo(f"quiet from {hours['start']} to {hours['end']} ({hours['zone']})")


@rules_app.command("edit")
@options.sets(*options.REMOTE)
def edit_rule(
    rule: RuleArgument,
    *,
    overrides: options.Overrides,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it fires at all.")] = None,
    threshold: Annotated[
        list[float] | None, typer.Option("--threshold", metavar="NUMBER", help="One per step, from the mildest on.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long it has to be so: 90s, 5m.")
    ] = None,
    per_hour: Annotated[
        int | None, typer.Option("--per-hour", metavar="NUMBER", help="Messages within an hour.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Put everything back to what ships first.")] = False,
    secret_file: SecretFileOption = None,
) -> None:
    """Change a rule.

    \b
    Examples:
      keyrelay alerts rules edit quota --threshold 0.5 --threshold 0.8 --threshold 0.95
      keyrelay alerts rules edit spend_day --threshold 5 --threshold 20
      keyrelay alerts rules edit latency_p95 --disable
      keyrelay alerts rules edit quota --reset
    """
    fields = ("enabled", "thresholds", "fall", "for_s", "clear_for_s", "gather_s", "remind_s", "per_hour")
    change: dict[str, Any] = dict.fromkeys(fields) if reset else {}
    given = {
        "enabled": enabled,
        "thresholds": threshold,
        "for_s": None if time is None else _seconds(time),
        "per_hour": per_hour,
    }
    change |= {name: value for name, value in given.items() if value is not None}
    if not change:
        note("keyrelay: nothing to change: give --enable, --disable, --threshold, --for, --per-hour or --reset.")
        raise typer.Exit(Exit.USAGE)
    Gateway(overrides, secret_file).send("PATCH", f"{_PATH}/rules/{quoted(rule)}", change)
    note(f"{rule} is changed.")


@channels_app.command("list")
@options.sets(*options.REMOTE)
def list_channels(
    *, overrides: options.Overrides, secret_file: SecretFileOption = None, json: options.JsonOption = False
) -> None:
    """List where alerts are told, without secrets.

    \b
    Examples:
      keyrelay alerts channels list
    """
    document = document_of(Gateway(overrides, secret_file).get(f"{_PATH}/channels"))
    if json:
        print_json(**document)
        return
    rows = (
        (each["name"], each["kind"], "yes" if each["enabled"] else "no", each["least"], each["target"])
        for each in document["items"]
    )
    print_table(("name", "kind", "on", "from", "leads to"), rows)


@channels_app.command("add")
@options.sets(*options.REMOTE)
def add_channel(  # noqa: PLR0913 - a channel of e-mail takes as many
    name: ChannelArgument,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="webhook, slack, email or apprise.")],
    *,
    overrides: options.Overrides,
    from_file: FileOption = None,
    least: Annotated[str, typer.Option("--least", metavar="SEVERITY", help="info, warning or critical.")] = "info",
    rule: Annotated[list[str] | None, typer.Option("--rule", metavar="RULE", help="Only of these rules.")] = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Of e-mail: the server.")] = "",
    mail_port: Annotated[int, typer.Option("--mail-port", metavar="PORT", help="Of e-mail: its port.")] = 587,
    security: Annotated[
        str, typer.Option("--security", metavar="WORD", help="Of e-mail: starttls, tls or none.")
    ] = "starttls",
    user: Annotated[
        str, typer.Option("--user", metavar="NAME", help="Of e-mail: who logs in; a password follows.")
    ] = "",
    sender: Annotated[str, typer.Option("--sender", metavar="ADDRESS", help="Of e-mail: from whom it is.")] = "",
    recipient: Annotated[
        list[str] | None, typer.Option("--recipient", metavar="ADDRESS", help="Of e-mail: to whom; may be repeated.")
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Add a channel. Its URL, of e-mail its password, comes from a file, from stdin, or is asked for.

    \b
    Examples:
      keyrelay alerts channels add ops webhook --from-file hook.url
      keyrelay alerts channels add chat slack --least warning
      keyrelay alerts channels add mail email --host smtp.example.com --user relay --sender relay@example.com \
--recipient ops@example.com
    """
    body: dict[str, Any] = {"name": name, "kind": kind, "least": least, "rules": rule or []}
    if kind in {"webhook", "slack"}:
        body["url"] = _secret(from_file, "URL")
    elif kind == "email":
        body |= {"host": host, "port": mail_port, "security": security, "user": user, "sender": sender}
        body["recipients"] = recipient or []
        if user:
            body["password"] = _secret(from_file, "Password")
    made = document_of(Gateway(overrides, secret_file).send("POST", f"{_PATH}/channels", body))
    if json:
        print_json(**made)
        return
    note(f"{name} leads to {made['channel']['target']}. Try it: keyrelay alerts test {name}")
    if made["key"]:
        typer.echo(made["key"])
        note("The key that its messages are signed with is shown this once.")


@channels_app.command("edit")
@options.sets(*options.REMOTE)
def edit_channel(
    name: ChannelArgument,
    *,
    overrides: options.Overrides,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Whether it is told anything.")] = None,
    least: Annotated[str | None, typer.Option("--least", metavar="SEVERITY", help="info, warning or critical.")] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", metavar="RULE", help="Only of these; '' for all.")] = None,
    secret_file: SecretFileOption = None,
) -> None:
    """Change what a channel is told.

    \b
    Examples:
      keyrelay alerts channels edit chat --least critical
      keyrelay alerts channels edit chat --disable
    """
    given = {"enabled": enabled, "least": least, "rules": None if rule is None else [each for each in rule if each]}
    change = {field: value for field, value in given.items() if value is not None}
    if not change:
        note("keyrelay: nothing to change: give --enable, --disable, --least or --rule.")
        raise typer.Exit(Exit.USAGE)
    Gateway(overrides, secret_file).send("PATCH", f"{_PATH}/channels/{quoted(name)}", change)
    note(f"{name} is changed.")


@channels_app.command("remove")
@options.sets(*options.REMOTE)
def remove_channel(
    name: ChannelArgument, *, overrides: options.Overrides, yes: YesOption = False, secret_file: SecretFileOption = None
) -> None:
    """Remove a channel.

    \b
    Examples:
      keyrelay alerts channels remove chat
      keyrelay alerts channels remove chat --yes
    """
    confirm(f"Remove the channel {name} for good?", yes=yes)
    Gateway(overrides, secret_file).send("DELETE", f"{_PATH}/channels/{quoted(name)}")
    note(f"{name} is removed.")


def _alert_row(alert: dict[str, Any]) -> tuple[str, ...]:
    hushed = " (silenced)" if alert["silenced_until"] else " (acknowledged)" if alert["acknowledged"] else ""
    severity = f"{alert['severity']}{hushed}"
    return alert["id"], severity, alert["rule"], alert["subject"], alert["since"], alert["detail"]


def _message_row(item: dict[str, Any]) -> tuple[str, ...]:
    states = ", ".join(f"{each['channel']} {each['state']}" for each in item["deliveries"]) or "nobody"
    return item["at"], item["title"], states


def _rule_row(rule: dict[str, Any]) -> tuple[str, ...]:
    steps = ", ".join(f"{step['threshold']:g} {step['severity']}" for step in rule["steps"])
    on = "yes" if rule["enabled"] else "no"
    changed = ", ".join(rule["changed"]) or "-"
    return rule["name"], on, steps, rule["measure"], f"{rule['for_s']:g} s", str(rule["per_hour"]), changed


def _seconds(text: str) -> float:
    """A time such as `90s`, `5m`, `4h` or `7d`; 0 as it is."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _SECONDS else (text, "s")
    if not number.isascii() or not number.isdigit():
        note(f"keyrelay: {text!r} is no time: write 90s, 5m, 4h or 7d.")
        raise typer.Exit(Exit.USAGE)
    return float(int(number) * _SECONDS[unit])


def _secret(file: Path | None, prompt: str) -> str:
    """A secret from a file, from stdin, or as it is typed; never from an argument."""
    import sys

    if file is None and sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, err=True)).strip()
    if file is None:
        return sys.stdin.readline(_MOST_BYTES).strip()
    with file.open(encoding="utf-8") as opened:
        return opened.readline(_MOST_BYTES).strip()
