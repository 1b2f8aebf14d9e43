"""`portfolio` and `explain`: what the ledger holds, shown. Nothing is changed.

What they need is imported inside them, for the sake of `--help`.
"""

from __future__ import annotations

import json

import click

from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.console import echo, open_console
from trading_assets.cli.opening import open_ledger, warn_of_other_books
from trading_assets.core.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@account_option
def portfolio(as_json: bool, account: str) -> None:
    """Exposure, liquidation prices, drawdown and results of the account, as the books were read last."""
    from trading_assets.cli import portfolio as portfolio_report  # noqa: PLC0415
    from trading_assets.service.conditions import halt_line  # noqa: PLC0415 (as below)
    from trading_assets.trading import portfolio as accounts  # noqa: PLC0415 (pandas costs a second)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        if halt_line(settings):
            echo(halt_line(settings), err=True)
        warn_of_other_books(settings, database)
        found = accounts.portfolio(database, settings.account)
    if as_json:
        click.echo(json.dumps(portfolio_report.plain(found) if found is not None else None))
    elif found is None:
        echo("The books were never read: start the reconcile job, or wait for its sensor.")
    else:
        portfolio_report.print_portfolio(found, settings.account, open_console())


@click.command()
@click.argument("order")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead, with the rows behind each step.")
def explain(order: str, as_json: bool) -> None:
    """Follow ORDER back to its signal, selection, backtest, parameters and candles, and on to its result.

    ORDER is an order link id, the exchange's id of an order, or a signal id; a unique beginning is enough. Or the trace
    id of a line of the log.
    """
    from trading_assets.trading import explain as explaining  # noqa: PLC0415 (pandas costs a second)

    settings = load_settings()
    with open_ledger(settings) as database:
        found = explaining.explain(database, order, explaining.Links(settings.ui_url), settings.symbols.btc)
    if as_json:
        click.echo(json.dumps(explaining.plain(found)))
    else:
        explaining.print_explanation(found, open_console())
