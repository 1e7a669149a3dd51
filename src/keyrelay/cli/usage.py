"""`keyrelay usage`: what the requests of a time add up to, from the store of a running gateway."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from keyrelay.cli import options
from keyrelay.cli.output import note, print_json, print_table
from keyrelay.cli.remote import Gateway, SecretFileOption
from keyrelay.cli.unknown_names import warn_of_provider

_PATH = "/api/v1/usage"
_GROUPS_SHOWN = 1_000
_FIELDS = ("provider", "model", "key", "client", "category", "tag")


class By(StrEnum):
    """What a line of the table stands for."""

    PROVIDER = "provider"
    MODEL = "model"
    KEY = "key"
    CLIENT = "client"
    CATEGORY = "category"
    DAY = "day"
    HOUR = "hour"

    @property
    def parameters(self) -> dict[str, object]:
        """How the gateway is asked for it."""
        if self in {By.DAY, By.HOUR}:
            return {"interval": self.value}
        return {"group_by": self.value}


class Format(StrEnum):
    """The form of what is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@options.sets(*options.REMOTE)
def usage(
    *,
    overrides: options.Overrides,
    by: Annotated[By, typer.Option("--by", help="What a line stands for.")] = By.PROVIDER,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From this time on: 24h, 7d, 2026-11-21 or RFC 3339.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Up to this time, by default now.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="FIELD=VALUE",
            help="Of this provider, model, key, client or category, or of clients with this tag, only.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Form of what is printed.")] = Format.TABLE,
    secret_file: SecretFileOption = None,
    json: options.JsonOption = False,
) -> None:
    """Show what was used: requests, failures, tokens, cost and latency of the last 24 hours, or of another time.

    \b
    Examples:
      keyrelay usage
      keyrelay usage --by model --from 7d
      keyrelay usage --by day --from 30d --only client=my-app --only provider=groq
      keyrelay usage --by key --from 2026-11-01 --to 2026-12-01 --format csv > november.csv
      keyrelay usage --by category --json
    """
    import msgspec

    asked = {"from": start, "to": end, **_chosen(only or ()), **by.parameters}
    gateway = Gateway(overrides, secret_file)
    if form is Format.CSV and not json:
        typer.echo(gateway.get(f"{_PATH}/export", {**asked, "format": "csv"}, accept="text/csv"), nl=False)
        return
    limit = _GROUPS_SHOWN if "group_by" in asked else None
    document = msgspec.json.decode(gateway.get(_PATH, {**asked, "limit": limit}))
    if not document["totals"]["requests"]:
        warn_of_provider(gateway, str(asked.get("provider", "")))
    if json or form is Format.JSON:
        print_json(**document)
        return
    _print_usage(document, by)


def _chosen(only: Iterable[str]) -> dict[str, object]:
    """The fields that have to have a value. Raise typer.BadParameter."""
    chosen: dict[str, object] = {}
    for text in only:
        field, equals, value = text.partition("=")
        if field not in _FIELDS or not equals or field in chosen:
            raise typer.BadParameter(f"{text!r} must be FIELD=VALUE, each FIELD once: {', '.join(_FIELDS)}.")
        chosen[field] = value
    return chosen


def _print_usage(document: dict[str, Any], by: By) -> None:
    """Print the report as a table, the whole in its last line."""
    headers = ("requests", "failed", "cached", "tokens in", "tokens out", "cost", "unpriced", "p50", "p95", "first")
    print_table((by.value, *headers), _rows(document))
    note(f"from {document['from']} to {document['to']}; durations are right to within about a tenth")
    rest = document["groups_total"] - len(document["groups"])
    if rest > 0:
        note(f"{rest} more groups; choose with --only")


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for point in document["series"]:
        yield point["start"], *_cells(point["totals"])
    for group in document["groups"]:
        yield (
            f"{group['provider']}/{group['name']}" if group["provider"] else group["name"] or "-",
            *_cells(group["totals"]),
        )
    yield "all", *_cells(document["totals"])


def _cells(totals: dict[str, Any]) -> tuple[str, ...]:
    latency, first_token = totals["latency_ms"], totals["first_token_ms"]
    return (
        f"{totals['requests']:,}",
        _share(totals["failure_rate"]),
        _share(totals["cache_hit_rate"]),
        f"{totals['input_tokens']:,}",
        f"{totals['output_tokens']:,}",
        f"${totals['cost_usd']:,.4f}",
        f"{totals['unpriced']:,}" if totals["unpriced"] else "-",
        _duration(latency["p50"]),
        _duration(latency["p95"]),
        _duration(first_token["p50"]),
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _duration(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < 10_000 else f"{ms / 1000:.1f} s"  # noqa: PLR2004 - where four digits end
