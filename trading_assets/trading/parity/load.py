"""What parity needs of the ledger and of the candle store. No judging here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from trading_assets.core.candles import Candles
from trading_assets.core.models import CloseReason
from trading_assets.core.ports import MarketData
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import DAY_MS, Timeframe
from trading_assets.ledger import evaluations, evidence, exit_decisions, signals, tracing
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.ledger.selections import empty_hours
from trading_assets.ledger.tables import closings, entry_signals, order_intents
from trading_assets.ledger.tracing import Origin
from trading_assets.market.loading import load_since
from trading_assets.market.store import CandleStore
from trading_assets.strategies.base import Strategy
from trading_assets.trading.parity.compare import LiveTrade
from trading_assets.trading.parity.day import LiveDay, hours_followed
from trading_assets.trading.parity.replay import OPEN

SELECTIONS = "strategy_selections"

LONGEST_HELD_MS = 7 * DAY_MS
"""A position that was opened longer before the day is no longer followed."""


def read_live_day(database: Database, settings: Settings, day_ms: int) -> LiveDay:
    """What live did on the day that starts at `day_ms` (UTC ms), as of its end."""
    account, end_ms = settings.account, day_ms + DAY_MS
    near = _signals(database, account, day_ms - LONGEST_HELD_MS, end_ms)
    trades = _trades(database, account, near[near["status"] == signals.EXECUTED]["signal_id"].tolist(), end_ms)
    ended = {signal for signal, trade in trades.items() if trade.exit_ms is not None and trade.exit_ms < day_ms}
    held = near["signal_id"].isin(trades) & ~near["signal_id"].isin(ended)
    is_of_day = near["signal_timestamp_ms"] >= day_ms
    with database.read() as connection:
        kept = {
            name: one.origin
            for name in near[is_of_day | held]["signal_id"]
            if (one := evidence.read(connection, name)) is not None
        }
    of_day = set(near[is_of_day]["signal_id"])
    selections, reselected = _followed(database, day_ms, [origin for name, origin in kept.items() if name in of_day])
    return LiveDay(
        selections=selections,
        reselected=reselected,
        evaluations=evaluations.between(database, account, day_ms, end_ms + settings.signal_ttl_s * 1000),
        signals=near[is_of_day | held],
        trades=trades,
        followed={name: origin.selection for name, origin in kept.items() if origin.selection is not None},
        empty_hours=empty_hours(database, hours_followed(day_ms)[0], end_ms),
    )


def decided_loader(
    source: MarketData, store: CandleStore, day_ms: int
) -> Callable[[str, Timeframe, Strategy, int], StrategyData]:
    """Loads what a strategy saw, from the store's closed candles; what the store lacks is fetched once."""
    end_ms = day_ms + DAY_MS

    def load(symbol: str, timeframe: Timeframe, strategy: Strategy, first_close_ms: int) -> StrategyData:
        return load_since(source, store, symbol, timeframe, strategy.needs(), first_close_ms, end_ms)

    return load


def held_loader(source: MarketData, store: CandleStore, day_ms: int) -> Callable[[str, Timeframe, int], Candles]:
    """Loads the candles of a position's life, from its entry's bar to the end of the day."""
    end_ms = day_ms + DAY_MS

    def load(symbol: str, timeframe: Timeframe, close_ms: int) -> Candles:
        start_ms = close_ms - timeframe.ms
        store.fill(source, symbol, timeframe, start_ms, end_ms, now_ms=source.now_ms())
        return store.read(symbol, timeframe, start_ms, end_ms).closed_by(end_ms)

    return load


def _followed(
    database: Database, day_ms: int, kept: Sequence[Origin]
) -> tuple[pd.DataFrame, dict[int, frozenset[str]]]:
    """The selections of a day's hours: of a coin with a signal as the signal's snapshot has it, of others as today.

    Returns:
        The rows, and the hours that were selected again since, each with the coins whose selection is known all the
        same.
    """
    hours = hours_followed(day_ms)
    today = read_partitions(database, STRATEGY_SELECTIONS, hours)
    with database.read() as connection:
        writes = tracing.writes_of(connection, hours, SELECTIONS)
    kept = [one for one in kept if one.selection is not None and int(one.selection["hour_ms"]) in hours]
    rows = pd.DataFrame([one.selection for one in kept], columns=today.columns)
    decisive = ["hour_ms", "symbol", "timeframe", "strategy", "parameters"]
    followed = rows.drop_duplicates(decisive)
    now = set(today[decisive].itertuples(index=False, name=None))
    again: dict[int, set[str]] = {}
    for origin, row in zip(kept, rows[decisive].itertuples(index=False, name=None), strict=True):
        wrote, writes_now = origin.writes.get(SELECTIONS, {}).get("run_id"), writes.get(int(row[0]))
        if row not in now or (wrote is not None and writes_now is not None and wrote != writes_now):
            again.setdefault(int(row[0]), set())
    known = followed.groupby(["hour_ms", "symbol"]).size()
    for hour, symbol in known[known == 1].index:
        if int(hour) in again:
            again[int(hour)].add(str(symbol))
    coins = pd.MultiIndex.from_frame(followed[["hour_ms", "symbol"]])
    others = today[~pd.MultiIndex.from_frame(today[["hour_ms", "symbol"]]).isin(coins)]
    both = pd.concat([part for part in (others, followed) if len(part)], ignore_index=True) if kept else today
    return both, {hour: frozenset(coins) for hour, coins in again.items()}


def _signals(database: Database, account: str, start_ms: int, end_ms: int) -> pd.DataFrame:
    """Signals whose bar closed in [start_ms, end_ms)."""
    statement = sa.select(entry_signals.c.signal_id).where(
        entry_signals.c.account == account,
        entry_signals.c.signal_timestamp_ms >= start_ms,
        entry_signals.c.signal_timestamp_ms < end_ms,
    )
    with database.read() as connection:
        found = list(connection.execute(statement).scalars())
    return signals.by_ids(database, found)


def _trades(database: Database, account: str, signal_ids: list[str], end_ms: int) -> dict[str, LiveTrade]:
    columns = (order_intents.c[name] for name in ("signal_id", "order_link_id", "average_price", "filled_qty"))
    orders = sa.select(*columns).where(order_intents.c.account == account, order_intents.c.signal_id.in_(signal_ids))
    ends = (
        sa.select(*(closings.c[name] for name in ("signal_id", "order_id", "qty", "exit_price", "reason", "closed_ms")))
        .where(closings.c.account == account, closings.c.signal_id.in_(signal_ids), closings.c.closed_ms < end_ms)
        .order_by(closings.c.closed_ms)
    )
    with database.read() as connection:
        filled, links = {}, {}
        for signal, link, price, qty in connection.execute(orders):
            filled[signal], links[link] = (price, qty), signal
        decided = {
            links[link]: [one for one in made if one.time_ms < end_ms]
            for link, made in exit_decisions.of_intents(connection, links).items()
        }
        closed: dict[str, list[Any]] = {}
        for row in connection.execute(ends):
            closed.setdefault(row.signal_id, []).append(row)
    return {
        signal: replace(_trade(filled.get(signal), closed.get(signal, [])), decided=decided.get(signal, ()))
        for signal in signal_ids
    }


def _trade(
    order: tuple[Decimal | None, Decimal | None] | None,
    ends: list[Any],
) -> LiveTrade:
    price, qty = order if order is not None else (None, None)
    entry_price = float(price) if price is not None else None
    out = sum((row.qty for row in ends), Decimal(0))
    if not ends or (qty is not None and out < qty):
        return LiveTrade(order is not None, entry_price, OPEN, None, None)
    exit_price = float(sum((row.qty * row.exit_price for row in ends), Decimal(0)) / out)
    parts = len({row.order_id for row in ends if row.reason == CloseReason.PART})
    return LiveTrade(order is not None, entry_price, ends[-1].reason, exit_price, ends[-1].closed_ms, parts=parts)
