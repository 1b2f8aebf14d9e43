"""Coins with the same bars, side by side: one call of numpy or of the compiled loops then serves all of them.

Nothing is computed here but what the loops read of a window. Coins are put together only where every time is equal:
their own bars, those of other timeframes, those of BTCUSDT (and their closes), and funding. A coin with a gap or a
young listing has a panel of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trading_assets.backtesting.metrics import split_bar
from trading_assets.core.candles import Candles, FloatArray, Funding, IntArray
from trading_assets.core.errors import StrategyError
from trading_assets.core.strategy_data import UNDECLARED_FUNDING, DataNeeds, StrategyData
from trading_assets.core.timeframes import Timeframe, floor_ms

MAX_BARS = 65_536
"""A panel has no more bars of all its coins together: larger ones gain nothing, and their arrays leave the caches."""

_COLUMNS = frozenset(field.name for field in fields(Candles)) - {"timeframe", "start_ms"}


@dataclass(frozen=True)
class Window:
    """The bars of a symbol's data that count: the last ones.

    `first` is the first of them in the data, `split` the first of them that is out of sample.
    """

    candles: Candles
    funding: Funding
    first: int
    split: int

    @classmethod
    def from_data(cls, data: StrategyData, start_ms: int, out_of_sample_pct: float = 0.0) -> Window:
        """The bars of `data` that start at `start_ms` or later, the newest percent of them out of sample."""
        first = int(np.searchsorted(data.candles.start_ms, start_ms))
        candles = data.candles.select(slice(first, None))
        return cls(candles, data.funding, first, split_bar(len(candles), out_of_sample_pct))


@dataclass(frozen=True)
class Prices:
    """What the compiled loops read of a window besides decisions: shapes (coins, bars of the data), see `kernel.loops`.

    Attributes:
        paid: see `loops.fill_funding`.
        payments_by: the same, of the bars from `first` on.
    """

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    paid: FloatArray
    payments_by: npt.NDArray[np.int32]
    first: int

    @classmethod
    def from_candles(cls, candles: Candles, funding: Funding, first: int = 0) -> Prices:
        """Of one coin or a panel; the bars from `first` on count."""
        from trading_assets.backtesting.kernel import loops  # noqa: PLC0415 (numba: a second)

        open_, high, low, close = map(as_rows, (candles.open, candles.high, candles.low, candles.close))
        paid = np.empty((len(close), len(funding) + 1))
        payments_by = np.empty((2, len(candles)), dtype=np.int32)
        # Sums begin with the data, not with the window: they are the same for all windows of a day.
        loops.fill_funding(
            close,
            0,
            np.ascontiguousarray(candles.start_ms, dtype=np.int64),
            candles.timeframe.ms,
            np.ascontiguousarray(funding.time_ms, dtype=np.int64),
            as_rows(funding.rate),
            paid,
            payments_by,
        )
        return cls(open_, high, low, close, paid, np.ascontiguousarray(payments_by[:, first:]), first)


def as_rows(values: FloatArray) -> FloatArray:
    """An array as compiled code takes it: of shape (coins, n), one coin is one row; never written to."""
    rows = np.ascontiguousarray(np.atleast_2d(values), dtype=np.float64).view()
    rows.flags.writeable = False
    return rows


@dataclass(frozen=True)
class OwnBars:
    """Candles and payments of one coin or a panel; what the compiled loops read of them is made when asked for."""

    candles: Candles
    funding: Funding
    first: int

    @cached_property
    def prices(self) -> Prices:
        """Those from the bar `first` on count."""
        return Prices.from_candles(self.candles, self.funding, self.first)


class Rows:
    """Where the rows of arrays lie, see `rows.row_at`: valid as long as this object, which holds them.

    Raises:
        ValueError: an array has other than one row or `shape[0]`, or rows of other than `shape[1]` bars.
    """

    def __init__(self, arrays: Sequence[FloatArray], shape: tuple[int, int]) -> None:
        self._held = [as_rows(array) for array in arrays]
        found = {rows.shape for rows in self._held}
        if not found <= {shape, (1, shape[1])}:
            raise ValueError(f"arrays of the shapes {sorted(found)}: expected {shape}, or one row for all coins")
        addresses = [rows.__array_interface__["data"][0] for rows in self._held]
        steps = [rows.strides[0] * (len(rows) > 1) for rows in self._held]
        self.places = np.array(addresses, dtype=np.int64), np.array(steps, dtype=np.int64)


COIN, BEGIN, END, SPLIT, KNOWN, SAME = range(6)
"""Columns of `Panel.windows`."""


@dataclass(frozen=True)
class HourWindow:
    """The window of a coin that ends at an hour's as-of.

    Attributes:
        coin: its place among the members.
        start_ms, end_ms: the first bar starts at the one or later; no bar ends, and no payment counts, after the other.
        max_price: see `StrategyData.max_price`, that of the hour.
    """

    coin: int
    start_ms: int
    end_ms: int
    max_price: float


@dataclass(frozen=True)
class Panel:
    """Windows of coins with the same bars: one of each coin, or those of several hours of a day.

    Attributes:
        members: each coin's data.
        data: of all coins: columns of candles and funding rates have the shape (coins, n); those of BTCUSDT, and
            everything where there is one coin alone, (n,).
        first, bars: the first bar that counts in any window, and how many there are from it on.
        since_ms: the first decided bar that the data were loaded for.
        windows: of each window, those of a coin together and ascending: the coin's place, the first bar and the one
            after the last, the first bar out of sample (counted from `first`), how many payments were known at its
            end, and whether its result is that of the window before; shape (windows, 6).
        own: candles and payments of all coins, whatever strategies see of them.
        max_prices: see `StrategyData.max_price`, shape (windows,).
        shows_funding: whether `data` has the payments: they are a cost all the same.
    """

    members: tuple[StrategyData, ...]
    data: StrategyData
    start_ms: int
    out_of_sample_pct: float
    first: int
    bars: int
    since_ms: int
    windows: IntArray
    own: OwnBars
    max_prices: FloatArray
    shows_funding: bool = True

    @classmethod
    def from_members(
        cls,
        members: Sequence[StrategyData],
        start_ms: int,
        out_of_sample_pct: float = 0.0,
        since_ms: int | None = None,
    ) -> Panel:
        """One window of each of several coins whose times are equal (see `panels`): the bars to the end of the data.

        Args:
            start_ms, out_of_sample_pct: see `Window.from_data`.
            since_ms: the first decided bar that the data were loaded for, where it is not that of the window.
        """
        data = members[0] if len(members) == 1 else _StackedData(members)
        first = int(np.searchsorted(data.candles.start_ms, start_ms))
        bars = len(data.candles) - first
        one = [0, 0, bars, split_bar(bars, out_of_sample_pct), len(data.funding.time_ms), 0]
        windows = np.array([one] * len(members), dtype=np.int64)
        windows[:, COIN] = np.arange(len(members))
        own = OwnBars(data.candles, data.funding, first)
        max_prices = np.array([member.max_price for member in members], dtype=np.float64)
        since_ms = start_ms if since_ms is None else since_ms
        return cls(tuple(members), data, start_ms, out_of_sample_pct, first, bars, since_ms, windows, own, max_prices)

    def over(self, hours: Sequence[HourWindow]) -> Panel:
        """The same coins over windows of several hours, those of a coin together and ascending.

        The data are those of the last hour, and `start_ms` is that of the first.
        """
        starts, ends = self.data.candles.start_ms, self.data.candles.end_ms
        windows = np.zeros((len(hours), 6), dtype=np.int64)
        windows[:, COIN] = [one.coin for one in hours]
        windows[:, BEGIN] = np.searchsorted(starts, [one.start_ms for one in hours]) - self.first
        windows[:, END] = np.searchsorted(ends, [one.end_ms for one in hours], "right") - self.first
        windows[:, SPLIT] = [
            begin + split_bar(end - begin, self.out_of_sample_pct) for begin, end in windows[:, [BEGIN, END]].tolist()
        ]
        # Of the last bar, what was paid by its close; a payment at the very as-of is not known yet.
        windows[:, KNOWN] = np.searchsorted(self.data.funding.time_ms, [one.end_ms for one in hours])
        if self.bars:
            by_close = self.prices.payments_by[1, np.maximum(windows[:, END] - 1, 0)]
            windows[:, KNOWN] = np.minimum(windows[:, KNOWN], by_close)
        max_prices = np.array([one.max_price for one in hours], dtype=np.float64)
        same = (windows[1:, :SAME] == windows[:-1, :SAME]).all(axis=1) & (max_prices[1:] == max_prices[:-1])
        windows[1:, SAME] = same
        return replace(self, windows=windows, max_prices=max_prices)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def prices(self) -> Prices:
        """What the compiled loops read of the candles."""
        return self.own.prices

    @property
    def bars_by_window(self) -> IntArray:
        """How many bars each window has, shape (windows,)."""
        return np.asarray(self.windows[:, END] - self.windows[:, BEGIN], dtype=np.int64)

    def window(self, coin: int) -> Window:
        """The window of one coin."""
        return Window.from_data(self.members[coin], self.start_ms, self.out_of_sample_pct)

    def alone(self, *coins: int) -> Panel:
        """A panel of one coin, or of some."""
        members = [self.members[coin] for coin in coins]
        alone = Panel.from_members(members, self.start_ms, self.out_of_sample_pct, self.since_ms)
        return alone if self.shows_funding else alone._without_funding()

    def seeing(self, needs: DataNeeds) -> Panel:
        """The same bars with as much of other timeframes, BTC and funding as `needs` declares, as a loader gives it.

        What several strategies need together is loaded once; more than its own an average would not forget.
        """
        seen = self._seeing_candles(needs)
        return seen if needs.funding else seen._without_funding()

    def _seeing_candles(self, needs: DataNeeds) -> Panel:
        skipped = _skipped(self.members[0].other, needs.candles, self.since_ms)
        btc_skipped = _skipped(self.data.btc, needs.btc, self.since_ms)
        if not (any(skipped.values()) or any(btc_skipped.values())) and (len(skipped), len(btc_skipped)) == (
            len(self.members[0].other),
            len(self.data.btc),
        ):
            return self
        btc = _without(self.data.btc, btc_skipped)
        # Members have equal times, so the same of each is skipped.
        members = tuple(replace(one, other=_without(one.other, skipped), btc=btc) for one in self.members)
        data = members[0] if len(members) == 1 else _StackedData(members, bars_of=self.data)
        return replace(self, members=members, data=data)

    def _without_funding(self) -> Panel:
        """The same panel, whose strategies do not see the payments."""
        if not self.shows_funding:
            return self
        data = copy(self.data)
        data.__dict__["funding"] = UNDECLARED_FUNDING
        return replace(self, data=data, shows_funding=False)


def _skipped(held: Mapping[Timeframe, Candles], wanted: Mapping[Timeframe, int], since_ms: int) -> dict[Timeframe, int]:
    """How many candles of each wanted timeframe lie before what is wanted, see `market.loading.load_strategy_data`."""
    return {
        timeframe: int(
            candles.start_ms.searchsorted(floor_ms(since_ms, timeframe.ms) - wanted[timeframe] * timeframe.ms)
        )
        for timeframe, candles in held.items()
        if timeframe in wanted
    }


def _without(held: Mapping[Timeframe, Candles], skipped: Mapping[Timeframe, int]) -> dict[Timeframe, Candles]:
    """The timeframes of `skipped`, each without so many of its first candles."""
    return {
        timeframe: held[timeframe].select(slice(count, None)) if count else held[timeframe]
        for timeframe, count in skipped.items()
    }


def panels(
    members: Sequence[StrategyData], start_ms: int, out_of_sample_pct: float = 0.0
) -> Iterator[tuple[list[int], Panel]]:
    """Panels of all coins, each with the places of its coins in `members`; those of equal times are equally large."""
    for places in alike(members):
        yield places, Panel.from_members([members[place] for place in places], start_ms, out_of_sample_pct)


def alike(members: Sequence[StrategyData]) -> Iterator[list[int]]:
    """Places of coins with equal times, as many as go into a panel."""
    found: dict[Hashable, list[int]] = {}
    for place, data in enumerate(members):
        found.setdefault(_time_key(data), []).append(place)
    for places in found.values():
        count = panel_count(len(places), len(members[places[0]].candles))
        for place in range(count):
            yield places[place::count]


def panel_count(coins: int, bars: int) -> int:
    """Into how many panels that many coins of so many bars go."""
    return -(-coins // max(MAX_BARS // max(bars, 1), 1))


def _time_key(data: StrategyData) -> Hashable:
    return (
        _grid_key(data.candles),
        *((timeframe, _grid_key(candles)) for timeframe, candles in data.other.items()),
        *((timeframe, _grid_key(candles), candles.close.tobytes()) for timeframe, candles in data.btc.items()),
        data.funding.time_ms.tobytes(),
    )


def _grid_key(candles: Candles) -> Hashable:
    """Start times, in a form that is equal for equal ones alone: ascending multiples of the timeframe."""
    starts = candles.start_ms
    bars = len(starts)
    step = candles.timeframe.ms
    if not bars:
        return step
    first = int(starts[0])
    whole = int(starts[-1]) - first == (bars - 1) * step
    return (step, bars, first) if whole else starts.tobytes()


class _StackedCandles(Candles):
    """Candles of several coins, columns of shape (coins, n), put together when they are asked for."""

    def __init__(self, members: Sequence[Candles]) -> None:
        self.__dict__.update(timeframe=members[0].timeframe, start_ms=members[0].start_ms, members=members)

    def __getattr__(self, name: str) -> FloatArray:
        if name not in _COLUMNS:
            raise AttributeError(name)
        members = self.__dict__["members"]
        # Joined as bytes, it lets no other thread in between: numpy would at each coin, and one that wakes costs more.
        joined = b"".join([np.ascontiguousarray(getattr(member, name), dtype=np.float64).data for member in members])
        column = np.frombuffer(joined).reshape(len(members), -1)
        self.__dict__[name] = column
        return column


class _StackedData(StrategyData):
    """What a strategy sees of several coins at once.

    With `bars_of` own candles and funding are the same arrays as there, so that indicators of them are shared.
    """

    def __init__(self, members: Sequence[StrategyData], bars_of: StrategyData | None = None) -> None:
        one = members[0]
        self.__dict__.update(
            candles=_StackedCandles([member.candles for member in members]) if bars_of is None else bars_of.candles,
            other={
                timeframe: _StackedCandles([member.other[timeframe] for member in members]) for timeframe in one.other
            },
            btc=one.btc,
            funding=Funding(one.funding.time_ms, np.array([member.funding.rate for member in members]))
            if bars_of is None
            else bars_of.funding,
        )

    @property
    def symbol(self) -> str:
        """No symbol: what depends on it is computed coin by coin.

        Raises:
            StrategyError: always.
        """
        raise StrategyError("several coins are computed at once: there is no one symbol")
