"""`trading-assets strategies`: the registry of strategies, without SQL. Commands parse, call one function and print."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.deadline import ends_within
from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import Settings, load_settings
from trading_assets.core.timeframes import hour_key

if TYPE_CHECKING:
    from trading_assets.ledger.database import Database
    from trading_assets.reporting.strategy_check import Report
    from trading_assets.strategies.bias_checks import Verdict

START_WITHIN_S = 3600.0
"""The check of a strategy decides on thousands of candles before it is started."""

_name = click.argument("name")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")


@click.group()
def strategies() -> None:
    """The registry of strategies: which are tried, on what, with which parameters."""


@contextmanager
def _registry(acts: str = "", within_s: float | None = None) -> Iterator[tuple[Settings, Database]]:
    """Settings and ledger, each known strategy with its row.

    Args:
        acts: the command, where it changes something: it says whose rows these are, and has a deadline.
        within_s: that deadline, s; by default that of commands.
    """
    from trading_assets.ledger.strategies import seed_registry  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings()
    if acts:
        announce(settings)
    limit = ends_within(within_s or settings.command_deadline_s, f"strategies {acts}") if acts else nullcontext()
    with limit, open_ledger(settings) as database:
        seed_registry(database)
        yield settings, database


@strategies.command("list")
def list_strategies() -> None:
    """Every strategy, whether it is active, and how far its parameters are varied."""
    from trading_assets.ledger import strategies as rows  # noqa: PLC0415 (pandas costs a second)
    from trading_assets.strategies.grids import grids_from  # noqa: PLC0415 (imports the strategies)

    table = Table("strategy", "active", "parameter sets", "parameters", "what it does")
    with _registry() as (settings, database):
        grids = grids_from(settings.parameters)
        for row in rows.registry_rows(database):
            active = "yes" if row.is_active else "no"
            table.add_row(row.name, active, rows.tried(row, grids), row.parameters, row.description)
    open_console().print(table)


@strategies.command("show")
@_name
def show_strategy(name: str) -> None:
    """What NAME is tried on and with: its row, each parameter with its meaning, and the values that are tried.

    Where its newest backtests failed, the coin, the candle and the traceback of one of them for each timeframe.
    """
    from trading_assets.ledger import strategies as rows  # noqa: PLC0415 (pandas costs a second)
    from trading_assets.ledger import strategy_failures  # noqa: PLC0415 (as above)
    from trading_assets.strategies.grids import grids_from  # noqa: PLC0415 (imports the strategies)

    console = open_console()
    with _registry() as (settings, database):
        shown = rows.description_of(rows.registry_row(database, name), grids_from(settings.parameters))
        failed = strategy_failures.by_strategy(database).get(name, [])
    for what, value in shown.facts.items():
        console.print(line((what, "bold"), f": {value}"))
    if shown.parameters:
        table = Table("parameter", "tried", "as described", "meaning")
        for parameter in shown.parameters:
            table.add_row(*parameter)
        console.print(table)
    told = set[str]()
    for hour, failure in failed:
        said = f": {failure.where}, in the hour {hour_key(hour)}, with {failure.parameters}"
        console.print(line(("failed", "red"), said))
        # One mistake fails alike on every timeframe.
        text = "the same traceback" if failure.traceback in told else failure.traceback
        console.print(indent(text, "  "), highlight=False)
        told.add(failure.traceback)


@strategies.command("new")
@_name
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where module and test go.  [default: this package and its tests]",
)
def new_strategy(name: str, folder: Path | None) -> None:
    """Write a module for a strategy NAME and its test. The rule in it is an example: replace it by yours."""
    from trading_assets.strategies.template import write_new  # noqa: PLC0415 (imports the strategies)

    module, *tests = write_new(name, folder)
    echo(f"module: {module}")
    for test in tests:
        echo(f"test:   {test}")
    if folder is None:
        echo(f"next: change the rule, run the test, trading-assets check strategy {name}, and strategies start {name}")
    else:
        echo(
            "next: change the rule, run the test, and name the class in your package's entry points, group "
            "trading_assets.strategies"
        )


@strategies.command("set")
@_name
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of every set; NAME= gives it up.",
)
@click.option(
    "--grid",
    multiple=True,
    metavar="WORD|NAME=VALUE,...",
    help="How far parameters are varied: described, declared, setting, or values to try, also of several. After search "
    "or search:TRIALS each hour searches them (Optuna), and NAME=FROM..TO is a span.",
)
@click.option(
    "--pairs", multiple=True, metavar="SYMBOL,...", help="The only symbols that it may trade; all: every one."
)
@click.option("--timeframes", multiple=True, metavar="TIMEFRAME,...", help="The only ones that it is tried on, or all.")
@_dry_run
def set_strategy(
    name: str,
    parameters: tuple[str, ...],
    grid: tuple[str, ...],
    pairs: tuple[str, ...],
    timeframes: tuple[str, ...],
    dry_run: bool,
) -> None:
    """Change what NAME is tried on and with, from the next hour on. What is not named stays."""
    from trading_assets.ledger import strategies as rows  # noqa: PLC0415 (pandas costs a second)
    from trading_assets.strategies.grids import grids_from  # noqa: PLC0415 (imports the strategies)

    with _registry("set") as (settings, database):
        before = rows.registry_row(database, name)
        after = before.asked(parameters, grid, pairs, timeframes)
        lines = rows.changes(before, after, grids_from(settings.parameters))
        if lines and not dry_run:
            rows.write_row(database, after)
    for text in lines or [f"{name} is like that already"]:
        echo(text)
    if dry_run:
        echo("dry run: nothing was changed")


@strategies.command("start")
@_name
@click.option("--force", is_flag=True, help="Start it even if it looks ahead or fails: see above.")
@_dry_run
def start_strategy(name: str, force: bool, dry_run: bool) -> None:
    """Check NAME for look-ahead and warm-up, then backtest and trade it from the next hour on.

    What looks ahead is refused, with exit code 1. --force starts it all the same: it is backtested, selected and traded
    on results that nobody can earn, and the check of each hour finds it again.
    """
    from trading_assets.backtesting.run import production_engine  # noqa: PLC0415 (pandas costs a second)
    from trading_assets.ledger import strategies as rows  # noqa: PLC0415 (as above)
    from trading_assets.ledger.fees import with_own_fees  # noqa: PLC0415 (as above)
    from trading_assets.reporting import strategy_check  # noqa: PLC0415 (as above)
    from trading_assets.strategies.grids import grids_from  # noqa: PLC0415 (imports the strategies)

    console = open_console()
    with _registry("start", START_WITHIN_S) as (settings, database):
        row, own_fees = rows.registry_row(database, name), with_own_fees(settings, database)
        verdict = strategy_check.before_start(
            row.usable(grids_from(settings.parameters)), own_fees, database, production_engine()
        )
        if verdict.reports:
            print_reports(name, verdict.reports, console)
        for note in verdict.notes:
            echo(note)
        if verdict.refusal is not None and not force:
            echo(f"{name} was not started: {verdict.refusal}", err=True)
            sys.exit(1)
        if verdict.refusal is not None:
            echo(f"started by force: {verdict.refusal}", err=True)
        if not dry_run:
            rows.set_active(database, name, True)
    echo(
        f"{name} would be started; dry run: nothing was changed"
        if dry_run
        else f"{name} is backtested from the next hour on, and traded where it is selected"
    )


@strategies.command("stop")
@_name
def stop_strategy(name: str) -> None:
    """Open nothing more with NAME from now on; open positions keep their stops."""
    from trading_assets.ledger.strategies import set_active  # noqa: PLC0415 (pandas costs a second)

    with _registry("stop") as (_, database):
        set_active(database, name, False)
    echo(f"{name} opens nothing more from now on, and is not backtested from the next hour on")


@strategies.command("remove")
@_name
def remove_strategy(name: str) -> None:
    """Remove the row of NAME, whose module was deleted. Its backtests, signals and orders stay in the ledger."""
    from trading_assets.ledger.strategies import remove  # noqa: PLC0415 (pandas costs a second)

    with _registry("remove") as (_, database):
        remove(database, name)
    echo(f"{name} was removed; what it did stays in the ledger, and open positions keep their stops")


def print_reports(name: str, reports: Sequence[Report], console: Console) -> None:
    """A table with a line for each report, the violations in words, and the result in one sentence."""
    from trading_assets.reporting.strategy_check import nothing_checked, short_warm_up, words  # noqa: PLC0415 (as above)

    table = Table(
        *(
            "market",
            "symbol",
            "timeframe",
            "look-ahead",
            "warm-up",
            "bars needed",
            "trades",
            "PnL, USD",
            "at double costs",
        ),
        title=plain(name),
    )
    for report in reports:
        table.add_row(
            report.target.market,
            report.target.symbol,
            report.timeframe.value,
            _verdict(report.look_ahead),
            _verdict(report.warm_up),
            f"{report.sufficient.words} of {report.declared}",
            str(report.costs.trades),
            f"{report.costs.pnl:,.2f}",
            f"{report.costs.pnl_at_double:,.2f}",
        )
    console.print(table)
    for report in reports:
        for check, verdict in (("look-ahead", report.look_ahead), ("warm-up", report.warm_up)):
            for violation in verdict.violations[:3]:
                console.print(line(f"{report.target.symbol} {report.timeframe.value} {check}: {words(violation)}"))
    ahead = sum(not report.look_ahead.passed for report in reports)
    signals = sum(report.look_ahead.signals for report in reports)
    if ahead:
        console.print(
            line((f"{name} looks ahead", "red"), f" on {ahead} of {len(reports)}: its backtests cannot be repeated.")
        )
    elif not reports:
        console.print(f"{name} was not checked: there are too few candles.")
    elif (unchecked := nothing_checked(name, reports)) is not None:
        console.print(line((f"{unchecked}.", "yellow")))
    else:
        console.print(line((f"{name} has no look-ahead", "green"), f": {signals} signals decided again, all the same."))
    if (short := short_warm_up(name, reports)) is not None:
        console.print(line((f"{short}.", "yellow")))
    thin = sum(not report.costs.survives for report in reports)
    if thin:
        console.print(f"{thin} of {len(reports)} profits are lost at double costs (no violation).", highlight=False)


def _verdict(verdict: Verdict) -> Text:
    if not verdict.passed:
        return line((f"{len(verdict.violations)} differ", "red"))
    if not verdict.bars:
        return line("too few bars")
    if not verdict.signals:
        return line(("no signal", "yellow"), f" ({verdict.bars} bars)")
    return line(("ok", "green"), f" ({verdict.bars} bars, {verdict.signals} signals)")
