"""The account as the ledger knows it: what the gates and a reader ask. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trading_assets.exchange.base import Exchange
from trading_assets.ledger import books, orders, risk, signals
from trading_assets.ledger.database import Database
from trading_assets.market.timeframes import DAY_MS
from trading_assets.strategies.registry import active_names
from trading_assets.trading.facts import Account
from trading_assets.trading.risk_limits import loss_counts_from_ms

CLOSINGS_BACK_MS = 7 * DAY_MS
"""So far back the protections may look."""


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
    states = risk.read_history(database, account)
    return Account(
        wallet=exchange.wallet(),
        positions=tuple(exchange.positions()),
        occupied=frozenset(intent.symbol for intent in orders.occupying(database, account)),
        realised_today=books.realised(database, account, loss_counts_from_ms(states, now_ms)),
        peak_equity=books.peak_equity(database, account),
        reconciled_ms=books.reconciled_until_ms(database, account),
        active_strategies=active_names(database),
        state=risk.in_force(states, now_ms),
        closings=tuple(books.closings_of_ours(database, account, now_ms - CLOSINGS_BACK_MS)),
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
