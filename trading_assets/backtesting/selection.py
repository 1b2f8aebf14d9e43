"""From backtests to the one best strategy and timeframe of each coin: filters, score, and the odds of luck.

The significance of the winners stands on their rows; it is a filter only where a limit is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import pandas as pd

from trading_assets.backtesting import metrics
from trading_assets.backtesting.significance import (
    corrected,
    deflated_sharpe,
    effective_trials,
    least_trades,
    least_trades_of_sharpe,
)
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import TRADED_TIMEFRAMES

_BARS_PER_YEAR = {timeframe.value: timeframe.bars_per_year for timeframe in TRADED_TIMEFRAMES}
_WINDOW_BARS = {timeframe.value: timeframe.window_bars for timeframe in TRADED_TIMEFRAMES}
_ORDER = {timeframe.value: index for index, timeframe in enumerate(TRADED_TIMEFRAMES)}


@dataclass(frozen=True)
class Preset:
    """Least values that a backtest needs; None means no such filter. `max_drawdown` in percent, <= 0.

    `total_pnl` in USD; those of `PRESETS` are for trades of `PRESET_NOTIONAL`.
    """

    trades: int
    win_rate: float
    profit_factor: float | None = None
    max_drawdown: float | None = None
    total_pnl: float | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The preset that the settings name, its PnL in proportion to their trades, and what they say themselves."""
        preset = PRESETS[settings.selection_preset]
        pnl = preset.total_pnl
        drawdown = settings.max_backtest_drawdown_pct
        return cls(
            trades=_given(settings.min_trades, preset.trades),
            win_rate=_given(settings.min_win_rate, preset.win_rate),
            profit_factor=_given(settings.min_profit_factor, preset.profit_factor),
            max_drawdown=preset.max_drawdown if drawdown is None else -drawdown,
            total_pnl=_given(
                settings.min_pnl, None if pnl is None else pnl * settings.backtest_notional / PRESET_NOTIONAL
            ),
        )


_Value = TypeVar("_Value")


def _given(value: _Value | None, default: _Value) -> _Value:
    return default if value is None else value


PRESET_NOTIONAL = 1000.0
"""USD: the PnL that a preset asks for is that of trades of this size, a tenth or a twentieth of it."""

PRESETS: Mapping[str, Preset] = {
    "strict": Preset(trades=5, win_rate=50.0, profit_factor=1.5, max_drawdown=-20.0),
    "volume": Preset(trades=20, win_rate=45.0, total_pnl=100.0),
    "volume_loose": Preset(trades=10, win_rate=40.0, total_pnl=50.0),
}
"""The presets of `SELECTION_PRESET`: `strict` asks for quality, `volume` for many trades, `volume_loose` for fewer."""


@dataclass(frozen=True)
class SignificanceLimits:
    """Optional filters against luck; None means no such filter. A row without the figure fails its filter.

    `max_p_value` is compared with the p-value that is corrected for all that was tried on the coin; `min_history_pct`:
    see `history_pct`.
    """

    min_deflated_sharpe: float | None = None
    max_p_value: float | None = None
    min_history_pct: float | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The filters that the settings ask for."""
        return cls(settings.min_deflated_sharpe, settings.max_p_value, settings.min_history_pct)


NO_LIMITS = SignificanceLimits()


_COIN = ["hour_ms", "symbol"]

COLUMNS_READ = [
    *("hour_ms", "timeframe", "symbol", "strategy", "parameters", "scan_id", "bars", "total_trades", "win_rate"),
    *(
        "profit_factor",
        "total_return",
        "mean_r",
        "max_drawdown",
        "sharpe_ratio",
        "total_pnl",
        "confidence_avg",
        "skewness",
        "kurtosis",
    ),
    *("out_of_sample_trades", "out_of_sample_pnl", "p_value", "break_even", "configurations"),
    *("configurations_traded", "sharpe_spread", "searched", "error"),
    *("taker_fee", "slippage_bps", "cost_model", "notional", "liquidation_distance"),
    *("entry_order", "entry_offset_pct", "entry_bars", "maker_fee", "entry_deviation_pct"),
]
"""Columns of `backtest_results` on which a selection depends, or that go on into its row."""


@dataclass(frozen=True)
class Selection:
    """The selections of one hour or several, each hour judged apart.

    Attributes:
        rows: of `strategy_selections`, one per hour and coin.
        passed: backtests that passed every filter, by hour.
        failed: chosen backtests that failed each filter, by its description, by hour; one may fail several.
    """

    rows: pd.DataFrame
    passed: dict[int, int]
    failed: dict[int, dict[str, int]]

    @classmethod
    def concat(cls, parts: Sequence[Selection]) -> Selection:
        """Selections of different hours, ascending, as one."""
        rows = [part.rows for part in parts if len(part.rows)]
        return cls(
            pd.concat(rows, ignore_index=True) if rows else STRATEGY_SELECTIONS.empty(),
            {hour: count for part in parts for hour, count in part.passed.items()},
            {hour: counts for part in parts for hour, counts in part.failed.items()},
        )


def score(backtests: pd.DataFrame) -> pd.Series:
    """win_rate * profit_factor * ln(total_trades + 1), by row."""
    return pd.Series(metrics.score(backtests["win_rate"], backtests["profit_factor"], backtests["total_trades"]))


def history_pct(backtests: pd.DataFrame) -> pd.Series:
    """How much of its timeframe's window a backtest has, percent, by row: a young listing has less than all of it."""
    return (100.0 * backtests["bars"] / backtests["timeframe"].map(_WINDOW_BARS)).clip(upper=100.0).astype(np.float64)


def mean_bps(backtests: pd.DataFrame) -> pd.Series:
    """Mean result of the closed trades in basis points of a position's value, by row: capital is that of one trade."""
    trades = backtests["total_trades"].where(backtests["total_trades"] > 0)
    return (backtests["total_return"] * 100 / trades).astype(np.float64)


def select_best(
    backtests: pd.DataFrame,
    preset: Preset,
    limits: SignificanceLimits = NO_LIMITS,
    *,
    score_of: Callable[[pd.DataFrame], pd.Series] = score,
) -> Selection:
    """The best passing backtest of each hour and coin; ties go to more trades, the shorter timeframe, then the name.

    `score_of` ranks them; the rows hold `score` whatever ranked them.

    Parameter sets were chosen in sample (see `parameter_choice`); filters and score are those of the whole window. A
    backtest that failed with an error counts as that and fails no filter besides.
    """
    is_sound = backtests["error"].isna()
    sound = backtests[is_sound]
    chosen = sound
    if limits != NO_LIMITS:
        chosen = with_significance(sound, sound)
    tests = _tests(chosen, preset, limits)
    good = pd.Series(True, index=chosen.index)
    for test in tests.values():
        good &= test
    failed: dict[int, dict[str, int]] = {}
    for name, test in tests.items():
        _count(failed, name, chosen.loc[~test, "hour_ms"])
    _count(failed, "failed with an error", backtests.loc[~is_sound, "hour_ms"])
    passing = chosen[good]
    if passing.empty:
        return Selection(STRATEGY_SELECTIONS.empty(), {}, failed)
    ranked = passing.assign(
        score=score(passing), _rank=score_of(passing), _order=passing["timeframe"].map(_ORDER)
    ).sort_values(
        [*_COIN, "_rank", "total_trades", "_order", "strategy", "parameters"],
        ascending=[True, True, False, False, True, True, True],
        kind="stable",
    )
    best = with_significance(ranked.drop_duplicates(_COIN), sound)
    best = best.assign(history_pct=history_pct(best), mean_bps=mean_bps(best))
    return Selection(
        STRATEGY_SELECTIONS.conform(best[[name for name in STRATEGY_SELECTIONS.columns if name in best.columns]]),
        {int(str(hour)): int(count) for hour, count in passing["hour_ms"].value_counts().items()},
        failed,
    )


def _count(counts: dict[int, dict[str, int]], name: str, hours: pd.Series) -> None:
    """Add how often each hour occurs, under a name."""
    for hour, count in hours.value_counts(sort=False).items():
        counts.setdefault(int(str(hour)), {})[name] = int(count)


def with_significance(backtests: pd.DataFrame, tried: pd.DataFrame) -> pd.DataFrame:
    """`backtests` with what luck alone could have done, given all that was `tried` on their coins in the hour.

    Near parameter sets are no independent tries: those of one strategy and timeframe count together as
    `effective_trials` of them, and families add up. By luck alone the t statistics of independent tries (Sharpe ratio
    per bar times the square root of the bars, whatever the timeframe) spread by 1, so that is the spread that the
    deflated Sharpe ratio takes; the spread that is seen has costs and merit in it as well, and that of a few trades no
    meaning. Sets that a search proposed by what others had earned (`searched`) are no sample, so their spread says
    nothing: each counts as an independent try. Docs: statistics.md.

    Args:
        tried: rows of `backtest_results`, one per hour, timeframe, symbol and strategy; each stands for all its
            parameter sets. A coin in another hour is another coin.

    Returns:
        With the columns `configurations_tried`, `configurations_effective`; `deflated_sharpe`, NaN below
        `least_trades_of_sharpe` trades; `p_value_corrected` for the tries on the coin and `p_value_hour` for those on
        all coins of the hour; `least_trades`, how many wins in a row could pass with so many tries. The last three are
        NaN where there is no p-value.
    """
    of_coin = (
        tried.assign(_effective=_effective(tried))
        .groupby(_COIN)
        .agg(count=("configurations", "sum"), effective=("_effective", "sum"))
    )
    # A coin on which nothing traded was tried all the same.
    of_coin["effective"] = of_coin["effective"].clip(lower=1.0)
    of_hour = of_coin.groupby("hour_ms")["effective"].sum()
    coins = backtests[_COIN].join(of_coin, on=_COIN)
    hours = backtests["hour_ms"].map(of_hour)
    columns = [backtests[name].tolist() for name in ("sharpe_ratio", "timeframe", "bars", "skewness", "kurtosis")]
    break_even = backtests["break_even"].astype(np.float64)
    is_enough = backtests["total_trades"] >= least_trades_of_sharpe(break_even, coins["effective"])
    deflated = [
        deflated_sharpe(
            sharpe / math.sqrt(_BARS_PER_YEAR[timeframe]),
            bars,
            skewness,
            kurtosis,
            trials=effective,
            spread_of_trials=1 / math.sqrt(max(bars, 1)),
        )
        if enough
        else math.nan
        for sharpe, timeframe, bars, skewness, kurtosis, enough, effective in zip(
            *columns, is_enough.tolist(), coins["effective"].tolist(), strict=True
        )
    ]
    p_value = backtests["p_value"].astype(np.float64)
    return backtests.assign(
        configurations_tried=coins["count"],
        configurations_effective=coins["effective"],
        deflated_sharpe=np.array(deflated, dtype=np.float64),
        p_value_corrected=corrected(p_value, coins["effective"]),
        p_value_hour=corrected(p_value, hours),
        least_trades=least_trades(break_even, coins["effective"]),
    )


def _effective(tried: pd.DataFrame) -> pd.Series:
    """How many independent tries each row's parameter sets are worth; 0 where none of a grid's traded."""
    scale = np.sqrt(tried["bars"] / tried["timeframe"].map(_BARS_PER_YEAR).astype(np.float64))
    traded = tried["configurations_traded"]
    # The variance of a sample: that of the population is stored.
    variance = (tried["sharpe_spread"] * scale) ** 2 * traded / (traded - 1).clip(lower=1)
    effective = np.where(traded > 0, effective_trials(traded, variance), 0.0)
    # A frame of one strategy's grid, or of an older test, does not have the column.
    searched = tried["searched"].astype(np.float64) if "searched" in tried else np.nan
    return pd.Series(np.where(np.isnan(searched), effective, searched), index=tried.index)


def _tests(backtests: pd.DataFrame, preset: Preset, limits: SignificanceLimits) -> dict[str, pd.Series]:
    """Whether each backtest passes, by the description of failing."""
    tests = {
        f"fewer than {preset.trades} trades": backtests["total_trades"] >= preset.trades,
        f"win rate below {preset.win_rate:g} %": backtests["win_rate"] >= preset.win_rate,
    }
    if preset.profit_factor is not None:
        enough = backtests["profit_factor"] >= preset.profit_factor
        tests[f"profit factor below {preset.profit_factor:g}"] = enough
    if preset.max_drawdown is not None:
        tests[f"drawdown beyond {preset.max_drawdown:g} %"] = backtests["max_drawdown"] >= preset.max_drawdown
    if preset.total_pnl is not None:
        tests[f"PnL below ${preset.total_pnl:g}"] = backtests["total_pnl"] >= preset.total_pnl
    if limits.min_deflated_sharpe is not None:
        enough = backtests["deflated_sharpe"] >= limits.min_deflated_sharpe
        tests[f"deflated Sharpe ratio below {limits.min_deflated_sharpe:g} or none"] = enough
    if limits.max_p_value is not None:
        few = backtests["p_value_corrected"] <= limits.max_p_value
        tests[f"corrected p-value above {limits.max_p_value:g} or none"] = few
    if limits.min_history_pct is not None:
        enough = history_pct(backtests) >= limits.min_history_pct
        tests[f"less than {limits.min_history_pct:g} % of the window"] = enough
    return tests


def best_first(backtests: pd.DataFrame) -> pd.DataFrame:
    """Backtests with trades, the largest PnL first; of equal ones the shorter timeframe, then by name."""
    traded = backtests[backtests["total_trades"] > 0]
    ordered = traded.assign(_order=traded["timeframe"].map(_ORDER)).sort_values(
        ["total_pnl", "_order", "strategy", "parameters"], ascending=[False, True, True, True], kind="stable"
    )
    return ordered.drop(columns="_order")


def coin_summary(backtests: pd.DataFrame) -> pd.DataFrame:
    """The summary by coin: the timeframe with the largest PnL, its PnL and win rate, and the best of each timeframe.

    Returns:
        Columns symbol, optimal_timeframe, optimal_pnl, optimal_win_rate, and for each timeframe present its best
        strategy with PnL and win rate as text; one row per coin, the largest PnL first.
    """
    ordered = best_first(backtests)
    best: dict[str, dict[str, object]] = {}
    for row in ordered[["symbol", "timeframe", "strategy", "total_pnl", "win_rate"]].to_dict("records"):
        coin = best.setdefault(
            row["symbol"],
            {
                "symbol": row["symbol"],
                "optimal_timeframe": row["timeframe"],
                "optimal_pnl": row["total_pnl"],
                "optimal_win_rate": row["win_rate"],
                **dict.fromkeys(_ORDER, ""),
            },
        )
        if not coin[row["timeframe"]]:
            coin[row["timeframe"]] = f"{row['strategy']} ${row['total_pnl']:.0f} {row['win_rate']:.0f} %"
    columns = ["symbol", "optimal_timeframe", "optimal_pnl", "optimal_win_rate", *_ORDER]
    summary = pd.DataFrame(list(best.values()), columns=columns)
    return summary.sort_values(["optimal_pnl", "symbol"], ascending=[False, True]).reset_index(drop=True)
