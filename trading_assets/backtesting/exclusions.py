"""Exclusions: coins with bad candles are not backtested, and their rows have the reason.

What is wrong with candles, `market.quality` finds; how good ones are backtested, `backtesting.run` knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from trading_assets.backtesting.run import BacktestRunner, DataOpener, FailureTeller
from trading_assets.core.candles import CandleFaults, DeepFaults, data_name
from trading_assets.core.errors import DataError
from trading_assets.core.schemas import BACKTEST_RESULTS
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import DataNeeds, StrategyData
from trading_assets.core.timeframes import TRADED_TIMEFRAMES, Timeframe
from trading_assets.market.loading import NONE_DEEP, OpenedData, exclusion_reason
from trading_assets.market.quality import kinds_of
from trading_assets.market.store import Progress
from trading_assets.strategies.registry import ConfiguredStrategy


def backtest_with_exclusions(
    strategies: Sequence[ConfiguredStrategy],
    settings: Settings,
    timeframe: Timeframe,
    scans: Mapping[int, Mapping[str, str]],
    open_strategy_data: DataOpener,
    faults: Mapping[int, CandleFaults],
    progress: Progress | None = None,
    deep: Mapping[int, DeepFaults] | None = None,
    tell_failure: FailureTeller | None = None,
) -> pd.DataFrame:
    """`BacktestRunner.rows`; a strategy that would read bad candles has a row of zeros, its reason in `error`.

    Args:
        faults, deep: by hour (UTC ms); hours without any may be absent.
        tell_failure: see `BacktestRunner`.
    """
    btc = settings.symbols.btc
    needs = {strategy.name: strategy.needs() for strategy in strategies}
    routes: dict[tuple[str, ...], dict[int, dict[str, str]]] = {(): {hour: {} for hour in scans}}
    reasons: dict[tuple[int, str], str] = {}
    for hour, symbols in scans.items():
        hour_faults, hour_deep = faults.get(hour, {}), (deep or {}).get(hour, NONE_DEEP)
        if not hour_faults and not hour_deep:
            routes[()][hour] = dict(symbols)
            continue
        for symbol, scan in symbols.items():
            why = {
                name: exclusion_reason(symbol, timeframe, needs[name], hour_faults, btc, hour_deep) for name in needs
            }
            out = tuple(name for name, reason in why.items() if reason is not None)
            routes.setdefault(out, {}).setdefault(hour, {})[symbol] = scan
            if out:
                reasons[hour, symbol] = next(reason for reason in why.values() if reason is not None)

    def refuse(symbol: str, _timeframe: Timeframe, _needs: DataNeeds, hours: Sequence[int]) -> OpenedData:
        def data_at(hour_ms: int) -> StrategyData:
            raise DataError(f"no data of {symbol} are read at {hour_ms}")

        return OpenedData(data_at, refused={hour: reasons[hour, symbol] for hour in hours if (hour, symbol) in reasons})

    parts = []
    for excluded, hours in routes.items():
        left = [strategy for strategy in strategies if strategy.name not in excluded]
        with BacktestRunner(left, settings, tell_failure=tell_failure) as backtests:
            parts.append(backtests.rows(timeframe, hours, open_strategy_data, progress=progress))
        if excluded:
            with BacktestRunner(
                [strategy for strategy in strategies if strategy.name in excluded], settings
            ) as backtests:
                parts.append(backtests.rows(timeframe, hours, refuse))
    if len(parts) == 1:
        return parts[0]
    some = [part for part in parts if len(part)]
    return BACKTEST_RESULTS.conform(pd.concat(some, ignore_index=True)) if some else BACKTEST_RESULTS.empty()


Excluded = Mapping[tuple[str, str], str]
"""Why strategies are excluded, by (timeframe, strategy)."""


def without_excluded(backtests: pd.DataFrame, excluded: Mapping[int, Excluded]) -> pd.DataFrame:
    """The backtests but those of excluded strategies, in their hour and on their timeframe alone."""
    if not excluded:
        return backtests
    out = {(hour, *key) for hour, of_hour in excluded.items() for key in of_hour}
    keys = zip(backtests["hour_ms"], backtests["timeframe"], backtests["strategy"], strict=True)
    return backtests[[key not in out for key in keys]].reset_index(drop=True)


def left_out(
    faults: CandleFaults, excluded: Excluded, backtests: pd.DataFrame, deep: DeepFaults = NONE_DEEP
) -> pd.DataFrame:
    """What takes no part in an hour, in few rows: coins by the kind of fault, strategies that are excluded or raised.

    Args:
        backtests: those of the hour, with columns timeframe, symbol, strategy and error.
        deep: faults of older candles, which leave out the strategies that read them.

    Returns:
        Columns left_out (strategies or coins, some of them named), timeframes and why.
    """
    groups: dict[tuple[str, str], tuple[set[str], set[str]]] = {}

    def add(what: str, why: str, name: str, timeframe: str) -> None:
        names, timeframes = groups.setdefault((what, why), (set(), set()))
        names.add(name)
        timeframes.add(timeframe)

    for (timeframe, strategy), why in excluded.items():
        add("strategy", why.partition(":")[0], strategy, timeframe)
    failed = backtests[backtests["error"].notna()]
    for timeframe, symbol, strategy, error in failed[["timeframe", "symbol", "strategy", "error"]].itertuples(
        index=False
    ):
        is_coins = any(symbol == whose and data_name(of, whose) in error for of, whose in faults)
        is_deep = not is_coins and any(data_name(*one) in error for one in deep)
        if not is_coins:
            why = "bad candles that it alone reads" if is_deep else f"raised {error.partition(':')[0]}"
            add("strategy", why, strategy, timeframe)
    for (timeframe, symbol), fault in faults.items():
        add("coin", kinds_of(fault), symbol, timeframe)
    rows = [
        {"left_out": _named(what, names), "timeframes": ", ".join(sorted(timeframes, key=_place)), "why": why}
        for (what, why), (names, timeframes) in sorted(groups.items(), reverse=True)
    ]
    return pd.DataFrame(rows, columns=["left_out", "timeframes", "why"])


def _named(what: str, names: set[str], most: int = 4) -> str:
    some = ", ".join(sorted(names)[:most])
    more = f" and {len(names) - most} more" if len(names) > most else ""
    plural = {"strategy": "strategies", "coin": "coins"}[what] if len(names) > 1 else what
    return f"{plural} {some}{more}"


def _place(timeframe: str) -> int:
    return list(TRADED_TIMEFRAMES).index(Timeframe(timeframe)) if timeframe in list(TRADED_TIMEFRAMES) else 99
