"""`trading-assets signals|trades|equity|logs`: rows of the ledger, the newest last. Parse, call one function, print."""

from __future__ import annotations

import json

import click
import pandas as pd

from trading_assets.cli.account_option import account_option, shown_account
from trading_assets.cli.console import frame_table, open_console
from trading_assets.cli.opening import open_ledger
from trading_assets.core.settings import load_settings

_limit = click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Newest rows.")
_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON list of rows instead.")
_STATUSES = ("active", "executing", "executed", "rejected", "expired", "failed")

_SIGNAL = {
    "created_at_ms": "found",
    "symbol": "coin",
    "timeframe": "timeframe",
    "strategy": "strategy",
    "position_type": "side",
    "confidence": "confidence %",
    "entry_price": "entry",
    "stop_loss": "stop",
    "take_profit": "target",
    "status": "status",
    "reason": "why not",
}
_TRADE = {
    "closed_ms": "closed",
    "symbol": "coin",
    "position_side": "side",
    "qty": "quantity",
    "entry_price": "entry",
    "exit_price": "exit",
    "reason": "by",
    "fees": "fees $",
    "pnl": "PnL $",
    "signal_id": "signal",
}
_EQUITY = {
    "time_ms": "time",
    "equity": "equity $",
    "wallet_balance": "wallet $",
    "available": "free $",
    "unrealised_pnl": "open PnL $",
}
_LOG = {"wall_ms": "time", "source": "source", "who": "who", "text": "what"}


@click.command("signals")
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="May be given several times.")
@click.option("--min-confidence", default=0.0, show_default=True, type=click.FloatRange(0, 100), help="Percent.")
@_limit
@_json
@account_option
def show_signals(statuses: tuple[str, ...], min_confidence: float, limit: int, as_json: bool, account: str) -> None:
    """The newest signals, and what became of each."""
    from trading_assets.ledger import signals  # noqa: PLC0415 (pandas costs a second)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        rows = signals.newest(database, settings.account, limit, statuses=statuses, min_confidence=min_confidence)
    _show("Signals", rows, _SIGNAL, as_json)


@click.command("trades")
@click.option("--symbol", help="Only this one.")
@_limit
@_json
@account_option
def show_trades(symbol: str | None, limit: int, as_json: bool, account: str) -> None:
    """The newest closed trades, net of fees."""
    from trading_assets.ledger import executions  # noqa: PLC0415 (as above)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        rows = executions.closing_rows(database, settings.account)
    rows = rows if symbol is None else rows[rows["symbol"] == symbol.upper()]
    _show("Closed trades", rows.tail(limit), _TRADE, as_json)


@click.command("equity")
@_limit
@_json
@account_option
def show_equity(limit: int, as_json: bool, account: str) -> None:
    """The newest readings of the account's equity."""
    from trading_assets.ledger import balance  # noqa: PLC0415 (as above)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        rows = balance.equity_rows(database, settings.account)
    _show("Equity", rows.tail(limit), _EQUITY, as_json)


@click.command("logs")
@click.option("--trace", metavar="ID", help="Only the way of one order: a trace id, or an id that explain takes.")
@_limit
@_json
@account_option
def show_logs(trace: str | None, limit: int, as_json: bool, account: str) -> None:
    """The account's journal: messages, commands by chat, and changes of the risk guard's state, in one list.

    With --trace the signal, states, fills and closings of one order, of whatever account.
    """
    from trading_assets.service import journal  # noqa: PLC0415 (as above)

    base = load_settings(lenient=True)
    with open_ledger(base) as database:
        settings = shown_account(database, base, account)
        found = (
            journal.newest(database, settings.account, limit) if trace is None else journal.of_order(database, trace)
        )
    rows = pd.DataFrame([vars(one) for one in found[-limit:]], columns=list(_LOG))
    _show("Journal", rows, _LOG, as_json)


COMMANDS = (show_signals, show_trades, show_equity, show_logs)


def _show(title: str, rows: pd.DataFrame, headings: dict[str, str], as_json: bool) -> None:
    if as_json:
        shown = rows[[name for name in headings if name in rows]]
        click.echo(json.dumps(json.loads(shown.to_json(orient="records", double_precision=12))))
        return
    open_console().print(frame_table(title, rows, headings))
