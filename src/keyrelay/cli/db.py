"""`keyrelay db`: the database in which usage is kept."""

from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

from keyrelay.cli import options
from keyrelay.cli.groups import group
from keyrelay.cli.output import note, print_json, print_table

_Result = TypeVar("_Result")

app = group(
    "Prepare, look at and clean up the database in which usage is kept.",
    "Prepare, look at and clean up the database.",
    "keyrelay db status",
    "keyrelay db migrate",
    "keyrelay db purge --requests-days 7",
)

_MIB = 1_048_576


@app.command(short_help="Bring the tables to the version that this Keyrelay works with.")
@options.sets(*options.FILES)
def migrate(*, overrides: options.Overrides) -> None:
    """Bring the tables to the version that this Keyrelay works with: all of it or nothing, and at most once.

    An SQLite file is migrated at every start; PostgreSQL (DATABASE_URL) by this command alone.

    \b
    Examples:
      keyrelay db migrate
      DATABASE_URL=postgresql://keyrelay@db/keyrelay keyrelay db migrate
    """
    from keyrelay.bootstrap.database import migrate_database

    done = _run(migrate_database(options.settings_of(overrides)))
    if done.before == done.after:
        note(f"{done.place}: version {done.after}, nothing to do")
    else:
        note(f"{done.place}: version {done.before or 'none'} → {done.after}")


@app.command(short_help="Show what is in the database.")
@options.sets(*options.FILES)
def status(*, overrides: options.Overrides, json: options.JsonOption = False) -> None:
    """Show where the database is, which version its tables have, and what they hold.

    \b
    Examples:
      keyrelay db status
      keyrelay db status --json
    """
    import msgspec

    from keyrelay.bootstrap.database import standing_of_database
    from keyrelay.core.moments import rfc3339

    standing = _run(standing_of_database(options.settings_of(overrides)))
    if json:
        print_json(**msgspec.to_builtins(standing))
        return
    oldest, newest = (
        "none" if moment_ms is None else rfc3339(moment_ms / 1000)
        for moment_ms in (standing.oldest_ms, standing.newest_ms)
    )
    print_table(
        ("what", "value"),
        [
            ("place", standing.place),
            ("tables", f"{standing.state}, version {standing.version or 'none'}, wanted {standing.wanted}"),
            ("size", f"{standing.bytes / _MIB:.1f} MiB"),
            ("requests counted", f"{standing.counted:,}"),
            ("oldest row", oldest),
            ("newest row", newest),
        ],
    )


@app.command(short_help="Delete what has been kept long enough.")
@options.sets(*options.FILES)
def purge(
    *,
    overrides: options.Overrides,
    requests_days: Annotated[
        float | None, typer.Option("--requests-days", metavar="DAYS", min=0, help="Keep rows of requests so long.")
    ] = None,
    minutes_days: Annotated[
        float | None, typer.Option("--minutes-days", metavar="DAYS", min=0, help="Keep sums per minute so long.")
    ] = None,
    hours_days: Annotated[
        float | None, typer.Option("--hours-days", metavar="DAYS", min=0, help="Keep sums per hour so long.")
    ] = None,
    texts_days: Annotated[
        float | None, typer.Option("--texts-days", metavar="DAYS", min=0, help="Keep prompts and answers so long.")
    ] = None,
) -> None:
    """Delete what has been kept long enough, a little at a time; a running gateway does it by itself.

    Days that are not said are those of the settings (`keep_requests_days`, `keep_minutes_days`, `keep_hours_days`,
    `keep_texts_days`); the log of changes is kept for `keep_audit_days`.

    \b
    Examples:
      keyrelay db purge
      keyrelay db purge --requests-days 7
      keyrelay db purge --texts-days 0
    """
    from keyrelay.bootstrap.database import Retention, purge_database

    settings = options.settings_of(overrides)
    retention = Retention(
        requests_days=settings.keep_requests_days if requests_days is None else requests_days,
        minutes_days=settings.keep_minutes_days if minutes_days is None else minutes_days,
        hours_days=settings.keep_hours_days if hours_days is None else hours_days,
        texts_days=settings.keep_texts_days if texts_days is None else texts_days,
        audit_days=settings.keep_audit_days,
    )
    done = _run(purge_database(settings, retention))
    note(
        f"deleted: {done.requests:,} requests, {done.minutes:,} sums per minute, {done.hours:,} sums per hour, "
        f"{done.texts:,} texts, {done.audit:,} lines of the log of changes"
    )


def _run(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run to the end; what the database refuses ends the command with a line that says why."""
    import asyncio

    from keyrelay.cli.exits import Exit
    from keyrelay.core.errors import StoreError

    try:
        return asyncio.run(work)
    except StoreError as error:
        note(f"keyrelay: {error}")
        raise typer.Exit(Exit.FAILED) from error
