"""`keyrelay replay`: recorded requests through the real engine, under several plans side by side."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyrelay.cli import options
from keyrelay.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from keyrelay.replay.figures import Figures
    from keyrelay.replay.plan import Plan
    from keyrelay.replay.trace import Trace

ALL_PLANS = ("default", "round_robin", "priority")

_BAR_CELLS = 30


def replay(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="day, burst, a trace file, or a request log.")],
    *,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="PLAN",
            help="default, round_robin, priority or a TOML file; +field=value behind it changes it. May be repeated.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change a field or setting in every plan. May be repeated."),
    ] = None,
    models: Annotated[bool, typer.Option("--models", help="A second table: answers by model asked for.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown.")] = False,
    write_trace: Annotated[
        Path | None,
        typer.Option("--write-trace", metavar="FILE", dir_okay=False, help="Write what was read as a trace, and stop."),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Replay a trace under several plans and print what became of it, side by side.

    Requests hold no text: only when who asked which model for how many tokens. They go through the gateway's own
    code, on a virtual clock, to simulated providers that keep each limit exactly.

    \b
    Examples:
      keyrelay replay day
      keyrelay replay burst --config default --config default+policy=least_used
      keyrelay replay day --config default --config default+providers.gemini.keys=6
      keyrelay replay requests.log --config mine.toml --set providers.groq.keys=0 --json
      keyrelay replay requests.log --write-trace monday.jsonl.gz
    """
    from keyrelay.replay import trace as traces
    from keyrelay.replay.plan import load_plan

    read = traces.load_trace(trace)
    if write_trace is not None:
        write_trace.write_bytes(traces.write_trace(read.header, read.requests))
        note(f"{write_trace}: {len(read.requests)} requests")
        return
    plans = [load_plan(text, tuple(change or ())) for text in config or ALL_PLANS]
    columns = [_figures(read, plan) for plan in plans]
    if json:
        header = read.header
        print_json(trace={"name": header.trace, "start": header.start, "seed": header.seed}, plans=columns)
        return
    _print(columns, models=models, markdown=markdown)


def _figures(trace: "Trace", plan: "Plan") -> "Figures":
    from keyrelay.replay.running import replay as run

    return run(trace, plan, _bar(plan.name) if sys.stderr.isatty() else _no_bar)


def _print(columns: "list[Figures]", *, models: bool, markdown: bool) -> None:
    from keyrelay.replay import figures

    names = [each.plan for each in columns]
    tables = [(["", *names], figures.rows(columns))]
    if models:
        tables.append((["model asked for", "requests", *names], figures.model_rows(columns)))
    for number, (headers, lines) in enumerate(tables):
        if number:
            typer.echo()
        if markdown:
            typer.echo(figures.markdown(headers, lines), nl=False)
        else:
            print_table(headers, lines)


def _no_bar(done: int, of: int) -> None:
    """Nobody looks."""


def _bar(name: str) -> Callable[[int, int], None]:
    """Show on stderr how far a replay is; the line goes away when it has ended."""

    def show(done: int, of: int) -> None:
        cells = _BAR_CELLS * done // max(of, 1)
        line = f"{name}  {'█' * cells}{'░' * (_BAR_CELLS - cells)}  {done} of {of}"
        typer.echo(f"\r{line}" if done < of else f"\r{' ' * len(line)}\r", err=True, nl=False)

    return show
