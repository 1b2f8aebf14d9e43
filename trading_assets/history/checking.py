"""What is wrong with a file's rows: counted, and left out where they cannot be a market's. Arrays in, rows out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trading_assets.core.candles import BoolArray, Candles, Funding
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, iso
from trading_assets.history.rows import VALUES, CandleTable, FileFault, FundingTable

FIRST_MS = 1_230_768_000_000
"""2009: no coin was traded before."""

_MOST_BAD_PCT = 5.0
"""More rows that are no candles: the columns are other ones than was thought, or the file is damaged."""

_MOST_RANGE, _MOST_BACK = 100.0, 0.3
_QUIET_MS = HOUR_MS
_SAME_PRICE, _SAME_VOLUME = 1e-9, 1e-6
_HIGHEST_RATE = 1.0


@dataclass
class Checked:
    """What is known of the rows of one symbol and timeframe of a file.

    Attributes:
        counts: how many rows have each fault, or what else was counted; only what is above zero.
        first: of faults, the first time, UTC ms.
        contradicts: it says other than itself, or than what is held.
    """

    symbol: str
    timeframe: str
    rows: int
    first_ms: int = 0
    end_ms: int = 0
    traded_end_ms: int = 0
    stored: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    contradicts: bool = False

    def count(self, name: str, which: BoolArray, times: np.ndarray) -> None:
        """Count a fault, and remember when it occurs first."""
        number = int(which.sum())
        if number:
            self.counts[name] = self.counts.get(name, 0) + number
            self.first.setdefault(name, int(times[int(np.argmax(which))]))

    def words(self) -> str:
        """All findings in one line; empty where there are none."""
        found = [
            f"{number:,} {name}" + (f" (first {iso(self.first[name])})" if name in self.first else "")
            for name, number in self.counts.items()
        ]
        return "; ".join([*found, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "first": {name: iso(time) for name, time in self.first.items()}}


def check_candles(table: CandleTable, wall_ms: int) -> tuple[Candles, Checked]:
    """The rows that can be candles, ascending, each once; and what was found.

    Args:
        wall_ms: the local clock: a candle that ends later is unfinished.

    Raises:
        FileFault: there are no rows, or too many of them are none.
    """
    step = table.timeframe.ms
    found = Checked(table.symbol, table.timeframe.value, len(table), notes=list(table.notes))
    starts = np.asarray(table.columns["start_ms"], dtype=np.int64)
    values = np.stack([np.asarray(table.columns[name], dtype=np.float64) for name in VALUES])
    if not len(starts):
        raise FileFault("it has no rows")
    _require_times(starts, wall_ms)
    if np.any(np.diff(starts) < 0):
        if not np.all(np.diff(starts) <= 0):
            found.count("rows out of order", np.append(False, np.diff(starts) < 0), starts)
        order = np.argsort(starts, kind="stable")
        starts, values = starts[order], values[:, order]
    opens, highs, lows, closes, volume, turnover = values
    bad = {
        "rows without a number": ~np.all(np.isfinite(values), axis=0),
        "rows off the grid": starts % step != 0,
        "impossible bars": (lows <= 0)
        | (highs < np.maximum(opens, closes))
        | (lows > np.minimum(opens, closes))
        | (volume < 0)
        | (turnover < 0),
    }
    out = np.zeros(len(starts), dtype=np.bool_)
    for name, which in bad.items():
        found.count(name, which & ~out, starts)
        out |= which
    share = 100.0 * out.sum() / len(starts)
    if share > _MOST_BAD_PCT:
        raise FileFault(
            f"{share:.0f} % of the rows of {table.symbol} are no {table.timeframe.value} candles ({found.words()}): "
            "the file is damaged, or its columns or timeframe are other ones"
        )
    unfinished = starts + step > wall_ms
    found.count("unfinished", unfinished & ~out, starts)
    out |= unfinished
    starts, values = starts[~out], values[:, ~out]
    if not len(starts):
        raise FileFault(f"no row of {table.symbol} is a finished candle")
    starts, values = _once(found, starts, values)
    _look_at(found, starts, values, step, table.filled)
    if table.estimated:
        found.notes.append("turnover estimated")
    return Candles(table.timeframe, starts, *values), found


def _require_times(starts: np.ndarray, wall_ms: int) -> None:
    first, last = int(starts.min()), int(starts.max())
    if first < FIRST_MS or first > wall_ms:
        raise FileFault(
            f"its times are from {iso(first)} to {iso(last)}; expected UTC since 2009 in s, ms, us or ns: the column "
            "of times is another one, or the file is damaged"
        )


def _once(found: Checked, starts: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    again = np.append(False, np.diff(starts) == 0)
    if not again.any():
        return starts, values
    same = again & np.append(False, np.all(values[:, 1:] == values[:, :-1], axis=0))
    found.count("rows twice, the same", same, starts)
    found.count("rows twice with other values, the first was kept", again & ~same, starts)
    found.contradicts |= bool((again & ~same).any())
    return starts[~again], values[:, ~again]


def _look_at(found: Checked, starts: np.ndarray, values: np.ndarray, step: int, filled: int) -> None:
    """What a person should see of rows that are kept."""
    opens, highs, lows, closes, volume, _ = values
    found.first_ms, found.end_ms = int(starts[0]), int(starts[-1]) + step
    traded = np.flatnonzero(volume > 0)
    found.traded_end_ms = int(starts[traded[-1]]) + step if len(traded) else found.end_ms
    between = np.diff(starts)
    holes = np.append(False, between > step)
    found.count("gaps", holes, starts)
    if holes.any():
        missing = between[between > step] // step - 1
        at = int(np.flatnonzero(holes)[missing.argmax()])
        found.counts["candles missing in them"] = int(missing.sum())
        found.notes.append(f"the longest of {int(missing.max()):,} before {iso(int(starts[at]))}")
    if filled:
        found.counts["minutes without a trade, flat"] = filled
    run = _longest_run(volume == 0)
    if run * step > _QUIET_MS:
        found.notes.append(f"nothing traded for {run * step // MINUTE_MS:,} minutes on end")
    found.count(f"bars with a high above {_MOST_RANGE:.0f} times the low", highs > _MOST_RANGE * lows, starts)
    if len(starts) > 2:
        out, back = opens[1:-1] / closes[:-2] - 1, closes[1:-1] / opens[2:] - 1
        spike = (np.abs(out) > _MOST_BACK) & (np.abs(back) > _MOST_BACK) & (np.sign(out) == np.sign(back))
        found.count("bars 30 % away from those before and after", np.concatenate([[False], spike, [False]]), starts)


def _longest_run(which: np.ndarray) -> int:
    if not which.any():
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], which.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max())


def compare(found: Checked, new: Candles, held: Candles, *, replace: bool, with_turnover: bool) -> Candles:
    """The candles to add beside those that are held: new ones, and with `replace` those that disagree.

    Args:
        with_turnover: compare turnover too, as neither is estimated.
    """
    if not len(held):
        return new
    place = np.minimum(np.searchsorted(held.start_ms, new.start_ms), len(held) - 1)
    there = held.start_ms[place] == new.start_ms
    differs = np.zeros(len(new), dtype=np.bool_)
    for name in VALUES[: 6 if with_turnover else 5]:
        tolerance = _SAME_PRICE if name in VALUES[:4] else _SAME_VOLUME
        differs |= ~np.isclose(getattr(new, name), getattr(held, name)[place], rtol=tolerance, atol=0)
    differs &= there
    found.count("held already, the same", there & ~differs, new.start_ms)
    found.first.pop("held already, the same", None)
    kept = "replaced" if replace else "the held ones were kept"
    found.count(f"held already with other values, {kept}", differs, new.start_ms)
    found.contradicts |= bool(differs.any()) and not replace
    return new.select(~there | differs if replace else ~there)


def check_funding(table: FundingTable) -> tuple[Funding, Checked]:
    """The payments, ascending, each once; and what was found.

    Raises:
        FileFault: there are none, or rates are none.
    """
    found = Checked(table.symbol, "funding", len(table.time_ms))
    if not len(table.time_ms):
        raise FileFault("it has no rows")
    order = np.argsort(table.time_ms, kind="stable")
    times, rates = np.asarray(table.time_ms)[order], np.asarray(table.rate)[order]
    if not np.all(np.abs(rates) <= _HIGHEST_RATE) or times[0] < FIRST_MS:
        raise FileFault("rates beyond 100 %, or times before 2009: it is no table of funding, or damaged")
    again = np.append(False, np.diff(times) == 0)
    other = again & np.append(False, np.diff(rates) != 0)
    found.count("payments twice with other rates, the first was kept", other, times)
    found.contradicts = bool(other.any())
    times, rates = times[~again], rates[~again]
    found.first_ms, found.end_ms, found.stored = int(times[0]), int(times[-1]) + 1, len(times)
    return Funding(times, rates), found
