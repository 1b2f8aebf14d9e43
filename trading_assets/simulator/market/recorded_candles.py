"""One symbol's recorded candles, merged into a row without holes or overlaps, in whole ticks and steps.

Where several timeframes cover the same minutes the finest wins, and the coarser candle must agree with it. A coarse
candle that finer ones cover only in part stands as it is: the finer ones within it are dropped, because a path made
of both could be true to neither.

A candle missing inside a file is one without trades: it is filled flat at the close before it, as the venue does. A
time that no file covers is a gap: no candles exist there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import MINUTE_MS, iso
from trading_assets.simulator.market.grid import TURNOVER_UNIT, Grid
from trading_assets.simulator.market.recording import Series
from trading_assets.simulator.market.rows import Rows

Minutes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RecordedCandles:
    """Candles in time.

    Attributes:
        start: minutes since 1970-01-01, ascending, shape (n,).
        length: minutes, shape (n,).
        rows: their prices and sums.
        spans: [begin, end) in minutes of each stretch without a gap, shape (k, 2).
        unit: turnover, as counted in `rows`, of one quantity step at a price of one tick.
    """

    start: Minutes
    length: npt.NDArray[np.int16]
    rows: Rows
    spans: Minutes
    unit: float

    def part(self, begin: int, end: int) -> slice:
        """The candles that lie at least partly in the minutes [begin, end)."""
        first = int(np.searchsorted(self.start, begin, side="right")) - 1
        if first < 0 or self.start[first] + self.length[first] <= begin:
            first += 1
        return slice(first, int(np.searchsorted(self.start, end)))


@dataclass(frozen=True)
class _Cut:
    start: Minutes
    length: Minutes
    prices: npt.NDArray[np.int32]
    sums: npt.NDArray[np.int64]

    def kept(self, which: npt.NDArray[np.bool_]) -> _Cut:
        return _Cut(self.start[which], self.length[which], self.prices[:, which], self.sums[:, which])


def merged(symbol: str, series: Sequence[Series], grid: Grid) -> RecordedCandles:
    """The merged candles of `symbol`.

    Raises:
        ConfigurationError: files contradict each other, or timeframes do not nest.
    """
    chosen: _Cut | None = None
    for minutes in sorted({one.minutes for one in series}):
        coarser = _one_timeframe(symbol, [one for one in series if one.minutes == minutes], grid)
        chosen = coarser if chosen is None else _under(symbol, chosen, coarser, minutes)
    assert chosen is not None
    spans = _joined_spans(series)
    filled = _filled(chosen, spans, min(one.minutes for one in series))
    rows = Rows(filled.prices, filled.sums)
    unit = grid.tick * grid.step * TURNOVER_UNIT
    return RecordedCandles(filled.start, filled.length.astype(np.int16), rows, spans, unit)


def _one_timeframe(symbol: str, series: Sequence[Series], grid: Grid) -> _Cut:
    """All files' candles of one timeframe."""
    parts = [_in_units(symbol, one, grid) for one in series]
    whole = _concatenated(parts)
    repeated = np.append(False, np.diff(whole.start) == 0)
    if repeated.any():
        differ = repeated.copy()
        differ[1:] &= (whole.prices[:, 1:] != whole.prices[:, :-1]).any(axis=0) | (
            whole.sums[:, 1:] != whole.sums[:, :-1]
        ).any(axis=0)
        if differ.any():
            _refuse_contradiction(symbol, series, int(whole.start[np.flatnonzero(differ)[0]]), int(differ.sum()))
    return whole.kept(~repeated)


def _in_units(symbol: str, one: Series, grid: Grid) -> _Cut:
    prices = np.rint(one.values[:4] / grid.tick)
    if prices.max() >= 2**31:
        raise ConfigurationError(f"{symbol} in {one.file}: prices span more ticks than a replay can hold")
    sums = np.stack([np.rint(one.values[4] / grid.step), np.rint(one.values[5] * TURNOVER_UNIT)])
    return _Cut(
        one.start,
        np.full(len(one.start), one.minutes, dtype=np.int64),
        np.maximum(prices, 1).astype(np.int32),
        sums.astype(np.int64),
    )


def _under(symbol: str, fine: _Cut, coarse: _Cut, minutes: int) -> _Cut:
    """The finer candles, and the coarse ones where the finer do not cover them whole."""
    covered_until = np.append(0, np.cumsum(fine.length))
    first = np.searchsorted(fine.start, coarse.start)
    end = np.searchsorted(fine.start, coarse.start + minutes)
    ends = fine.start + fine.length
    straddles = (end > first) & (ends[end - 1] > coarse.start + minutes)
    straddles |= (first > 0) & (ends[first - 1] > coarse.start)
    if straddles.any():
        raise ConfigurationError(
            f"the timeframes recorded for {symbol} do not nest: candles of {minutes} minutes overlap finer ones "
            f"only in part at {iso(int(coarse.start[np.flatnonzero(straddles)[0]]) * MINUTE_MS)}; leave one out"
        )
    covered = covered_until[end] - covered_until[first]
    whole = covered == minutes
    _check_agreement(symbol, fine, coarse.kept(whole), first[whole], end[whole])
    dropped = np.zeros(len(fine.start) + 1, dtype=np.int64)
    partly = (covered > 0) & ~whole
    np.add.at(dropped, first[partly], 1)
    np.add.at(dropped, end[partly], -1)
    return _concatenated([fine.kept(np.cumsum(dropped)[:-1] == 0), coarse.kept(~whole)])


def _check_agreement(symbol: str, fine: _Cut, coarse: _Cut, first: Minutes, end: Minutes) -> None:
    if not len(first):
        return
    stop = int(end[-1])
    made = np.stack(
        [
            fine.prices[0, first],
            np.maximum.reduceat(fine.prices[1, :stop], first),
            np.minimum.reduceat(fine.prices[2, :stop], first),
            fine.prices[3, end - 1],
        ]
    )
    differ = (np.abs(made - coarse.prices) > 1).any(axis=0)
    if differ.any():
        at = int(np.flatnonzero(differ)[0])
        raise ConfigurationError(
            f"the recordings of {symbol} contradict each other in {int(differ.sum())} candles, the first at "
            f"{iso(int(coarse.start[at]) * MINUTE_MS)}: open, high, low and close of the finer one make "
            f"{made[:, at].tolist()} ticks, of the coarser one {coarse.prices[:, at].tolist()}; leave one file out"
        )


def _refuse_contradiction(symbol: str, series: Sequence[Series], minute: int, count: int) -> None:
    files = ", ".join(one.file for one in series if minute in one.start)
    raise ConfigurationError(
        f"the recordings of {symbol} in {files} contradict each other in {count} candles of {series[0].minutes} "
        f"minutes, the first at {iso(minute * MINUTE_MS)}: leave one file out"
    )


def _joined_spans(series: Sequence[Series]) -> Minutes:
    """What the files cover, overlapping and touching stretches made one."""
    ranges = sorted((int(one.start[0]), int(one.start[-1]) + one.minutes) for one in series)
    spans: list[list[int]] = []
    for begin, end in ranges:
        if spans and begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([begin, end])
    return np.array(spans, dtype=np.int64)


def _filled(cut: _Cut, spans: Minutes, finest: int) -> _Cut:
    """Flat candles of the finest timeframe (a minute where that does not fit) in the holes inside `spans`."""
    ends = cut.start + cut.length
    begins, stops, before = [], [], []
    for begin, end in spans.tolist():
        inside = slice(int(np.searchsorted(cut.start, begin)), int(np.searchsorted(cut.start, end)))
        # A span begins and ends with a candle: holes lie between candles.
        holes = inside.start + np.flatnonzero(cut.start[inside][1:] > ends[inside][:-1])
        begins += ends[holes].tolist()
        stops += cut.start[holes + 1].tolist()
        before += cut.prices[3, holes].tolist()
    if not begins:
        return cut
    starts, lengths, closes = [], [], []
    for begin, stop, close in zip(begins, stops, before, strict=True):
        size = finest if begin % finest == 0 and stop % finest == 0 else 1
        made = np.arange(begin, stop, size)
        starts.append(made)
        lengths.append(np.full(len(made), size, dtype=np.int64))
        closes.append(np.full(len(made), close, dtype=np.int32))
    flat = _Cut(
        np.concatenate(starts),
        np.concatenate(lengths),
        np.tile(np.concatenate(closes), (4, 1)),
        np.zeros((2, sum(map(len, starts))), dtype=np.int64),
    )
    return _concatenated([cut, flat])


def _concatenated(parts: Sequence[_Cut]) -> _Cut:
    start = np.concatenate([part.start for part in parts])
    order = np.argsort(start, kind="stable")
    return _Cut(
        start[order],
        np.concatenate([part.length for part in parts])[order],
        np.concatenate([part.prices for part in parts], axis=1)[:, order],
        np.concatenate([part.sums for part in parts], axis=1)[:, order],
    )
