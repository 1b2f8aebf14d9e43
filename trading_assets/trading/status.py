"""`trading-assets status`: the account as the ledger knows it, printed. No decisions."""

from __future__ import annotations

import pandas as pd
from rich.console import Console
from rich.table import Table

from trading_assets.ledger import books, signals
from trading_assets.ledger.database import Database
from trading_assets.market.timeframes import DAY_MS, iso
from trading_assets.settings import Settings
from trading_assets.trading.portfolio import performance


def print_status(database: Database, settings: Settings, console: Console) -> None:
    """Equity, open positions, newest signals and results by strategy."""
    account = settings.account
    equity = books.equity_rows(database, account)
    if equity.empty:
        console.print("The books were never read: start the reconcile job, or wait for its sensor.")
        return
    newest = equity.iloc[-1]
    console.print(
        f"[bold]{settings.venue.value}[/], account {account}: equity ${newest['equity']:,.2f}, free "
        f"${newest['available']:,.2f}, as of {iso(int(newest['time_ms']))}",
        highlight=False,
    )
    positions = books.position_rows(database, account)
    columns = [
        "symbol",
        "side",
        "size",
        "entry_price",
        "mark_price",
        "unrealised_pnl",
        "stop_loss",
        "take_profit",
    ]
    console.print(as_table("Open positions", positions, columns))
    recent = signals.since(database, account, int(newest["time_ms"]) - DAY_MS).sort_values("created_at_ms")
    columns = ["created_at_ms", "symbol", "timeframe", "strategy", "position_type", "status", "reason"]
    console.print(as_table("Signals of the last 24 hours", recent.tail(20), columns))
    results = performance(database, account)
    console.print(as_table("Closed trades", results.by, ["strategy", "timeframe", "symbol", "closings", "wins", "pnl"]))
    console.print(f"{results.closings} closed, {results.wins} with a profit, PnL {results.pnl:+,.2f} USD")


def as_table(title: str, rows: pd.DataFrame, columns: list[str]) -> Table:
    """A printed table of some columns; `*_ms` as times."""
    table = Table(*(name.removesuffix("_ms") for name in columns), title=f"{title} ({len(rows)})", title_justify="left")
    for record in rows[columns].to_dict("records"):
        table.add_row(*(_cell(str(name), value) for name, value in record.items()))
    return table


def _cell(name: str, value: object) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if name.endswith("_ms") and isinstance(value, int | float):
        return iso(int(value))[5:16].replace("T", " ")
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.5g}"
    return str(value)
