"""`trading-assets status`: the account as the ledger knows it, printed. No decisions."""

from __future__ import annotations

import pandas as pd
from rich.console import Console

from trading_assets.cli.console import frame_table, line
from trading_assets.core.schemas import MARKET_SCAN
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import balance, checks, sealing, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import latest_hour_ms
from trading_assets.service.conditions import blocked_lines, channel_lines, no_coin_line, trouble_lines
from trading_assets.trading.portfolio import performance

POSITION_COLUMNS = {
    "symbol": "coin",
    "side": "side",
    "size": "quantity",
    "entry_price": "entry",
    "mark_price": "mark",
    "stop_loss": "stop",
    "take_profit": "target",
    "unrealised_pnl": "open PnL $",
}
"""Of `position_rows`, with their headings; the demo tells them likewise."""

_SIGNAL = {
    "created_at_ms": "found",
    "symbol": "coin",
    "timeframe": "timeframe",
    "strategy": "strategy",
    "position_type": "side",
    "status": "status",
    "reason": "why not",
}
_RESULT = {
    "strategy": "strategy",
    "timeframe": "timeframe",
    "symbol": "coin",
    "closings": "closed",
    "wins": "with a profit",
    "pnl": "PnL $",
    "funding": "funding paid $",
    "net": "net $",
}


_FUNDING_ALONE = {name: _RESULT[name] for name in ("strategy", "timeframe", "symbol", "funding")}


def print_blocked(database: Database, console: Console) -> None:
    """Blocked hours, a newest selection without a coin, excluded strategies; nothing where there is none of it."""
    for text in blocked_lines(database):
        console.print(line(text), style="red", highlight=False, soft_wrap=True, markup=False)
    empty = no_coin_line(database)
    if empty:
        console.print(line(empty), highlight=False, soft_wrap=True, markup=False)
    newest = latest_hour_ms(database, MARKET_SCAN)
    excluded = checks.excluded(database, [newest]) if newest is not None else {}
    rows = [
        {"strategy": strategy, "timeframe": timeframe, "why": why}
        for of_hour in excluded.values()
        for (timeframe, strategy), why in sorted(of_hour.items())
    ]
    if rows:
        console.print(frame_table("Excluded strategies", pd.DataFrame(rows), {name: name for name in rows[0]}))


def print_status(database: Database, settings: Settings, console: Console) -> None:
    """Equity, open positions, newest signals and results by strategy."""
    print_blocked(database, console)
    for text in [*trouble_lines(database, settings), *channel_lines(database, settings)]:
        console.print(line(text), style="red", highlight=False, soft_wrap=True, markup=False)
    results_kept = sealing.state(database, sealing.before_ms(database, settings.seal_results_after_days))
    if results_kept.files or results_kept.due_days:
        console.print(sealing.state_told(results_kept), highlight=False, soft_wrap=True)
    account = settings.account
    equity = balance.equity_rows(database, account)
    if equity.empty:
        console.print("The books were never read: start the reconcile job, or wait for its sensor.")
        return
    newest = equity.iloc[-1]
    console.print(
        line(
            (settings.venue.value, "bold"),
            f", account {account}: equity ${newest['equity']:,.2f}, free ${newest['available']:,.2f}, as of ",
            iso(int(newest["time_ms"])),
        )
    )
    positions = account_ledger.position_rows(database, account)
    console.print(frame_table("Open positions", positions, POSITION_COLUMNS))
    recent = signals.since(database, account, int(newest["time_ms"]) - DAY_MS).sort_values("created_at_ms")
    console.print(frame_table("Signals of the last 24 hours", recent.tail(20), _SIGNAL))
    results = performance(database, account)
    closed = results.by["closings"] > 0
    console.print(frame_table("Closed trades", results.by[closed], _RESULT))
    if not closed.all():
        title = "Funding of positions without a closed trade"
        console.print(frame_table(title, results.by[~closed], _FUNDING_ALONE))
    console.print(f"{results.closings} closed, {results.wins} with a profit, net {results.net:+,.2f} USD")
