"""Look-ahead and warm-up checks: does a strategy use what it could not know, or more history than it declares?

Pure functions over a strategy and its data. Costs are the business of `trading_assets.backtesting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trading_assets.core.candles import Candles, FloatArray, IntArray
from trading_assets.core.strategy_data import DataNeeds, Signals, StrategyData
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe, floor_ms
from trading_assets.market import lookback as depth
from trading_assets.strategies.base import Strategy

ROUNDING = 1e-9
"""Relative difference of two values that count as equal, whatever the order of their sums."""

WARM_UP_TOLERANCE = 0.05
"""Difference of two values, in standard deviations of the value, that counts as none after the warm-up. The Wilder
averages forget their start to 4e-7, an exponential average of 120 bars to about this."""

ADVICE_TOLERANCE = WARM_UP_TOLERANCE / 5
"""The same for a number of bars that is advised, so that it does on other candles, too."""

MIN_COMPARED = 50
"""The start of the data is varied only where this many bars follow the warm-up."""

_TRIED_WARM_UPS = (25, 50, 75, 100, 150, 200, 300, 400, 500, 600, 800, 1_000, 1_200, 1_600, 2_000, 2_400, 3_200, 4_800)
"""Numbers of bars of which the check names the fewest that would do."""

_FUNDING_BEFORE_MS = depth.FUNDING_OF_DAY_MS - max(map(depth.window_ms, TRADED_TIMEFRAMES))
"""Funding is loaded at least this long before the first decided bar."""


@dataclass(frozen=True)
class Violation:
    """One difference: at the close `time_ms` (UTC ms), `what` is `whole` on all data and `cut` on the data cut."""

    time_ms: int
    what: str
    whole: str
    cut: str


@dataclass(frozen=True)
class Verdict:
    """What a check found: `bars` were compared, of which `signals` have an entry.

    Without any signal nothing could be checked.
    """

    bars: int
    signals: int
    violations: tuple[Violation, ...]

    @property
    def passed(self) -> bool:
        """No violation was found; it says something where there were `signals`."""
        return not self.violations


def look_ahead(
    strategy: Strategy, data: StrategyData, *, seed: int = 0, signals: int | None = None, others: int = 20
) -> Verdict:
    """Decide again at the close of single bars on what was known by then: the decision and every indicator must agree.

    Args:
        signals: at most this many of the bars with an entry, drawn by `seed`; all by default. As many of those with an
            exit condition.
        others: this many other bars, drawn by `seed`: a live run may see a signal there that a backtest never had.
    """
    whole = strategy.signals(data)
    rng = np.random.default_rng(seed)
    bars = strategy.needs().warm_up_bars(data.timeframe)
    after = np.arange(len(data.candles)) >= min(bars, len(data.candles) // 2)
    entry, leaving = whole.long | whole.short, np.zeros(len(after), dtype=bool)
    for condition in (whole.exit_long, whole.exit_short):
        if condition is not None:
            leaving |= condition
    drawn = _draw(rng, np.flatnonzero(after & entry), signals)
    decided = np.concatenate([drawn, _draw(rng, np.flatnonzero(after & ~entry), others)])
    if leaving.any():  # as many exits, beside those that were drawn
        decided = np.union1d(decided, _draw(rng, np.flatnonzero(after & ~entry & leaving), signals))
    violations: list[Violation] = []
    for bar in np.sort(decided).tolist():
        end_ms = int(data.candles.end_ms[bar])
        try:
            cut = strategy.signals(known_at(data, end_ms))
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything)
            violations += failed(end_ms, error).violations
            continue
        found, expected = _row(cut, -1), _row(whole, bar)
        violations += [
            Violation(end_ms, what, _shown(value), _shown(found.get(what)))
            for what, value in expected.items()
            if not _equal(value, found.get(what))
        ]
    return Verdict(len(decided), len(drawn), tuple(violations))


def warm_up(strategy: Strategy, data: StrategyData, *, seed: int = 0, starts: int = 4) -> Verdict:
    """Begin the data later: after the declared warm-up every decision and indicator must be the same.

    The own candles begin at bars drawn by `seed`, those of other timeframes, BTC and funding where a loader would begin
    them for that first decided bar. A difference at one place alone (a crossing that moves to the next bar) is rounding
    at a threshold and no violation: a strategy that reads too far back differs at many. `sufficient_warm_up` tells how
    many bars would do.
    """
    whole, bars = strategy.signals(data), strategy.needs().warm_up_bars(data.timeframe)
    last = len(data.candles) - bars - MIN_COMPARED
    if last < 1:
        return Verdict(0, 0, ())
    rng = np.random.default_rng(seed)
    firsts = np.unique(np.append(_draw(rng, np.arange(1, last), starts - 1), last)).tolist()
    found: dict[tuple[str, int], Violation] = {}
    for first in firsts:
        try:
            differences = _differences(strategy, whole, data, first, bars)
        except Exception as error:  # noqa: BLE001 (a user's strategy may raise anything)
            return failed(int(data.candles.end_ms[first + bars]), error)
        for violation in differences:
            found.setdefault((violation.what, violation.time_ms), violation)
    compared = slice(firsts[0] + bars, None)
    entries = int(np.count_nonzero(whole.long[compared] | whole.short[compared]))
    violations = tuple(found.values())
    return Verdict(len(whole.long[compared]), entries, () if _is_rounding(violations, data.timeframe) else violations)


@dataclass(frozen=True)
class SufficientWarmUp:
    """How many bars of warm-up would do: `bars`, the fewest of those tried; None where not even `most` of them do."""

    bars: int | None
    most: int

    @property
    def words(self) -> str:
        return str(self.bars) if self.bars is not None else f"more than {self.most}"


def sufficient_warm_up(strategy: Strategy, data: StrategyData) -> SufficientWarmUp:
    """Try one warm-up after the other, each from several starts against data that begin at least as long before.

    Data of other timeframes, BTC and funding begin where the strategy declares them for each start.
    """
    whole = strategy.signals(data)
    last = len(data.candles) - MIN_COMPARED
    tried = [bars for bars in _TRIED_WARM_UPS if 2 * bars <= last]
    most = max(tried, default=0)
    for bars in tried:
        decided = np.unique(np.linspace(2 * bars, last, 4, dtype=np.int64)).tolist()
        found: list[Violation] = []
        try:
            for bar in decided:
                found += _differences(strategy, whole, data, bar - bars, bars, ADVICE_TOLERANCE)
                if found and not _is_rounding(found, data.timeframe):
                    break  # whatever the other starts give, so many bars do not do
            else:
                return SufficientWarmUp(bars, most)
        except Exception:  # noqa: BLE001 (a strategy may raise on so few bars, and not on more)
            continue
    return SufficientWarmUp(None, most)


def _is_rounding(violations: Sequence[Violation], timeframe: Timeframe) -> bool:
    """Whether all lie at one place: on bars next to each other."""
    times = sorted({violation.time_ms for violation in violations})
    return bool(times) and times[-1] - times[0] <= (len(times) - 1) * timeframe.ms and len(times) <= 2


def _differences(
    strategy: Strategy,
    whole: Signals,
    data: StrategyData,
    first: int,
    bars: int,
    tolerance: float = WARM_UP_TOLERANCE,
) -> list[Violation]:
    """Where the decisions after `bars` of warm-up from the own bar `first` on are not those of `whole`."""
    decided = first + bars
    ends = data.candles.end_ms[decided:]
    late = _columns(strategy.signals(later_start(data, strategy.needs(), first, bars)), bars)
    found = []
    for what, expected in _columns(whole, decided).items():
        got = late.get(what, np.full(len(expected), np.nan))
        # Without an entry there is no confidence, and entries are compared for themselves.
        for bar in _drift(expected, got, tolerance, where_both=what == "confidence").tolist():
            found.append(Violation(int(ends[bar]), what, _shown(expected[bar]), _shown(got[bar])))
    return found


def failed(time_ms: int, error: Exception) -> Verdict:
    """The verdict on a strategy that raises where it should decide."""
    return Verdict(0, 0, (Violation(time_ms, "decision", "made", f"{type(error).__name__}: {error}"),))


def known_at(data: StrategyData, time_ms: int) -> StrategyData:
    """What of `data` was known at a moment: candles closed by it, and funding paid before it."""
    return replace(
        data,
        candles=data.candles.closed_by(time_ms),
        other={timeframe: held.closed_by(time_ms) for timeframe, held in data.other.items()},
        btc={timeframe: held.closed_by(time_ms) for timeframe, held in data.btc.items()},
        funding=data.funding.between(0, time_ms),
    )


def later_start(data: StrategyData, needs: DataNeeds, first: int, warm_up_bars: int) -> StrategyData:
    """`data` as a loader gives it for a window whose warm-up of so many bars begins at the own bar `first`."""
    own = data.candles.select(slice(first, None))
    decided_ms = int(own.start_ms[warm_up_bars])

    def begun(held: Mapping[Timeframe, Candles], wanted: Mapping[Timeframe, int]) -> dict[Timeframe, Candles]:
        def part(other: Timeframe, candles: Candles) -> Candles:
            begins = floor_ms(decided_ms, other.ms) - wanted.get(other, 0) * other.ms
            return candles.select(candles.start_ms >= begins)

        return {other: part(other, candles) for other, candles in held.items()}

    paid = data.funding.time_ms >= decided_ms - _FUNDING_BEFORE_MS
    return replace(
        data,
        candles=own,
        other=begun(data.other, needs.candles),
        btc=begun(data.btc, needs.btc),
        funding=type(data.funding)(data.funding.time_ms[paid], data.funding.rate[paid]),
    )


def _draw(rng: np.random.Generator, bars: IntArray, count: int | None) -> IntArray:
    if count is None or count >= len(bars):
        return bars
    return rng.choice(bars, count, replace=False)


def _row(signals: Signals, bar: int) -> dict[str, float]:
    """The decision at a bar by name; a bool is 0 or 1."""
    entry = bool(signals.long[bar] | signals.short[bar])
    return {
        "long": float(signals.long[bar]),
        "short": float(signals.short[bar]),
        **({"confidence": float(signals.confidence[bar])} if entry else {}),
        "stop distance": float(signals.stop_distance[bar]),
        **{name: float(values[bar]) for name, values in _exits(signals).items()},
        **{f"indicator {name}": float(values[bar]) for name, values in signals.indicators.items()},
    }


def _columns(signals: Signals, first: int) -> dict[str, FloatArray]:
    """Arrays that must not depend on the start of the data, from a bar on."""
    return {
        "long": signals.long[first:].astype(np.float64),
        "short": signals.short[first:].astype(np.float64),
        "confidence": signals.confidence[first:],
        "stop distance": signals.stop_distance[first:],
        **{name: values[first:] for name, values in _exits(signals).items()},
        **{f"indicator {name}": values[first:] for name, values in signals.indicators.items()},
    }


def _exits(signals: Signals) -> dict[str, FloatArray]:
    """Exit conditions by name; 0 and 1."""
    named = {"exit long": signals.exit_long, "exit short": signals.exit_short}
    return {name: values.astype(np.float64) for name, values in named.items() if values is not None}


def _equal(expected: float, found: float | None) -> bool:
    if found is None:
        return False
    return bool(np.isclose(found, expected, rtol=ROUNDING, atol=0.0, equal_nan=True))


def _drift(expected: FloatArray, found: FloatArray, tolerance: float, *, where_both: bool) -> IntArray:
    """The bars where two arrays differ by more than the tolerance, in standard deviations, or one alone is defined
    (unless `where_both`)."""
    defined, other = np.isfinite(expected), np.isfinite(found)
    both = defined & other
    drift = np.zeros(len(expected), dtype=bool) if where_both else defined != other
    if both.any():
        scale, largest = float(expected[both].std()), float(np.abs(expected[both]).max())
        drift[both] |= np.abs(expected[both] - found[both]) > tolerance * scale + ROUNDING * largest
    return np.flatnonzero(drift)


def _shown(value: float | None) -> str:
    return "absent" if value is None else f"{value:.6g}"
