"""The commands `trading-assets chaos ...`. Each calls one function and prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.trial import TrialGroup

if TYPE_CHECKING:
    from trading_assets.chaos.faults import Wildness


@click.group(cls=TrialGroup)
def chaos() -> None:
    """Trials in which processes are killed and the exchange fails; on an embedded exchange of their own."""


def _wild_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for what happens besides deaths and failing calls."""
    for option in (
        click.option(
            "--traders", default=None, type=click.IntRange(1, 2), help="2: a second one starts while one sleeps."
        ),
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


def _wildness(profile: str, changes: Mapping[str, Any]) -> Wildness:
    """A profile with what was switched on or off."""
    from trading_assets.chaos.faults import PROFILES  # noqa: PLC0415 (imports the exchange)

    return replace(PROFILES[profile], **{name: value for name, value in changes.items() if value is not None})


@chaos.command("orders")
@click.option("--kills", default=500, show_default=True, type=click.IntRange(1), help="So many traders are killed.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@_wild_options
@click.option("--until-broken", is_flag=True, help="End with the first finding.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def orders(
    kills: int, seed: int, profile: str, traders: int | None, until_broken: bool, as_json: bool, **wild: Any
) -> None:
    """Kill traders at every step of an order and at random; exit code 1 if a law of order safety is broken."""
    from trading_assets.chaos.orders import run_chaos  # noqa: PLC0415 (imports the exchange)

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

        report = run_chaos(
            kills, seed, tell, wild=_wildness(profile, wild | {"traders": traders}), until_broken=until_broken
        )
    _print(vars(report), as_json=as_json)
    if report.broken or report.kills < kills:
        sys.exit(1)


@chaos.command("accounts")
@click.option(
    "--kills", default=200, show_default=True, type=click.IntRange(2), help="So many traders of each account."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@click.option("--postgres", is_flag=True, help="The ledger is on a PostgreSQL server of the trial's own.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def accounts(kills: int, seed: int, postgres: bool, as_json: bool) -> None:
    """Kill traders of two accounts on one ledger, one halted half-way; exit code 1 if a book or limit is not its own.

    Each account has an embedded exchange of its own; the laws are those of chaos orders.
    """
    from trading_assets.chaos.accounts import run_accounts  # noqa: PLC0415 (imports the exchange)

    report = run_accounts(kills, seed, lambda text: echo(text, err=True), on_postgres=postgres)
    _print(vars(report), as_json=as_json)
    if report.broken:
        sys.exit(1)


@chaos.command("paper")
@click.option("--minutes", default=60.0, show_default=True, type=click.FloatRange(1), help="Of market.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(1, 60), help="Of the market's clock.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of entries and faults.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Recorded candles for the exchange in the role of Bybit; may be repeated.  [default: a seeded market]",
)
@click.option("--session", is_flag=True, help="A session in a process of its own trades.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def paper(minutes: float, speed: float, seed: int, replay: tuple[Path, ...], session: bool, as_json: bool) -> None:
    """Paper trading while prices get lost and its exchange dies; exit code 1 if a fill, a stop or a book is wrong."""
    from trading_assets.chaos.paper import run_paper  # noqa: PLC0415 (imports connector and exchange)

    report = run_paper(replay, minutes, speed, seed, lambda line: click.echo(line, err=True), in_session=session)
    _print(vars(report), as_json=as_json)
    if report.broken:
        sys.exit(1)


@chaos.command("day")
@click.option("--hours", default=24.0, show_default=True, type=click.FloatRange(0.25, 96), help="Of market.")
@click.option("--speed", default=60.0, show_default=True, type=click.FloatRange(1, 600), help="Of the market's clock.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of market, faults and deaths.")
@_wild_options
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def day(hours: float, speed: float, seed: int, profile: str, traders: int | None, as_json: bool, **wild: Any) -> None:
    """The whole system unattended, its processes killed at random; exit code 1 if its books differ at the end."""
    from trading_assets.chaos.day import run_day  # noqa: PLC0415 (imports connector and exchange)
    from trading_assets.defs.run_history import RunHistory  # noqa: PLC0415 (imports dagster)

    report = run_day(
        hours,
        speed,
        seed,
        RunHistory,
        lambda line: click.echo(line, err=True),
        wild=_wildness(profile, wild | {"traders": traders}),
    )
    _print(vars(report), as_json=as_json)
    if report.broken:
        sys.exit(1)


@chaos.command("mutants")
@click.argument("names", nargs=-1)
@click.option("--fast", is_flag=True, help="Only the three that are found within seconds.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of chaos orders.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 16), help="So many are tried at once.")
@click.option(
    "--results",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file of JSON lines; what was found in this very program is not tried again.",
)
@click.option("--markdown", is_flag=True, help="Print the table as the page has it.")
def mutants(names: tuple[str, ...], fast: bool, seed: int, jobs: int, results: Path | None, markdown: bool) -> None:
    """Put faults into copies of the program, and see each one found by chaos orders or a test; exit code 1 if not.

    NAMES: the mutants to be tried; all without.
    """
    from trading_assets.chaos.mutants import FAST, Found, as_markdown, run_mutants, select  # noqa: PLC0415 (exchange)

    chosen, told = select(FAST if fast else names), 0

    def tell(one: Found) -> None:
        nonlocal told
        told += 1
        by = one.by if one.by != "chaos" else f"chaos, {one.kills} kills"
        echo(f"{told} of {len(chosen)}  {one.name}: {by or 'SURVIVED'}, {one.seconds} s  {one.says[:150]}", err=True)

    found = run_mutants(chosen, tell, seed=seed, jobs=jobs, results=results)
    if markdown:
        click.echo(as_markdown(found))
    else:
        table = RichTable("mutant", "found by", "kills", "seconds")
        for one in found:
            table.add_row(one.name, one.by or line(("nothing", "red")), str(one.kills or ""), str(one.seconds))
        open_console().print(table)
    if not all(one.by for one in found):
        sys.exit(1)


@chaos.command("cuts")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(("silent", "refused")), help="Default: both.")
@click.option("--seconds", multiple=True, type=click.IntRange(1, 600), help="Of a cut. Default: 10 and 120.")
@click.option("--moment", "moments", multiple=True, type=click.Choice(("before", "during", "after")), help="All.")
@click.option("--answer-ms", default=0, show_default=True, type=click.IntRange(0, 5000), help="More for each answer.")
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 12), help="So many are tried at once.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the market and the signals.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON list.")
def cuts(
    kinds: tuple[str, ...],
    seconds: tuple[int, ...],
    moments: tuple[str, ...],
    answer_ms: int,
    jobs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Cut the link between a session and its exchange; exit code 1 if a signal is lost or it is told too late.

    Both live in network namespaces: it needs Linux, root and the command ip.
    """
    from itertools import product  # noqa: PLC0415 (used here alone)

    from trading_assets.chaos.cuts import KINDS, MOMENTS, SECONDS, Cut, run_cuts  # noqa: PLC0415 (imports the exchange)

    chosen = product(kinds or KINDS, seconds or SECONDS, moments or MOMENTS)
    wanted = [Cut(*one, answer_ms) for one in chosen]
    reports = run_cuts(wanted, lambda text: echo(text, err=True), jobs=jobs, seed=seed)
    if as_json:
        click.echo(json.dumps([vars(one) for one in reports]))
    else:
        table = RichTable(
            "cut", "signals", "in doubt", "lost", "told s", "back s", "again s", "last s", "without a stop"
        )
        for one in reports:
            figures = (one.statuses, one.in_doubt, one.lost, one.told_s, one.back_s, one.again_s, one.last_s, one.bare)
            table.add_row(one.cut, *(str(value) for value in figures))
        out = open_console()
        out.print(table)
        for text in [f"{one.cut}: {text}" for one in reports for text in one.broken]:
            out.print(line(("no", "red"), f"  {text}"), highlight=False)
    if any(one.broken for one in reports):
        sys.exit(1)


@chaos.command("faults")
@click.option("--only", multiple=True, help="One of them; may be given several times.  [default: all]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the market and the signals.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON list.")
def faults(only: tuple[str, ...], seed: int, as_json: bool) -> None:
    """Break database, disk, clock, memory and processes while a session trades; exit code 1 if a law does not hold.

    Some need Linux, root and PostgreSQL's server programs.
    """
    from trading_assets.chaos.breakdowns import FAULTS, run_faults  # noqa: PLC0415 (imports the exchange)

    unknown = sorted(set(only) - FAULTS.keys())
    if unknown:
        raise click.UsageError(f"no fault is named {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    reports = run_faults(only or list(FAULTS), lambda text: echo(text, err=True), seed=seed)
    if as_json:
        click.echo(json.dumps([vars(one) for one in reports]))
    else:
        table = RichTable(
            "fault", "lasted s", "signals", "in doubt", "lost", "doubled", "unprotected", "again after s", "starts"
        )
        for one in reports:
            figures = (one.seconds, one.statuses, one.in_doubt, one.lost, one.doubled, one.unprotected, one.again_s)
            table.add_row(one.fault, *(str(value) for value in (*figures, one.starts)))
        out = open_console()
        out.print(table)
        for text in [f"{one.fault}: {text}" for one in reports for text in one.broken]:
            out.print(line(("no", "red"), f"  {text}"), highlight=False)
    if any(one.broken for one in reports):
        sys.exit(1)


def _print(figures: Mapping[str, Any], *, as_json: bool) -> None:
    """The figures of a report as one JSON object, or for a person, with what was broken below them."""
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = RichTable("what", "count")
    for name, value in figures.items():
        if name != "broken":
            table.add_row(name.replace("_", " "), str(value))
    out = open_console()
    out.print(table)
    for text in figures["broken"]:
        out.print(line(("no", "red"), "  ", text))
