"""`trading-assets rehearse`: one smallest order there and back, and what to compare. No logic of its own."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click
from rich.table import Table

from trading_assets.cli.account_option import account_option, with_keys
from trading_assets.cli.console import echo, line, open_console
from trading_assets.cli.opening import announce, open_ledger
from trading_assets.core.deadline import ends_within, interrupted_within
from trading_assets.core.errors import ConfigurationError, StorageError, TradingAssetsError
from trading_assets.core.settings import Settings, Venue, load_settings
from trading_assets.core.timeframes import local_ms

if TYPE_CHECKING:
    from trading_assets.venues.rehearsal.report import RehearsalReport


@click.command()
@click.option(
    "--venue",
    type=click.Choice([venue.value for venue in Venue]),
    help="Where.  [default: the setting; with real money it must be the setting]",
)
@account_option
@click.option("--symbol", help="Contract.  [default: the cheapest to try of the ten that are traded most]")
@click.option("--clean", "only_clean", is_flag=True, help="Only take back what an earlier rehearsal has left.")
@click.option("--yes", is_flag=True, help="Do not ask; not with real money.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
def rehearse(venue: str | None, account: str, symbol: str | None, only_clean: bool, yes: bool, as_json: bool) -> None:
    """Try a venue with one smallest order: markets, leverage, order with stops, stop change, close, history.

    Everything is taken back at the end, also after an error or Ctrl-C; after a kill, by `--clean`. Exit code 1 tells
    that something is not as expected, or is left.
    """
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)
    from trading_assets.venues.rehearsal.cleaning import clean, leftover  # noqa: PLC0415
    from trading_assets.venues.rehearsal.plan import plan  # noqa: PLC0415
    from trading_assets.venues.rehearsal.steps import rehearse as go  # noqa: PLC0415

    base = load_settings()
    with ends_within(base.command_deadline_s, "rehearse"):
        settings = named_settings(account, venue) if account else settings_of(venue)
        announce(settings)
        require_nobody_trades(settings)
        exchange = open_exchange(settings)
    console = open_console(stderr=as_json)
    try:
        if only_clean:
            nothing = leftover(settings) is None
            with ends_within(settings.command_deadline_s, "rehearse --clean"):
                left = clean(exchange, settings)
            echo(left or ("nothing was left" if nothing else "taken back"))
            sys.exit(1 if left else 0)
        with ends_within(settings.command_deadline_s, "rehearse"):
            found = plan(exchange, settings, symbol)
        name = found.contract.symbol
        text = (
            f"one order of {found.qty:f} {name} (about {found.value:.0f} USD) at {settings.venue.value}, account "
            f"{settings.account}, stops, and a closing; it costs two fees and the spread"
        )
        console.print(line(("rehearsal", "bold"), ": ", text))
        _ask(settings, name, yes=yes)
        signal.signal(signal.SIGTERM, _end)
        with interrupted_within(settings.command_deadline_s, "rehearse"):
            report = go(
                exchange,
                settings,
                found,
                lambda row: console.print(
                    line(("ok" if row.ok else "no", "green" if row.ok else "red"), f"  {row.step}")
                ),
            )
    finally:
        exchange.close()
    _keep(settings, report)
    if as_json:
        echo(json.dumps(dataclasses.asdict(report)))
    else:
        table = Table("", "what", "expected", "found", title=f"{report.venue}, {report.qty} {report.symbol}")
        for row in report.rows:
            table.add_row("ok" if row.ok else "no", row.step, row.expected, row.found)
        console.print(table)
    if not report.is_well:
        sys.exit(1)


def settings_of(venue: str | None) -> Settings:
    """The settings, with another venue where one is named.

    Raises:
        ConfigurationError: real money is named, and the settings are of another venue, or their second switch is off.
    """
    settings = load_settings()
    named = next((one for one in Venue if one.value == venue), settings.venue)
    if named is settings.venue:
        return settings
    if named.adapter.is_real_money:
        raise ConfigurationError(
            f"the settings are of {settings.venue.value} and {venue} is real money: nothing is tried there by an "
            "option alone. Set TRADING_ASSETS_VENUE and TRADING_ASSETS_ALLOW_MAINNET"
        )
    return load_settings(venue=named)


def named_settings(account: str, venue: str | None) -> Settings:
    """The settings and keys of an account by its name.

    Raises:
        ConfigurationError: there is none, it is elsewhere than `venue`, its keys cannot be read, or real money is not
            allowed.
    """
    base = load_settings()
    with open_ledger(base) as database:
        settings = with_keys(database, base, account)
    if venue is not None and venue != settings.venue.value:
        raise ConfigurationError(f"account {account} is at {settings.venue.value}, not at {venue}: leave --venue out")
    if settings.venue.adapter.is_real_money and not settings.allow_mainnet:
        raise ConfigurationError(f"account {account} has real money: set TRADING_ASSETS_ALLOW_MAINNET=true")
    return settings


def require_nobody_trades(settings: Settings) -> None:
    """A session would see orders that are not its own.

    Raises:
        ConfigurationError: one trades on the account of these settings now.
    """
    from trading_assets.ledger import books, leases  # noqa: PLC0415
    from trading_assets.ledger.database import Database, Timeouts  # noqa: PLC0415
    from trading_assets.trading.context import trading_lease  # noqa: PLC0415

    if settings.database_url is None and not (settings.home / "trading_assets.db").is_file():
        return
    try:
        database = Database(settings.resolved_database_url, timeouts=Timeouts.of(settings), upgrade=False)
    except StorageError:
        return  # no ledger, no session
    try:
        owner = books.read(database, settings.account).owner
        holder = leases.holder_of(database, trading_lease(settings.account), wall_ms=local_ms())
    finally:
        database.close()
    if holder is not None and (owner is None or owner.venue == settings.venue.value):
        raise ConfigurationError(
            f"{holder.holder} trades on this account now: a rehearsal needs it alone. Stop the session, or rehearse "
            "with a key of another account"
        )


def _keep(settings: Settings, report: RehearsalReport) -> None:
    """Write what was found into the ledger, for `doctor --go-live`."""
    from trading_assets.ledger import rehearsals  # noqa: PLC0415

    told = dataclasses.asdict(report)
    try:
        with open_ledger(settings) as database:
            rehearsals.add(
                database, settings.account, settings.venue.value, told, is_well=report.is_well, wall_ms=local_ms()
            )
    except TradingAssetsError as error:
        echo(f"the report is not kept, doctor --go-live will not know of it: {error}", err=True)


def _ask(settings: Settings, symbol: str, *, yes: bool) -> None:
    if settings.venue.adapter.is_real_money:
        typed = click.prompt(f"This is real money. Type {symbol} to go on", default="", show_default=False)
        if typed != symbol:
            raise click.Abort
    elif not yes and not settings.venue.adapter.is_simulated:
        click.confirm("Go on?", abort=True)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM as Ctrl-C: the way back is gone first."""
    raise KeyboardInterrupt
