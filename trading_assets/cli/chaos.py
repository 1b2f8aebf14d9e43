"""The commands `trading-assets chaos ...`. Each calls one function and prints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from trading_assets.cli.console import open_console


@click.group()
def chaos() -> None:
    """Trials in which processes are killed and the exchange fails; on an embedded exchange of their own."""


@chaos.command("orders")
@click.option("--kills", default=500, show_default=True, type=click.IntRange(1), help="So many traders are killed.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def orders(kills: int, seed: int, as_json: bool) -> None:
    """Kill traders at every step of an order and at random; exit code 1 if an order is doubled, lost or unprotected."""
    from trading_assets.chaos.orders import run_chaos, summary  # noqa: PLC0415 (imports connector and exchange)

    console = Console(stderr=True)
    columns = (TextColumn("killed"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("killed", total=kills)
        told = 0

        def tell(done: int) -> None:
            nonlocal told
            bar.update(task, completed=done)
            if not console.is_terminal and done * 10 // kills > told:  # a line for each tenth, where no bar can be
                told = done * 10 // kills
                click.echo(f"killed {done} of {kills}", err=True)

        report = run_chaos(kills, seed, tell)
    if as_json:
        click.echo(summary(report))
    else:
        _print(vars(report))
    if report.broken or report.kills < kills:
        sys.exit(1)


@chaos.command("day")
@click.option("--hours", default=24.0, show_default=True, type=click.FloatRange(0.25, 96), help="Of market.")
@click.option("--speed", default=60.0, show_default=True, type=click.FloatRange(1, 600), help="Of the market's clock.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def day(hours: float, speed: float, seed: int, as_json: bool) -> None:
    """The whole system unattended, its processes killed at random; exit code 1 if its books differ at the end."""
    from trading_assets.chaos.day import run_day, summary  # noqa: PLC0415 (imports connector and exchange)
    from trading_assets.defs.run_history import RunHistory  # noqa: PLC0415 (imports dagster)

    report = run_day(hours, speed, seed, RunHistory, lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(summary(report))
    else:
        _print(vars(report))
    if report.broken:
        sys.exit(1)


def _print(figures: Mapping[str, Any]) -> None:
    """The figures of a report for a person, and what was broken below them."""
    table = RichTable("what", "count")
    for name, value in figures.items():
        if name != "broken":
            table.add_row(name.replace("_", " "), str(value))
    out = open_console()
    out.print(table)
    for text in figures["broken"]:
        out.print(f"[red]no[/]  {text}", highlight=False)
