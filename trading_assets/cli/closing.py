"""`flatten` and `close`: positions are closed at the market.

They parse, call one function and print; what they need is imported inside them, for the sake of `--help`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from trading_assets.cli.account_option import one_account_option, only_remembered, the_account, with_keys
from trading_assets.cli.brakes import brake, write_halt_file
from trading_assets.cli.console import echo
from trading_assets.cli.opening import (
    announce,
    anyway_option,
    open_ledger,
    reason_argument,
    reason_text,
    require_living_books,
    who,
)
from trading_assets.core.deadline import ends_within
from trading_assets.core.errors import StorageError, TradingAssetsError, UnknownAccountError, WrongBooksError
from trading_assets.core.settings import Settings, load_settings
from trading_assets.notifications.notifier import notifying

if TYPE_CHECKING:
    from trading_assets.trading.execute.flatten import FlattenReport

PART_FOR_CLOSING = 0.8
"""Of a command's deadline; the rest is for the books and the report."""


@click.command()
@reason_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--foreign", is_flag=True, help="Close positions that this system did not open, too.")
@one_account_option
@anyway_option
def flatten(reason: tuple[str, ...], yes: bool, foreign: bool, account: str, anyway: bool) -> None:
    """Halt, then close every position of ours at the market; others are left alone and named.

    It may be started again at any time: what was sent is found, and only what is left is closed. Exit code 1 tells
    that something is still open.
    """
    base = load_settings(lenient=True)
    first = base.model_copy(update={"account": account or only_remembered(base, "flatten")})
    announce(first)
    if not yes:
        whose = "EVERY position, also those opened by others," if foreign else "every position of this system"
        click.confirm(f"Close {whose} of account {first.account}{_on_venue(first, base)} at the market?", abort=True)
    with ends_within(base.command_deadline_s, "flatten"):
        with _halted_unless_refused(first, reason_text(reason, "flatten")), open_ledger(base) as database:
            settings = the_account(database, base, account, "flatten")
            require_living_books(settings, database, base, "flatten", anyway)
        report = _close_all(base, settings, reason, foreign=foreign)
    if report is None:
        sys.exit(1)
    named = "" if settings.account == base.account and not account else f" --account {settings.account}"
    echo(f"{report}; trading is HALTED, resume it with: trading-assets resume{named}")
    if report.left or report.unread:
        sys.exit(1)


def _on_venue(first: Settings, base: Settings) -> str:
    """Where the account is, as far as that is known without the ledger."""
    return f" on {base.venue.value}" if first.account == base.account else ""


@contextmanager
def _halted_unless_refused(settings: Settings, reason: str) -> Iterator[None]:
    """Halt by the file before the block; a ledger that hangs or fails in it delays no brake and lifts none.

    A refusal, because others are living books or there is no such account, leaves this home as it was.
    """
    from trading_assets.trading import halt_file  # noqa: PLC0415

    before = halt_file.found(settings)
    write_halt_file(settings, reason)
    try:
        yield
    except (WrongBooksError, UnknownAccountError):
        if before is None:
            halt_file.take_away(settings)
            echo(f"the file {halt_file.path_of(settings)} halts account {settings.account} no longer", err=True)
        raise
    except StorageError as error:
        raise StorageError(
            f"{error}. The file halts what has this home, but nothing was closed: look at the exchange, and start "
            "flatten again"
        ) from error


def _close_all(base: Settings, settings: Settings, reason: tuple[str, ...], *, foreign: bool) -> FlattenReport | None:
    """Halt, and close; where the exchange cannot be opened it halts all the same, says so, and there is no report."""
    from trading_assets.trading.context import ExecutionContext  # noqa: PLC0415
    from trading_assets.trading.execute.flatten import flatten as close_all  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    try:
        with open_ledger(base) as database:
            settings = with_keys(database, base, settings.account)
        exchange = open_exchange(settings)
    except TradingAssetsError as error:
        brake("HALTED", reason, settings.account)
        echo(f"nothing was closed, look at the exchange: {error}")
        return None
    try:
        with open_ledger(settings) as database, notifying(settings, lambda: database) as notifier:
            context = ExecutionContext(database=database, exchange=exchange, settings=settings, send=notifier.notify)
            return close_all(
                context,
                reason=reason_text(reason, "flatten"),
                actor=who(),
                foreign=foreign,
                within_s=PART_FOR_CLOSING * settings.command_deadline_s,
            )
    finally:
        exchange.close()


@click.command()
@click.argument("symbol")
@click.option("--yes", is_flag=True, help="Do not ask.")
@one_account_option
@anyway_option
def close(symbol: str, yes: bool, account: str, anyway: bool) -> None:
    """Close the position of ours in SYMBOL at the market; trading goes on.

    An entry that waits in SYMBOL is cancelled first.

    It may be started again at any time, as `flatten`. Exit code 1 tells that something is still open.
    """
    from trading_assets.trading.context import ExecutionContext  # noqa: PLC0415
    from trading_assets.trading.execute.flatten import close_symbol  # noqa: PLC0415
    from trading_assets.venues import open_exchange  # noqa: PLC0415 (imports the connector)

    base, symbol = load_settings(lenient=True), symbol.upper()
    with ends_within(base.command_deadline_s, "close"), open_ledger(base) as database:
        named = the_account(database, base, account, "close")
        announce(named)
        require_living_books(named, database, base, "close", anyway)
    if not yes:
        click.confirm(
            f"Cancel what waits in {symbol} and close its position at the market, account {named.account} on "
            f"{named.venue.value}?",
            abort=True,
        )
    with ends_within(base.command_deadline_s, "close"), open_ledger(base) as database:
        settings = with_keys(database, base, named.account)
        exchange = open_exchange(settings)
        try:
            with notifying(settings, lambda: database) as notifier:
                context = ExecutionContext(database, exchange, settings, send=notifier.notify)
                report = close_symbol(context, symbol, within_s=PART_FOR_CLOSING * base.command_deadline_s)
        finally:
            exchange.close()
    echo(str(report))
    if report.left or report.unread:
        sys.exit(1)
