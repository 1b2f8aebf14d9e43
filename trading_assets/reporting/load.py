"""What reports read: selections and backtests of a range in the ledger, and candles, fetched where missing.

No trades and no numbers here.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from trading_assets.backtesting.significance import seed_from
from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.core.errors import DataError, NothingYetError
from trading_assets.core.models import ContractStatus
from trading_assets.core.ports import MarketData, PastMarket
from trading_assets.core.schemas import BACKTEST_RESULTS, MARKET_SCAN, RULES_KNOWN, STRATEGY_SELECTIONS, Table
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms, iso
from trading_assets.ledger import deliveries
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import read_partitions
from trading_assets.ledger.selections import empty_hours
from trading_assets.ledger.tables import sql_table
from trading_assets.market.loading import CandleReader
from trading_assets.market.spans import Span
from trading_assets.market.store import CandleStore
from trading_assets.reporting.trade_table import Choices, Places, Selections
from trading_assets.reporting.trades import Ending, SelectedStrategy


class FillingReader:
    """Candles and funding of the store; what the store lacks is fetched first. See `loading.CandleReader`.

    A trade outlives the hours in which its coin is scanned, so the store need not hold its end.
    """

    def __init__(self, store: CandleStore, source: MarketData) -> None:
        self._store, self._source, self._now_ms = store, source, source.now_ms()
        self.stored: CandleReader = store
        self.btc = store.btc

    def read(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """See `CandleStore.read`."""
        self._store.fill(self._source, symbol, timeframe, start_ms, end_ms, now_ms=self._now_ms)
        return self._store.read(symbol, timeframe, start_ms, end_ms)

    def missing(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> list[Span]:
        """Spans of [start_ms, end_ms) that `read` would fetch."""
        closed_until = min(end_ms, floor_ms(self._now_ms, timeframe.ms))
        return self._store.missing(symbol, timeframe, start_ms, closed_until, now_ms=self._now_ms)

    def missing_funding(self, symbol: str, start_ms: int, end_ms: int) -> list[Span]:
        """Spans of [start_ms, end_ms) that `read_funding` would fetch."""
        until = min(end_ms, self._store.funding_known_until_ms(self._now_ms))
        return self._store.missing_funding(symbol, start_ms, until, now_ms=self._now_ms)

    def read_funding(self, symbol: str, start_ms: int, end_ms: int) -> Funding:
        """See `CandleStore.read_funding`."""
        self._store.fill_funding(self._source, symbol, start_ms, end_ms, now_ms=self._now_ms)
        return self._store.read_funding(symbol, start_ms, end_ms)


def selected_hours(database: Database, first_ms: int | None, last_ms: int | None, now_ms: int) -> list[int]:
    """Hours from `first_ms` to `last_ms` that have selections and whose following hour has ended, ascending.

    Raises:
        DataError: there is none.
        NothingYetError: there are selections, but no following hour has ended.
    """
    hour = sql_table(STRATEGY_SELECTIONS).c.hour_ms
    newest = now_ms - 2 * HOUR_MS
    since = hour >= (first_ms or 0)
    with database.read() as connection:
        found = connection.execute(
            sa.select(hour)
            .distinct()
            .where(since, hour <= (newest if last_ms is None else min(last_ms, newest)))
            .order_by(hour)
        ).scalars()
        hours = list(found)
        until = since if last_ms is None else since & (hour <= last_ms)
        young = None if hours else connection.execute(sa.select(sa.func.min(hour)).where(until)).scalar_one()
    if young is not None:
        raise NothingYetError(
            f"the hour after that of the first selection ends at {iso(young + 2 * HOUR_MS)}, and it is {iso(now_ms)}: "
            "there is no whole hour to follow yet, wait or take another range"
        )
    if not hours and (empty := empty_hours(database, first_ms, newest if last_ms is None else min(last_ms, newest))):
        raise DataError(
            f"{len(empty)} hours from {iso(empty[0])} to {iso(empty[-1])} were selected, and none chose a coin: there "
            "is nothing to follow; see failed_filters and left_out of strategy_selections, or take another range"
        )
    if not hours:
        raise DataError(
            f"no hour with selections between {_or(first_ms, 'the first')} and {_or(last_ms, 'the last')} whose "
            f"following hour has ended by {iso(now_ms)}: backfill strategy_selections first, or take another range"
        )
    return hours


def selected(database: Database, hours: Sequence[int]) -> list[SelectedStrategy]:
    """What was selected in these hours, ordered."""
    return list(_selection_rows(database, STRATEGY_SELECTIONS, hours))


def hours_of_known_rules(database: Database, hours: Sequence[int]) -> set[int]:
    """Those of the hours that were scanned by the venue's list of their own time: tick, lot and leverage are theirs."""
    scans = sql_table(MARKET_SCAN)
    known = sa.func.sum(sa.case((scans.c.contract_rules == RULES_KNOWN, 1), else_=0))
    statement = (
        sa.select(scans.c.hour_ms)
        .where(scans.c.hour_ms.between(min(hours), max(hours)))
        .group_by(scans.c.hour_ms)
        .having(known == sa.func.count())
    )
    with database.read() as connection:
        return set(connection.execute(statement).scalars()) & set(hours)


@dataclass(frozen=True)
class HeldMarket:
    """A store in place of its market, as far as `endings` asks: what is not held does not exist."""

    store: CandleStore
    until_ms: int

    def now_ms(self) -> int:
        """The end of what is looked at."""
        return self.until_ms

    def candles(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Candles:
        """See `CandleStore.read`."""
        return self.store.read(symbol, timeframe, start_ms, end_ms)


def endings(source: MarketData | HeldMarket, database: Database, venue: str) -> dict[str, Ending]:
    """Contracts that were delisted.

    A market of the past lists them. Others do not list what has ended: there the announcements that were kept count,
    where no hourly candle of the contract is later.
    """
    if isinstance(source, PastMarket):
        prices = source.delivery_prices()
        return {
            one.symbol: Ending(one.delivery_ms, prices.get(one.symbol))
            for one in source.instruments()
            if one.status is ContractStatus.CLOSED and one.delivery_ms is not None
        }
    now_ms = source.now_ms()
    found = {one.symbol: one.delivery_ms for one in deliveries.announced(database, venue) if one.delivery_ms <= now_ms}
    return {
        symbol: Ending(time_ms)
        for symbol, time_ms in found.items()
        if not len(source.candles(symbol, Timeframe.M60, floor_ms(time_ms, HOUR_MS) + HOUR_MS, now_ms))
    }


def drawn_at_random(database: Database, chosen: Sequence[SelectedStrategy], choices: int) -> Choices:
    """So many random choices: of each hour as many backtests as were chosen in it, at most one of a coin.

    Their results do not matter. A draw depends on its number, the hour and its backtests alone. An hour whose
    backtests are no longer kept gives nothing.
    """
    drawn = _Drawn(choices)
    counts = Counter(selection.hour_ms for selection in chosen)
    if choices:
        for rows in _backtest_rows(database, sorted(counts)):
            drawn.add(rows, counts)
    return drawn.choices()


class _Drawn:
    """Rows that choices have drawn so far, each once, as columns."""

    def __init__(self, choices: int) -> None:
        self._known: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
        self._texts: dict[str, list[Places]] = {name: [] for name in _TEXTS}
        self._hours, self._prices = list[IntArray](), list[FloatArray]()
        self._places: list[list[IntArray]] = [[] for _ in range(choices)]
        self._count = 0

    def add(self, rows: pd.DataFrame, counts: Mapping[int, int]) -> None:
        """Draw from the rows of some hours, ordered by hour, then as `SelectedStrategy` compares."""
        hours, symbols = rows["hour_ms"].to_numpy(dtype=np.int64), rows["symbol"].to_numpy()
        edges = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]
        picked: list[list[int]] = [[] for _ in self._places]
        for begin, end in pairwise(edges):
            if begin == end:
                continue
            hour, of_hour = int(hours[begin]), symbols[begin:end].tolist()
            for number, of_choice in enumerate(picked):
                seed = ("random choice", hour, number)
                of_choice += [begin + at for at in _draw(of_hour, counts[hour], seed)]
        used = np.unique(np.array([at for of_choice in picked for at in of_choice], dtype=np.int64))
        for of_choice, places in zip(picked, self._places, strict=True):
            places.append(self._count + np.searchsorted(used, of_choice))
        self._count += len(used)
        self._hours.append(hours[used])
        self._prices.append(rows["max_price"].to_numpy(dtype=np.float64)[used])
        for name, known in self._known.items():
            found, texts = pd.factorize(rows[name].to_numpy()[used])
            place = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int32)
            self._texts[name].append(place[found] if len(found) else found.astype(np.int32))

    def choices(self) -> Choices:
        """All that was drawn."""
        none, no_price = np.empty(0, dtype=np.int64), np.empty(0)
        texts = {
            name: (np.concatenate([none, *self._texts[name]]).astype(np.int32), list(known))
            for name, known in self._known.items()
        }
        prices = np.concatenate([no_price, *self._prices])
        selections = Selections.from_columns(np.concatenate([none, *self._hours]), texts, prices)
        return Choices(selections, [np.concatenate([none, *one]).astype(np.int32) for one in self._places])


def _draw(symbols: Sequence[str], count: int, seed: tuple[object, ...]) -> list[int]:
    """Places of so many rows, one of a coin."""
    order = np.random.default_rng(seed_from(seed)).permutation(len(symbols))
    of_symbol: dict[str, int] = {}
    for index in order.tolist():
        if len(of_symbol) == count:
            break
        of_symbol.setdefault(symbols[index], index)
    return list(of_symbol.values())


_HOURS_AT_ONCE = 24
_TEXTS = ("symbol", "timeframe", "strategy", "parameters")


def _backtest_rows(database: Database, hours: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Backtests of the hours of a day after another, with the fields of `SelectedStrategy` and ordered by them; those
    that failed are left out. In SQL, or sealed."""
    scan = sql_table(MARKET_SCAN)
    names = [name for name in SelectedStrategy._fields if name in BACKTEST_RESULTS.columns]
    for start in range(0, len(hours), _HOURS_AT_ONCE):
        some = list(hours[start : start + _HOURS_AT_ONCE])
        found = read_partitions(database, BACKTEST_RESULTS, some, columns=[*names, "error"])
        prices = sa.select(scan.c.hour_ms, scan.c.symbol, scan.c.max_price).where(scan.c.hour_ms.in_(some))
        with database.read() as connection:
            most = {(row.hour_ms, row.symbol): row.max_price for row in connection.execute(prices)}
        rows = found.loc[found["error"].isna(), names].astype(dict.fromkeys(_TEXTS, object))
        if rows.empty:
            continue
        keys = zip(rows["hour_ms"].tolist(), rows["symbol"].tolist(), strict=True)
        known = [most.get(key) for key in keys]
        rows = rows.assign(max_price=[math.inf if one is None else one for one in known])
        # Databases do not agree on the order of texts.
        places = {name: _in_order(rows[name]) for name in _TEXTS}
        order = np.lexsort((*(places[name] for name in reversed(_TEXTS)), rows["hour_ms"].to_numpy()))
        yield rows.iloc[order]


def _in_order(texts: pd.Series) -> np.ndarray:
    """Places among the texts that there are, sorted as Python sorts them."""
    found, known = pd.factorize(texts.to_numpy())
    ranks = np.empty(len(known), dtype=np.int64)
    ranks[sorted(range(len(known)), key=known.__getitem__)] = np.arange(len(known))
    return ranks[found]


def _selection_rows(database: Database, table: Table, hours: Sequence[int]) -> Iterable[SelectedStrategy]:
    """Rows of the hours, ordered by all columns."""
    sql, scan = sql_table(table), sql_table(MARKET_SCAN)
    columns = [sql.c[name] for name in SelectedStrategy._fields if name in sql.c]
    scanned = sql.outerjoin(scan, sa.and_(scan.c.hour_ms == sql.c.hour_ms, scan.c.symbol == sql.c.symbol))
    for start in range(0, len(hours), _HOURS_AT_ONCE):
        statement = sa.select(*columns, scan.c.max_price).select_from(scanned)
        statement = statement.where(sql.c.hour_ms.in_(list(hours[start : start + _HOURS_AT_ONCE])))
        with database.read() as connection:
            rows = connection.execute(statement).all()
        # Sorted here: databases do not agree on the order of texts.
        # The same few texts stand in a million places.
        yield from sorted(map(_selection_of_row, rows))


def _selection_of_row(row: Sequence[Any]) -> SelectedStrategy:
    hour, symbol, timeframe, strategy, parameters, max_price = row
    return SelectedStrategy(
        hour,
        sys.intern(symbol),
        sys.intern(timeframe),
        sys.intern(strategy),
        sys.intern(parameters),
        math.inf if max_price is None else max_price,
    )


def _or(time_ms: int | None, otherwise: str) -> str:
    return otherwise if time_ms is None else iso(as_of_ms(time_ms) - HOUR_MS)
