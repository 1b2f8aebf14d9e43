"""The command that brings an account at its venue into the shape that is traded."""

from __future__ import annotations

import sys

import click

from trading_assets.cli.console import line, open_console
from trading_assets.cli.trading import announce
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import AccountShapeError
from trading_assets.core.settings import load_settings


@click.group()
def accounts() -> None:
    """The account at the venue: how it is set up."""


@accounts.command()
def fees() -> None:
    """Ask the venue for the account's own fees, and keep them: backtests and reports count them from then on."""
    from trading_assets.ledger.database import Database, Timeouts  # noqa: PLC0415
    from trading_assets.trading.account_fees import ask_fees  # noqa: PLC0415 (imports the ledger)
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    settings, console = load_settings(), open_console()
    announce(settings)
    exchange = open_exchange(settings)
    database = Database(settings.resolved_database_url, timeouts=Timeouts.of(settings))
    try:
        found = ask_fees(database, exchange, settings)
    finally:
        database.close()
        exchange.close()
    told = f"taker {found.taker * 100:g} %, maker {found.maker * 100:g} %"
    setting = f"the setting says {settings.taker_fee * 100:g} % for takers"
    console.print(line((settings.venue.value, "bold"), ": ", told, f" ({setting})"))


@accounts.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def prepare(yes: bool) -> None:
    """Show how the account is set up, and set one-way mode and cross margin.

    Exit code 1 tells that it cannot be traded as it is. Portfolio margin and classic accounts can only be changed at
    the venue.
    """
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)
    from trading_assets.venues.accounts import examine_account, prepare_account  # noqa: PLC0415
    from trading_assets.venues.keys import judge_key  # noqa: PLC0415

    settings, console = load_settings(), open_console()
    announce(settings)
    exchange = open_exchange(settings)
    try:
        key = judge_key(exchange.api_key(), exchange.now_ms())
        verdict = examine_account(exchange, settings.symbols)
        console.print(line((settings.venue.value, "bold"), ": ", verdict.summary))
        console.print(line(("API key", "bold"), ": ", "; ".join((key.summary, *key.faults, *key.warnings))))
        for sentence in (*verdict.faults, *verdict.warnings):
            console.print(line(("no", "red"), "  ", sentence))
        if not verdict.changes:
            console.print(line("nothing is left to set here"))
            sys.exit(1 if verdict.faults or key.faults else 0)
        for change in verdict.changes:
            console.print(line("to set: ", change))
        if not yes:
            click.confirm(f"Set this for the account on {settings.venue.value}?", abort=True)
        with ends_within(settings.command_deadline_s, "accounts prepare"):
            after = prepare_account(exchange, settings.symbols, verdict.changes)
        console.print(line("set. ", (settings.venue.value, "bold"), ": ", after.summary))
        if after.faults:
            raise AccountShapeError(f"the account cannot be traded yet: {'; '.join(after.faults)}")
    finally:
        exchange.close()
