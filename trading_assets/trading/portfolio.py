"""The account as the ledger knows it: what the gates and a reader ask. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pandas as pd

from trading_assets.exchange.base import Exchange
from trading_assets.ledger import books, orders, signals
from trading_assets.ledger.database import Database
from trading_assets.market.timeframes import DAY_MS, floor_ms
from trading_assets.trading.gates import Account


@dataclass(frozen=True)
class Performance:
    """Closed trades, USD; `by` has one row per strategy, timeframe and symbol."""

    closings: int
    wins: int
    pnl: float
    by: pd.DataFrame


def account_snapshot(database: Database, exchange: Exchange, account: str, now_ms: int) -> Account:
    """The account at this moment, from the exchange and the ledger.

    Raises:
        ExchangeError: it cannot be read; then nothing may be opened.
    """
    today = books.closing_rows(database, account, floor_ms(now_ms, DAY_MS))
    equity = books.equity_rows(database, account)
    return Account(
        wallet=exchange.wallet(),
        positions=tuple(exchange.positions()),
        occupied=frozenset(intent.symbol for intent in orders.occupying(database, account)),
        realised_today=Decimal(str(float(today["pnl"].sum()))),
        peak_equity=Decimal(str(float(equity["equity"].max()))) if len(equity) else Decimal(0),
    )


def performance(database: Database, account: str, since_ms: int = 0) -> Performance:
    """Results of closed trades, joined with the signals that opened them."""
    closed = books.closing_rows(database, account, since_ms)
    known = signals.by_ids(database, closed["signal_id"].dropna().astype(str).tolist())
    joined = closed.merge(known[["signal_id", "strategy", "timeframe"]], on="signal_id", how="left")
    joined[["strategy", "timeframe"]] = joined[["strategy", "timeframe"]].fillna("unknown")
    by = (
        joined.groupby(["strategy", "timeframe", "symbol"])["pnl"]
        .agg(closings="count", wins=lambda pnl: int((pnl > 0).sum()), pnl="sum")
        .reset_index()
    )
    return Performance(len(closed), int((closed["pnl"] > 0).sum()), float(closed["pnl"].sum()), by)
