"""Which rows of research stay in SQL whatever their age: those that were selected, or that a signal came from."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.core.schemas import BACKTEST_RESULTS, STRATEGY_SELECTIONS
from trading_assets.ledger.tables import entry_signals, sql_table

_HAS_ORDER = entry_signals.c.order_link_id.is_not(None)


def hours_ordered() -> sa.Select[tuple[int]]:
    """Hours of whose selections an order came."""
    return sa.select(entry_signals.c.hour_ms).where(_HAS_ORDER)


def without_order(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether no order came from a coin's rows of an hour."""
    ordered = sa.select(entry_signals.c.hour_ms, entry_signals.c.symbol).where(_HAS_ORDER)
    return sa.tuple_(table.c.hour_ms, table.c.symbol).not_in(ordered)


def backtest_may_go() -> sa.ColumnElement[bool]:
    """Whether a row of `backtest_results` was not selected, no signal was decided on it, and no order came from its
    coin in its hour."""
    table, selections = sql_table(BACKTEST_RESULTS), sql_table(STRATEGY_SELECTIONS)

    def same(other: sa.Table, *names: str) -> sa.ColumnElement[bool]:
        return sa.exists().where(*(other.c[name] == table.c[name] for name in names))

    decided = sa.select(
        entry_signals.c.hour_ms, entry_signals.c.symbol, entry_signals.c.timeframe, entry_signals.c.strategy
    )
    return sa.and_(
        without_order(table),
        ~same(selections, "hour_ms", "symbol", "timeframe", "strategy", "parameters"),
        sa.tuple_(table.c.hour_ms, table.c.symbol, table.c.timeframe, table.c.strategy).not_in(decided),
    )
