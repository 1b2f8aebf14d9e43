"""Selections and trades as columns: a report of a year has millions of them. Nothing is simulated here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trading_assets.core.candles import BoolArray, FloatArray, IntArray
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.reporting.trades import (
    DELISTED,
    DROPPED,
    OPEN,
    STOP,
    TARGET,
    ForwardTrade,
    SelectedStrategy,
    whole_hours,
)

Places = npt.NDArray[np.int32]

REASONS = (OPEN, STOP, TARGET, "signal", "time", "roi", DROPPED, DELISTED)
"""Words of `TradeTable.reason`; the first are those of `core.exits.ExitReason` by their numbers."""

_TEXTS = ("symbol", "timeframe", "strategy", "parameters")


@dataclass(frozen=True)
class Selections:
    """Selections, arrays of shape (n,).

    Attributes:
        symbol, timeframe, strategy, parameters: places in `texts`, which are sorted, so places compare as texts do.
    """

    hour_ms: IntArray
    symbol: Places
    timeframe: Places
    strategy: Places
    parameters: Places
    max_price: FloatArray
    texts: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.hour_ms)

    @classmethod
    def from_columns(
        cls, hour_ms: IntArray, texts: Mapping[str, tuple[Places, Sequence[str]]], max_price: FloatArray
    ) -> Self:
        """Of places in texts in any order, by name of the column."""
        places, ordered = {}, {}
        for name, (found, known) in texts.items():
            order = sorted(range(len(known)), key=known.__getitem__)
            rank = np.empty(len(known), dtype=np.int32)
            rank[order] = np.arange(len(known), dtype=np.int32)
            places[name], ordered[name] = rank[found], tuple(known[at] for at in order)
        symbol, timeframe, strategy, parameters = (places[name] for name in _TEXTS)
        return cls(hour_ms, symbol, timeframe, strategy, parameters, max_price, ordered)

    @classmethod
    def from_rows(cls, rows: Iterable[SelectedStrategy]) -> Self:
        """In the order given."""
        given = list(rows)
        texts = {}
        for name in _TEXTS:
            known: dict[str, int] = {}
            found = [known.setdefault(getattr(row, name), len(known)) for row in given]
            texts[name] = np.array(found, dtype=np.int32), list(known)
        hours = np.array([row.hour_ms for row in given], dtype=np.int64)
        return cls.from_columns(hours, texts, np.array([row.max_price for row in given], dtype=np.float64))

    def take(self, places: IntArray | Places | BoolArray) -> Selections:
        """Some of them, in that order."""
        columns = {name: getattr(self, name)[places] for name in ("hour_ms", *_TEXTS, "max_price")}
        return replace(self, **columns)

    def row(self, place: int) -> SelectedStrategy:
        """One of them."""
        symbol, timeframe, strategy, parameters = (self.texts[name][getattr(self, name)[place]] for name in _TEXTS)
        return SelectedStrategy(
            int(self.hour_ms[place]), symbol, timeframe, strategy, parameters, float(self.max_price[place])
        )

    def rows(self, places: Iterable[int] | None = None) -> list[SelectedStrategy]:
        """All of them, or some."""
        return [self.row(place) for place in (range(len(self)) if places is None else places)]

    @cached_property
    def identity(self) -> IntArray:
        """Numbers of coin, timeframe and strategy together, shape (n,)."""
        timeframes, strategies = len(self.texts["timeframe"]), len(self.texts["strategy"])
        return (self.symbol.astype(np.int64) * timeframes + self.timeframe) * strategies + self.strategy

    def order(self) -> IntArray:
        """Places by coin and timeframe, those of each as `SelectedStrategy` compares."""
        return np.lexsort((self.max_price, self.parameters, self.strategy, self.hour_ms, self.timeframe, self.symbol))


@dataclass(frozen=True)
class Choices(Sequence[list[SelectedStrategy]]):
    """Several choices among the same selections.

    Attributes:
        selections: all that were chosen, each once.
        places: of each choice.
    """

    selections: Selections
    places: Sequence[Places]

    @classmethod
    def from_rows(cls, choices: Sequence[Sequence[SelectedStrategy]]) -> Self:
        """Of choices one by one."""
        known: dict[SelectedStrategy, int] = {}
        places = [np.array([known.setdefault(row, len(known)) for row in choice], dtype=np.int32) for choice in choices]
        return cls(Selections.from_rows(known), places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        """The selections of a choice, or of several."""
        if isinstance(number, slice):
            return [self.selections.rows(places) for places in self.places[number]]
        return self.selections.rows(self.places[number])


@dataclass(frozen=True)
class TradeTable:
    """Trades as columns, arrays of shape (k,): see `ForwardTrade`.

    Attributes:
        selection: place in `selections`.
        reason: place in `REASONS`.
        plan: by what its end was decided, a number of the forward test.
        filled_ms: empty where no entry waits.
        marks_at: place of the first mark in `prices`.
        exit_price, fees, slippage, funding: empty where they are not kept; the forward test finds them once more.
        prices: last closes at whole hours, those of each coin and timeframe one after the other.
    """

    selections: Selections
    selection: Places
    entry_ms: IntArray
    exit_ms: IntArray
    direction: npt.NDArray[np.int8]
    size: FloatArray
    entry_price: FloatArray
    entry_fee: FloatArray
    pnl: FloatArray
    reason: npt.NDArray[np.int8]
    confidence: FloatArray
    stop_fraction: FloatArray
    risk: FloatArray
    plan: Places
    marks_at: Places
    filled_ms: IntArray
    exit_price: FloatArray
    fees: FloatArray
    slippage: FloatArray
    funding: FloatArray
    prices: FloatArray

    def __len__(self) -> int:
        return len(self.selection)

    @property
    def r(self) -> FloatArray:
        """PnL in multiples of the risk, shape (k,)."""
        return self.pnl / self.risk

    @property
    def is_filled(self) -> BoolArray:
        """Whether each ever was a position, shape (k,)."""
        return np.asarray(self.reason != REASONS.index(DROPPED))

    @property
    def is_closed(self) -> BoolArray:
        """Whether each has ended, shape (k,)."""
        return np.asarray(self.reason != REASONS.index(OPEN))

    @property
    def marks(self) -> IntArray:
        """How many marks each has, shape (k,)."""
        first, last = -(-self.entry_ms // HOUR_MS), -(-self.exit_ms // HOUR_MS)
        last = np.where(self.is_closed, last, self.exit_ms // HOUR_MS + 1)
        return np.where(self.is_filled, np.maximum(last - first, 0), 0)

    def take(self, places: IntArray | Places | BoolArray | slice) -> TradeTable:
        """Some of them, in that order."""
        kept = {name: getattr(self, name) for name in COLUMNS}
        return replace(self, **{name: column[places] for name, column in kept.items() if len(column) == len(self)})

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> TradeTable:
        """The same trades with other columns."""
        given: dict[str, Any] = dict(columns)
        return replace(self, **given)

    def rows_of(self, selections: IntArray | Places) -> IntArray:
        """Rows of selections, in their order; those of a selection stand together."""
        begin = np.searchsorted(self.selection, selections, "left")
        return spread(begin, np.searchsorted(self.selection, selections, "right") - begin)

    def signals(self, rows: IntArray) -> IntArray:
        """Those of the rows that are signals of their own, in live's order, see `ledger.signals.active`.

        All of a moment have the same account and close. A bar on which two selections decide with the same strategy is
        one signal, that of the older. Of rows that are alike in all this the one given first comes first.
        """
        chosen = self.selections
        of, moment = self.selection[rows], self.entry_ms[rows]
        identity = _ranks(chosen)[chosen.identity[of]]
        order = np.lexsort((identity, -self.confidence[rows], chosen.hour_ms[of], moment))
        moment, identity = moment[order], identity[order]
        by = np.lexsort((identity, moment))
        again = np.zeros(len(order), dtype=bool)
        again[by[1:]] = (moment[by[1:]] == moment[by[:-1]]) & (identity[by[1:]] == identity[by[:-1]])
        return np.asarray(rows[order[~again]])

    def trade(self, place: int, marks: int, selection: SelectedStrategy) -> ForwardTrade:
        """One of them."""
        at = int(self.marks_at[place])
        return ForwardTrade(
            selection=selection,
            entry_ms=int(self.entry_ms[place]),
            exit_ms=int(self.exit_ms[place]),
            direction=int(self.direction[place]),
            size=float(self.size[place]),
            entry_price=float(self.entry_price[place]),
            exit_price=float(self.exit_price[place]),
            entry_fee=float(self.entry_fee[place]),
            fees=float(self.fees[place]),
            slippage=float(self.slippage[place]),
            funding=float(self.funding[place]),
            pnl=float(self.pnl[place]),
            reason=REASONS[self.reason[place]],
            confidence=float(self.confidence[place]),
            stop_fraction=float(self.stop_fraction[place]),
            risk=float(self.risk[place]),
            marks=self.prices[at : at + marks],
            first_mark_ms=int(self.entry_ms[place])
            if REASONS[self.reason[place]] == DROPPED
            else whole_hours(int(self.entry_ms[place]), 0).start,
            filled_ms=int(self.filled_ms[place]) if len(self.filled_ms) else 0,
        )

    def trades(self) -> list[ForwardTrade]:
        """All of them, one by one."""
        known: dict[int, SelectedStrategy] = {}
        found = []
        for place, (of, marks) in enumerate(zip(self.selection.tolist(), self.marks.tolist(), strict=True)):
            if of not in known:
                known[of] = self.selections.row(of)
            found.append(self.trade(place, marks, known[of]))
        return found


COLUMNS = tuple(one.name for one in fields(TradeTable) if one.name not in ("selections", "prices"))
DETAILS = ("exit_price", "fees", "slippage", "funding")

_KINDS = {
    **dict.fromkeys(("selection", "plan", "marks_at"), np.int32),
    **dict.fromkeys(("entry_ms", "exit_ms", "filled_ms"), np.int64),
    **dict.fromkeys(("direction", "reason"), np.int8),
}

NO_TRADES: Mapping[str, np.ndarray] = {name: np.empty(0, dtype=_KINDS.get(name, np.float64)) for name in COLUMNS}


def spread(begin: IntArray, counts: IntArray) -> IntArray:
    """So many numbers from each begin on, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - (ends - counts), counts)


def _ranks(chosen: Selections) -> Places:
    """By number of coin, timeframe and strategy together, how live sorts them."""
    texts = chosen.texts
    pairs = [
        f"{symbol}:{timeframe}:{strategy}"
        for symbol in texts["symbol"]
        for timeframe in texts["timeframe"]
        for strategy in texts["strategy"]
    ]
    ranks = np.empty(len(pairs), dtype=np.int32)
    ranks[sorted(range(len(pairs)), key=pairs.__getitem__)] = np.arange(len(pairs), dtype=np.int32)
    return ranks
