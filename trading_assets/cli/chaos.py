"""The commands `trading-assets chaos ...`. Each calls one function and prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from trading_assets.cli.console import echo, line, open_console


@click.group()
def chaos() -> None:
    """Trials in which processes are killed and the exchange fails; on an embedded exchange of their own."""


def _wild_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for what happens besides deaths and failing calls."""
    for option in (
        click.option("--odd-rows/--no-odd-rows", default=None, help="Missing, malformed, unknown and repeated rows."),
        click.option("--lag/--no-lag", default=None, help="Lists of the account that lag behind; closings that grow."),
        click.option("--hands/--no-hands", default=None, help="A person trades and moves stops on the same account."),
        click.option(
            "--profile",
            default="wild",
            show_default=True,
            type=click.Choice(("wild", "tame")),
            help="wild: all that follows is on; tame: off.",
        ),
    ):
        command = option(command)
    return command


@chaos.command("orders")
@click.option("--kills", default=500, show_default=True, type=click.IntRange(1), help="So many traders are killed.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@_wild_options
@click.option("--traders", default=None, type=click.IntRange(1, 2), help="2: a second one starts while one sleeps.")
@click.option("--until-broken", is_flag=True, help="End with the first finding.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def orders(
    kills: int, seed: int, profile: str, traders: int | None, until_broken: bool, as_json: bool, **wild: Any
) -> None:
    """Kill traders at every step of an order and at random; exit code 1 if a law of order safety is broken."""
    from trading_assets.chaos.faults import PROFILES  # noqa: PLC0415 (imports the exchange)
    from trading_assets.chaos.orders import run_chaos, summary  # noqa: PLC0415 (imports the exchange)

    changes: dict[str, Any] = {name: value for name, value in {**wild, "traders": traders}.items() if value is not None}
    console = open_console(stderr=True)
    columns = (TextColumn("killed"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("killed", total=kills)
        told = 0

        def tell(done: int) -> None:
            nonlocal told
            bar.update(task, completed=done)
            if not console.is_terminal and done * 10 // kills > told:  # a line for each tenth, where no bar can be
                told = done * 10 // kills
                echo(f"killed {done} of {kills}", err=True)

        report = run_chaos(kills, seed, tell, wild=replace(PROFILES[profile], **changes), until_broken=until_broken)
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
@_wild_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def day(hours: float, speed: float, seed: int, profile: str, as_json: bool, **wild: Any) -> None:
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


@chaos.command("mutants")
@click.argument("names", nargs=-1)
@click.option("--fast", is_flag=True, help="Only the three that are found within seconds.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of chaos orders.")
def mutants(names: tuple[str, ...], fast: bool, seed: int) -> None:
    """Put faults into copies of the program, and see each one found by chaos orders or a test; exit code 1 if not.

    NAMES: the mutants to be tried; all without.
    """
    from trading_assets.chaos.mutants import FAST, Found, run_mutants, select  # noqa: PLC0415 (imports the exchange)

    def tell(one: Found) -> None:
        by = one.by if one.by != "chaos" else f"chaos, {one.kills} kills"
        echo(f"{one.name}: {by or 'SURVIVED'}, {one.seconds} s  {one.says[:150]}", err=True)

    results = run_mutants(select(FAST if fast else names), tell, seed=seed)
    table = RichTable("mutant", "found by", "kills", "seconds")
    for one in results:
        table.add_row(one.name, one.by or line(("nothing", "red")), str(one.kills or ""), str(one.seconds))
    open_console().print(table)
    if not all(one.by for one in results):
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
        out.print(line(("no", "red"), "  ", text))
