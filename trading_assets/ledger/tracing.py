"""Everything the ledger has about one signal: order, fills, closings, and the rows it came from. Reads only."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from trading_assets.core.errors import DataError, StrategyError
from trading_assets.core.models import FillKind
from trading_assets.core.schemas import BACKTEST_RESULTS, CANDLE_COVERAGE, MARKET_SCAN, STRATEGY_SELECTIONS
from trading_assets.core.timeframes import Timeframe
from trading_assets.core.trace import trace_id_of
from trading_assets.ledger import checks
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import (
    closings,
    entry_signals,
    exit_decisions,
    fills,
    order_events,
    order_intents,
    partition_writes,
    sql_table,
)
from trading_assets.market.loading import stored_candles
from trading_assets.strategies.registry import make_strategy

Row = dict[str, Any]

_SHOWN = 5

_TRACE_ID = re.compile("[0-9a-f]{32}")

_IDENTITIES = (
    (entry_signals.c.signal_id, entry_signals.c.signal_id),
    (order_intents.c.order_link_id, order_intents.c.signal_id),
    (order_intents.c.order_id, order_intents.c.signal_id),
    (closings.c.order_id, closings.c.signal_id),
)
"""Columns by which a decision may be named, and its signal's id beside each."""


@dataclass(frozen=True)
class Outcome:
    """What became of a signal: rows of the ledger, ascending in time.

    Attributes:
        order: row of `order_intents`; None where no order was ever to be sent.
        exits: executions of the orders that closed the position.
    """

    signal: Row
    order: Row | None
    events: Sequence[Row]
    entries: Sequence[Row]
    exits: Sequence[Row]
    closings: Sequence[Row]
    funding: Sequence[Row]
    decided: Sequence[Row] = ()
    """what the exit plan of its position said"""

    @property
    def pnl(self) -> Decimal:
        """Of the closings, net of fees, USD."""
        return sum((row["pnl"] for row in self.closings), Decimal(0))

    @property
    def funding_paid(self) -> Decimal:
        """USD; below zero it was received."""
        return sum((row["fee"] for row in self.funding), Decimal(0))


@dataclass(frozen=True)
class Origin:
    """What a signal came from: rows of its hour, None where there are none (any more).

    Attributes:
        selection: the coin's.
        backtest: that of the signal's strategy and timeframe, with its parameters if there is such a row.
        scan: the coin's.
        candles: rows of `candle_coverage` by (timeframe, symbol).
        writes: who wrote the partitions, by asset.
        verdicts: of the blocking checks on them.
    """

    selection: Row | None
    backtest: Row | None
    scan: Row | None
    candles: dict[tuple[str, str], Row]
    writes: dict[str, Row]
    verdicts: Sequence[Row]


def find_signal(database: Database, text: str) -> str:
    """Return the signal of an order link id, an exchange's order id or a signal id. A unique beginning is enough.

    Raises:
        DataError: none, or several, begin so; the message names some.
    """
    if not text:
        raise DataError("expected an order link id, an order id or a signal id, found nothing")
    with database.read() as connection:
        for exact in (True, False):
            found: dict[str, str] = {}
            for column, signal in _IDENTITIES:
                matches = column == text if exact else column.startswith(text, autoescape=True)
                statement = sa.select(column, signal).where(matches, signal.is_not(None)).distinct().limit(_SHOWN + 1)
                found |= {str(row[0]): str(row[1]) for row in connection.execute(statement)}
            if len(set(found.values())) > 1:
                raise DataError(f"{text!r} begins several: {', '.join(sorted(found)[:_SHOWN])}; give more of it")
            if found:
                return next(iter(found.values()))
        if _TRACE_ID.fullmatch(text):
            identities = connection.execute(sa.select(entry_signals.c.signal_id)).scalars()
            traced = next((one for one in identities if trace_id_of(one) == text), None)
            if traced is not None:
                return traced
    raise DataError(f"the ledger has no order and no signal whose id begins with {text!r}: see trading-assets status")


def outcome(connection: sa.Connection, signal_id: str) -> Outcome:
    """Return what became of a signal that the ledger has."""
    signal = dict(
        connection.execute(sa.select(entry_signals).where(entry_signals.c.signal_id == signal_id)).mappings().one()
    )
    same_signal = order_intents.c.signal_id == signal_id
    order = connection.execute(sa.select(order_intents).where(same_signal)).mappings().one_or_none()
    if order is None:
        return Outcome(signal, None, (), (), (), (), ())
    link, account, symbol = order["order_link_id"], order["account"], order["symbol"]
    events = _rows(connection, order_events, order_events.c.order_link_id == link, order_events.c.event_id)
    closed = _rows(connection, closings, closings.c.signal_id == signal_id, closings.c.closed_ms)
    entries = _rows(connection, fills, (fills.c.order_link_id == link) & (fills.c.account == account), fills.c.time_ms)
    exits = fills.c.order_id.in_([row["order_id"] for row in closed]) & (fills.c.account == account)
    funded = (
        (fills.c.account == account)
        & (fills.c.symbol == symbol)
        & (fills.c.kind == FillKind.FUNDING.value)
        & (fills.c.time_ms >= order["created_ms"])
    )
    if order["open_slot"] is None:
        funded &= fills.c.time_ms <= max((row["closed_ms"] for row in closed), default=order["created_ms"])
    return Outcome(
        signal,
        dict(order),
        events,
        entries,
        _rows(connection, fills, exits, fills.c.time_ms),
        closed,
        _rows(connection, fills, funded, fills.c.time_ms),
        _rows(connection, exit_decisions, exit_decisions.c.order_link_id == link, exit_decisions.c.time_ms),
    )


def candles_read(signal: Mapping[str, Any], btc: str) -> list[tuple[str, str]]:
    """Return the stored candles that a signal's strategy reads, as (timeframe, symbol); its own where it is gone.

    Args:
        btc: the venue's symbol of the BTC perpetual.
    """
    symbol, timeframe = str(signal["symbol"]), Timeframe(signal["timeframe"])
    try:
        needs = make_strategy(str(signal["strategy"]), str(signal["parameters"])).needs()
    except StrategyError:
        return [(timeframe.value, symbol)]
    return stored_candles(symbol, timeframe, needs, btc)


def origin(connection: sa.Connection, signal: Row, candles: Collection[tuple[str, str]]) -> Origin:
    """Return what a signal came from, these candles among it, as the ledger has it now."""
    return origins(connection, [(signal, candles)])[0]


def origins(
    connection: sa.Connection, signals: Sequence[tuple[Mapping[str, Any], Collection[tuple[str, str]]]]
) -> list[Origin]:
    """Return what each of some signals came from; those of an hour are read together."""
    found: dict[int, Origin] = {}
    hours: dict[int, list[int]] = {}
    for number, (signal, _) in enumerate(signals):
        hours.setdefault(int(signal["hour_ms"]), []).append(number)
    for hour_ms, numbers in hours.items():
        found |= zip(numbers, _origins(connection, hour_ms, [signals[number] for number in numbers]), strict=True)
    return [found[number] for number in range(len(signals))]


def _origins(
    connection: sa.Connection,
    hour_ms: int,
    signals: Sequence[tuple[Mapping[str, Any], Collection[tuple[str, str]]]],
) -> Iterator[Origin]:
    scans, selections, backtests, coverage = map(
        sql_table, (MARKET_SCAN, STRATEGY_SELECTIONS, BACKTEST_RESULTS, CANDLE_COVERAGE)
    )

    def rows(table: sa.Table, symbols: Collection[str], *same: str) -> dict[tuple[str, ...], list[Row]]:
        where = [table.c.hour_ms == hour_ms, table.c.symbol.in_(sorted(symbols))]
        where += [table.c[name].in_(sorted({str(signal[name]) for signal, _ in signals})) for name in same]
        held: dict[tuple[str, ...], list[Row]] = {}
        for row in connection.execute(sa.select(table).where(*where)).mappings():
            held.setdefault((row["symbol"], *(row[name] for name in same)), []).append(dict(row))
        return held

    coins = {str(signal["symbol"]) for signal, _ in signals}
    decisive = ("timeframe", "strategy")
    selected, scanned, tested = rows(selections, coins), rows(scans, coins), rows(backtests, coins, *decisive)
    covered = rows(coverage, {whose for _, candles in signals for _, whose in candles})
    coverage_of = {(row["timeframe"], row["symbol"]): row for some in covered.values() for row in some}
    assets = [assets_of(signal, candles) for signal, candles in signals]
    every = {asset for some in assets for asset in some}
    writes, verdicts = _writes(connection, hour_ms, every), checks.by_asset(connection, hour_ms, every)
    for (signal, candles), its in zip(signals, assets, strict=True):
        coin = str(signal["symbol"])

        def one(held: Sequence[Row], signal: Mapping[str, Any] = signal) -> Row | None:
            # An hour that was written again may have chosen other parameters.
            exact = [row for row in held if "parameters" in row and row["parameters"] == signal["parameters"]]
            return (exact or held)[0] if held else None

        yield Origin(
            one(selected.get((coin,), ())),
            one(tested.get((coin, *(signal[name] for name in decisive)), ())),
            one(scanned.get((coin,), ())),
            {key: coverage_of[key] for key in candles if key in coverage_of},
            {asset: writes[asset] for asset in its if asset in writes},
            [row for row in verdicts if row["asset"] in its],
        )


def assets_of(signal: Mapping[str, Any], candles: Collection[tuple[str, str]]) -> list[str]:
    """Return the assets whose partitions a signal came from, by key."""
    read = {f"candles/{timeframe}" for timeframe, _ in candles}
    return sorted({"market_scan", "strategy_selections", f"backtest_results/{signal['timeframe']}", *read})


def writes_of(connection: sa.Connection, hours_ms: Sequence[int], asset: str) -> dict[int, str]:
    """Return the run that wrote an asset's partition of each hour, by hour; hours without one are absent."""
    table = partition_writes
    statement = sa.select(table.c.hour_ms, table.c.run_id).where(
        table.c.asset == asset, table.c.hour_ms.between(min(hours_ms), max(hours_ms))
    )
    return {hour: run_id for hour, run_id in connection.execute(statement) if run_id}


def _writes(connection: sa.Connection, hour_ms: int, assets: Collection[str]) -> dict[str, Row]:
    """Return who wrote these assets' partitions of an hour, by asset."""
    table = partition_writes
    statement = sa.select(table).where(table.c.hour_ms == hour_ms, table.c.asset.in_(sorted(assets)))
    return {str(row["asset"]): dict(row) for row in connection.execute(statement).mappings()}


def _rows(
    connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], order: sa.Column[Any]
) -> list[Row]:
    return [dict(row) for row in connection.execute(sa.select(table).where(where).order_by(order)).mappings()]
