"""`keyrelay quota`: how the quotas of a running gateway stand, and how long they last."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption
from keyrelay.cli.unknown_names import warn_of_provider
from keyrelay.core.words import counted

app = typer.Typer(short_help="Show how the quotas stand and how long they last.", invoke_without_command=True)

_PATH = "/api/v1/quota"
_KEYS_SHOWN = 3
_MOST_COUNTS = 10_000


@app.callback()
@options.sets(*options.REMOTE)
def quota(
    ctx: typer.Context,
    *,
    overrides: options.Overrides,
    provider: Annotated[str | None, typer.Option("--provider", metavar="ID", help="Of this provider only.")] = None,
    account: Annotated[str | None, typer.Option("--account", metavar="NAME", help="Of this account only.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="LABEL", help="Of the key with this label only.")] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="What this model draws on.")] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show how the quotas of a running gateway stand, and whether they last.

    \b
    Examples:
      keyrelay quota
      keyrelay quota --provider gemini --json
      keyrelay quota lifespan --tokens-per-day 50000
    """
    if ctx.invoked_subcommand is not None:
        return
    import msgspec

    gateway = Gateway(overrides, secret_file)
    wanted = {"provider": provider, "account": account, "key": key, "model": model, "limit": _MOST_COUNTS}
    document = msgspec.json.decode(gateway.get(_PATH, wanted))
    if not (document["counts"] or document["keys_without_limits"]):
        note("No key that is asked for has a quota.")
        warn_of_provider(gateway, provider)
    if json:
        print_json(**document)
        return
    print_quota(document)


def print_quota(document: dict[str, Any]) -> None:
    """Print the report as tables, provider by provider."""
    counts = document["counts"]
    for number, (provider, lines) in enumerate(groupby(counts, key=_provider_of)):
        if number:
            typer.echo()
        typer.echo(provider)
        print_table(
            ("key", "model", "limit", "used", "left", "used %", "resets", "per hour", "outlook", "source"), _rows(lines)
        )
    for provider, keys in groupby(document["keys_without_limits"], key=_provider_of):
        typer.echo(f"{provider}: no limit is known for {_few([each['key'] for each in keys])}")
    rest = document["total"] - len(counts)
    if rest:
        note(f"{rest} more; choose with --provider, --account, --key or --model")
    if document["learned"]:
        note(f"learned from answers: {counted(len(document['learned']), 'limit')}; --json shows their evidence")
    for each in document["estimates"]:
        if each["accuracy"] is not None:
            typer.echo(_estimate_text(each))


def _provider_of(line: dict[str, Any]) -> str:
    return str(line["provider"])


def _rows(lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    from keyrelay.core.limits import Unit, parse_window
    from keyrelay.core.moments import duration_words
    from keyrelay.quota.forecast import amount_words, number_words

    for line in lines:
        unit = Unit(line["unit"])
        reset_in_s, rate = line["reset_in_s"], line["rate_per_h"]
        held = f" ({line['reserved']} reserved)" if line["reserved"] else ""
        yield (
            _few(line["keys"]),
            line["model"] or ", ".join(line["models"]) or "all",
            f"{amount_words(line['amount'], unit)} per {parse_window(line['window']).words}",
            f"{number_words(line['used'])}{held}",
            number_words(line["remaining"]),
            f"{line['used_share']:.0%}",
            "-" if reset_in_s is None else f"in {duration_words(reset_in_s)}",
            "-" if rate is None else number_words(rate),
            _outlook(line),
            f"{line['source']}{'' if line['firm'] else ', believed'}",
        )


def _outlook(line: dict[str, Any]) -> str:
    forecast = line["forecast"]
    kind = str(forecast["kind"]).replace("_", " ")
    paced = f", paced until {line['paced_until']}" if line["paced_until"] else ""
    at = f" {forecast['at']}" if forecast["at"] and forecast["kind"] == "runs_out" else ""
    return f"{kind}{at}{paced}"


def _few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - _KEYS_SHOWN
    return ", ".join(names[:_KEYS_SHOWN]) + (f" +{rest}" if rest > 0 else "")


def _estimate_text(each: dict[str, Any]) -> str:
    accuracy = each["accuracy"]
    return (
        f"estimates of {each['provider']}/{each['model']} after {accuracy['answers']} answers: prompts off by "
        f"{accuracy['prompt']['absolute']:.0%}, answers by {accuracy['completion']['absolute']:.0%}, "
        f"{accuracy['exceeded']:.0%} used more than was reserved"
    )


@app.command(short_help="Say how long the quotas last at a given use.")
@options.sets(*options.REMOTE)
def lifespan(
    *,
    overrides: options.Overrides,
    tokens_per_day: Annotated[
        float, typer.Option("--tokens-per-day", metavar="NUMBER", help="Tokens used each day, prompts and answers.")
    ],
    tokens_per_request: Annotated[
        float | None,
        typer.Option("--tokens-per-request", metavar="NUMBER", help="Of an average request, 1000 if unsaid."),
    ] = None,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Say how long the quotas last at a given use per day: of each provider alone, and of all together.

    \b
    Examples:
      keyrelay quota lifespan --tokens-per-day 50000
      keyrelay quota lifespan --tokens-per-day 2000000 --tokens-per-request 4000 --json
    """
    import msgspec

    use = {"tokens_per_day": tokens_per_day, "tokens_per_request": tokens_per_request}
    document = msgspec.json.decode(Gateway(overrides, secret_file).get(f"{_PATH}/lifespan", use))
    if json:
        print_json(**document)
        return
    rows = [(line["provider"], line) for line in document["providers"]] + [("all together", document["total"])]
    headers = ("provider", "verdict", "share", "until", "why")
    print_table(headers, ((name, *_lifespan_row(line)) for name, line in rows))


def _lifespan_row(line: dict[str, Any]) -> tuple[str, ...]:
    return line["verdict"].replace("_", " "), f"{line['share']:.0%}", line["until"] or "-", line["reason"]
