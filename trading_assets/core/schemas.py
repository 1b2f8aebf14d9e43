"""One pandera model per table of the pipeline: the contract of its stage, and the source of its SQL table.

A `Table` ties a model to its key. No SQL and no Dagster here. Times are `*_ms` (int64 UTC ms); `hour_ms` is the
start of the partition's hour and its end is the as-of; columns that are percentages say so in their description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
import pandera.pandas as pa

from trading_assets.core.errors import DataError
from trading_assets.core.models import EntryOrder
from trading_assets.core.row_checks import PlainChecks
from trading_assets.core.timeframes import TRADED_TIMEFRAMES

_TIMEFRAMES = [timeframe.value for timeframe in TRADED_TIMEFRAMES]
_SCAN_ID = r"^scan-\d{8}-\d{6}$"

# Columns that several tables share read alike in all of them.
_SYMBOL = "the venue's symbol"
_TIMEFRAME = "length of the candles, minutes with an m"
_STRATEGY = "name in the registry of strategies"
_SCAN = "scan-YYYYMMDD-HHMMSS of the as-of"
_MEAN_R = "mean result of the closed trades in multiples of their risk, the loss at the stop before costs"
_TAKER_FEE = "taker fee it was computed with, fraction of notional; none in rows of older versions"
_SLIPPAGE = "slippage it was computed with, basis points"
_COST_MODEL = "cost model it was computed with (TRADING_ASSETS_COST_MODEL)"
_ENTRY_ORDER = "how its entries waited (TRADING_ASSETS_ENTRY_ORDER); none: at the market"
_ENTRY_OFFSET = "how far from the signal's price they waited, percent"
_ENTRY_BARS = "so many bars"
_MAKER_FEE = "fee of an entry that waited, fraction of notional"
_ENTRY_DEVIATION = "how far from the signal's price a chase followed the market, percent"
_NOTIONAL = "size of a trade it was computed with, USD"
_LIQUIDATION = "distance of the liquidation it was computed with, fraction of the entry's price"
_SETTINGS = "version of the settings of research that it was made with"
_SEARCHED = "how many of the configurations a search proposed: each counts as a try of its own; none: those of a grid"
_P_VALUE = (
    "chance of such trades if none earned anything on average, by itself; of profitable chosen parameter sets alone"
)


RULES_KNOWN, RULES_ASSUMED = "known", "assumed"


class MarketScan(pa.DataFrameModel):
    """Coins worth trading as of the end of an hour; one row per hour and symbol."""

    hour_ms: int = pa.Field(ge=0, description="start of the partition's hour, UTC ms")
    scan_id: str = pa.Field(str_matches=_SCAN_ID, description=_SCAN)
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    rank: int = pa.Field(ge=1, description="1 is the most volatile")
    price: float = pa.Field(gt=0, description="last close before the as-of, USDT")
    volume_24h: float = pa.Field(ge=0, description="turnover of the 24 hours before the as-of, USD")
    price_change_24h: float = pa.Field(gt=-100, description="change over the same hours, percent")
    volatility_24h: float = pa.Field(ge=0, description="(high - low) / low over the same hours, percent")
    size_error_pct: float = pa.Field(ge=0, description="distortion of the position size by the quantity step, percent")
    max_price: float = pa.Field(
        nullable=True, gt=0, description="above it the position would be smaller than the smallest quantity, USDT"
    )
    timestamp_ms: int = pa.Field(ge=0, description="the as-of, UTC ms")
    contract_rules: str = pa.Field(
        nullable=True,
        isin=[RULES_KNOWN, RULES_ASSUMED],
        description="tick, lot and leverage: known (the venue's list of that hour) or assumed (a later list's)",
    )
    rules_digest: str = pa.Field(nullable=True, description="digest of the contract's tick, lots and leverage")
    settings_version: float = pa.Field(nullable=True, ge=0, description=_SETTINGS)

    class Config:
        strict = True
        unique = ["hour_ms", "symbol"]  # noqa: RUF012 (pandera's own form)
        name = "market_scan"


class CandleCoverage(pa.DataFrameModel):
    """What the candle store holds of a symbol and timeframe for an hour; one row per hour and symbol."""

    hour_ms: int = pa.Field(ge=0, description="start of the partition's hour, UTC ms")
    timeframe: str = pa.Field(isin=_TIMEFRAMES, description=_TIMEFRAME)
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    first_ms: int = pa.Field(ge=0, description="open time of the first candle held")
    last_ms: int = pa.Field(ge=0, description="open time of the last candle held")
    bars: int = pa.Field(ge=0, description="candles held, warm-up included")
    expected_bars: int = pa.Field(ge=1, description="candles a complete window and warm-up has since listing")
    missing_bars: int = pa.Field(ge=0, description="gaps the exchange itself has")
    coverage_pct: float = pa.Field(ge=0, le=100, description="bars / expected_bars, percent")
    history_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="bars / those of a whole window and warm-up, percent"
    )
    content_hash: str = pa.Field(str_matches=r"^[0-9a-f]{16}$", description="64-bit hash of the candles' bytes")
    fault: str = pa.Field(
        nullable=True, description="why this hour's backtests and entries leave these candles out; none: they are good"
    )
    deep_faults: str = pa.Field(
        nullable=True,
        description="what is wrong with older candles, which some strategies alone read: JSON, by how far back of the "
        "as-of they read, ms; none: they are good, or `fault` says it of all",
    )
    settings_version: float = pa.Field(nullable=True, ge=0, description=_SETTINGS)

    class Config:
        strict = True
        unique = ["hour_ms", "timeframe", "symbol"]  # noqa: RUF012
        name = "candle_coverage"


class FundingCoverage(pa.DataFrameModel):
    """What the candle store holds of a symbol's funding payments for an hour; one row per hour and symbol."""

    hour_ms: int = pa.Field(ge=0, description="start of the partition's hour, UTC ms")
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    first_ms: int = pa.Field(ge=0, description="first payment held; 0 without payments")
    last_ms: int = pa.Field(ge=0, description="last payment held; 0 without payments")
    payments: int = pa.Field(ge=0, description="funding payments held")
    last_rate: float = pa.Field(nullable=True, description="fraction of notional that longs paid last")
    content_hash: str = pa.Field(str_matches=r"^[0-9a-f]{16}$", description="64-bit hash of the payments' bytes")
    fault: str = pa.Field(
        nullable=True,
        description="why this hour's backtests leave the coin out; none: its payments are good",
    )
    settings_version: float = pa.Field(nullable=True, ge=0, description=_SETTINGS)

    class Config:
        strict = True
        unique = ["hour_ms", "symbol"]  # noqa: RUF012
        name = "funding_coverage"


class BacktestResults(pa.DataFrameModel):
    """A strategy's backtest over a window; one row per hour, timeframe, symbol, strategy and parameter set kept.

    Kept are the parameter set that was chosen in sample, and the first that failed with an error. What is needed of
    the others to tell merit from luck is in `configurations` and the columns after it.
    """

    hour_ms: int = pa.Field(ge=0, description="start of the partition's hour, UTC ms")
    timeframe: str = pa.Field(isin=_TIMEFRAMES, description=_TIMEFRAME)
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    # `strategy` is a method of every pandera model.
    strategy_name: str = pa.Field(alias="strategy", str_length={"min_value": 1}, description=_STRATEGY)
    parameters: str = pa.Field(description="parameter set, canonical JSON")
    scan_id: str = pa.Field(str_matches=_SCAN_ID, description=_SCAN)
    bars: int = pa.Field(ge=0, description="bars in the window, warm-up excluded")
    total_trades: int = pa.Field(ge=0, description="closed trades")
    win_rate: float = pa.Field(ge=0, le=100, description="percent of closed trades with pnl > 0")
    profit_factor: float = pa.Field(ge=0, description="gross profit / gross loss, capped (metrics.py)")
    total_return: float = pa.Field(description="total_pnl / capital, percent")
    max_drawdown: float = pa.Field(le=0, description="of equity marked at every close, percent")
    sharpe_ratio: float = pa.Field(description="annualised, from equity changes per bar")
    total_pnl: float = pa.Field(description="closed trades, net of fees and funding, USD")
    confidence_avg: float = pa.Field(ge=0, le=100, description="of the trades' signals, percent; 0 without trades")
    fees_paid: float = pa.Field(ge=0, description="USD")
    funding_paid: float = pa.Field(description="USD, negative is received")
    exposure_pct: float = pa.Field(ge=0, le=100, description="share of bars in a position")
    skewness: float = pa.Field(description="of equity changes per bar; 0 is symmetric")
    kurtosis: float = pa.Field(ge=0, description="of equity changes per bar; 3 is normal, more has fatter tails")
    in_sample_trades: int = pa.Field(ge=0, description="closed trades that ended before the out-of-sample part")
    in_sample_score: float = pa.Field(ge=0, description="score of these trades; decides the parameter set")
    in_sample_pnl: float = pa.Field(description="PnL of these trades, USD")
    out_of_sample_trades: int = pa.Field(ge=0, description="closed trades that began in the out-of-sample part")
    out_of_sample_pnl: float = pa.Field(description="PnL of these trades, USD")
    p_value: float = pa.Field(nullable=True, gt=0, le=1, description=_P_VALUE)
    break_even: float = pa.Field(
        nullable=True, gt=0, lt=1, description="share of wins at which its best and worst possible trades earn nothing"
    )
    mean_r: float = pa.Field(nullable=True, description=_MEAN_R)
    configurations: int = pa.Field(ge=1, description="parameter sets tried on this symbol and timeframe")
    configurations_traded: int = pa.Field(ge=0, description="those of them whose equity ever changed")
    sharpe_mean: float = pa.Field(description="mean Sharpe ratio of those that traded")
    sharpe_spread: float = pa.Field(ge=0, description="standard deviation (of the population) of the same")
    searched: float = pa.Field(nullable=True, ge=1, description=_SEARCHED)
    error: str = pa.Field(nullable=True, description="why this backtest failed, if it did")
    taker_fee: float = pa.Field(nullable=True, ge=0, lt=1, description=_TAKER_FEE)
    slippage_bps: float = pa.Field(nullable=True, ge=0, description=_SLIPPAGE)
    cost_model: str = pa.Field(nullable=True, description=_COST_MODEL)
    notional: float = pa.Field(nullable=True, gt=0, description=_NOTIONAL)
    liquidation_distance: float = pa.Field(nullable=True, ge=0, description=_LIQUIDATION)
    entry_order: str = pa.Field(nullable=True, isin=list(EntryOrder), description=_ENTRY_ORDER)
    entry_offset_pct: float = pa.Field(nullable=True, description=_ENTRY_OFFSET)
    entry_bars: float = pa.Field(nullable=True, ge=1, description=_ENTRY_BARS)
    maker_fee: float = pa.Field(nullable=True, ge=0, lt=1, description=_MAKER_FEE)
    entry_deviation_pct: float = pa.Field(nullable=True, ge=0, description=_ENTRY_DEVIATION)
    held_back_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="share of the window that was held back from the choice, percent"
    )
    settings_version: float = pa.Field(nullable=True, ge=0, description=_SETTINGS)

    class Config:
        strict = True
        unique = ["hour_ms", "timeframe", "symbol", "strategy", "parameters"]  # noqa: RUF012
        name = "backtest_results"


class StrategySelections(pa.DataFrameModel):
    """The best strategy and timeframe of a coin; at most one row per hour and symbol."""

    hour_ms: int = pa.Field(ge=0, description="start of the partition's hour, UTC ms")
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    timeframe: str = pa.Field(isin=_TIMEFRAMES, description=_TIMEFRAME)
    # `strategy` is a method of every pandera model.
    strategy_name: str = pa.Field(alias="strategy", str_length={"min_value": 1}, description=_STRATEGY)
    parameters: str = pa.Field(description="parameter set, canonical JSON")
    scan_id: str = pa.Field(str_matches=_SCAN_ID, description=_SCAN)
    score: float = pa.Field(ge=0, description="win_rate * profit_factor * ln(total_trades + 1)")
    total_trades: int = pa.Field(ge=1, description="closed trades of the backtest")
    win_rate: float = pa.Field(ge=0, le=100, description="percent of closed trades with pnl > 0")
    profit_factor: float = pa.Field(ge=0, description="gross profit / gross loss, capped (metrics.py)")
    max_drawdown: float = pa.Field(le=0, description="of equity marked at every close, percent")
    total_pnl: float = pa.Field(description="closed trades, net of fees and funding, USD")
    confidence_avg: float = pa.Field(ge=0, le=100, description="of the trades' signals, percent")
    configurations_tried: int = pa.Field(
        ge=1, description="timeframes, strategies and parameter sets backtested on the coin in this hour"
    )
    configurations_effective: float = pa.Field(
        nullable=True, ge=1, description="as how many independent tries they count, since near ones are alike"
    )
    deflated_sharpe: float = pa.Field(
        nullable=True,
        ge=0,
        le=1,
        description="chance that the Sharpe ratio is more than the best of so many tries by luck; none below 20 trades "
        "or least_trades",
    )
    p_value: float = pa.Field(nullable=True, gt=0, le=1, description=_P_VALUE)
    p_value_corrected: float = pa.Field(
        nullable=True, gt=0, le=1, description="the p-value, corrected for all that was tried on the coin"
    )
    p_value_hour: float = pa.Field(
        nullable=True, gt=0, le=1, description="the p-value, corrected for all that was tried on all coins of the hour"
    )
    least_trades: float = pa.Field(
        nullable=True, ge=1, description="trades, all won, that it takes until the corrected p-value could be 0.05"
    )
    out_of_sample_trades: int = pa.Field(ge=0, description="closed trades in the part held back from the choice")
    out_of_sample_pnl: float = pa.Field(description="PnL of these trades, USD")
    mean_r: float = pa.Field(nullable=True, description=_MEAN_R)
    mean_bps: float = pa.Field(
        nullable=True, description="mean result of the closed trades, basis points of a position's value"
    )
    history_pct: float = pa.Field(
        nullable=True, ge=0, le=100, description="bars of the backtest / those of its timeframe's window, percent"
    )
    taker_fee: float = pa.Field(nullable=True, ge=0, lt=1, description=_TAKER_FEE)
    slippage_bps: float = pa.Field(nullable=True, ge=0, description=_SLIPPAGE)
    cost_model: str = pa.Field(nullable=True, description=_COST_MODEL)
    notional: float = pa.Field(nullable=True, gt=0, description=_NOTIONAL)
    liquidation_distance: float = pa.Field(nullable=True, ge=0, description=_LIQUIDATION)
    entry_order: str = pa.Field(nullable=True, isin=list(EntryOrder), description=_ENTRY_ORDER)
    entry_offset_pct: float = pa.Field(nullable=True, description=_ENTRY_OFFSET)
    entry_bars: float = pa.Field(nullable=True, ge=1, description=_ENTRY_BARS)
    maker_fee: float = pa.Field(nullable=True, ge=0, lt=1, description=_MAKER_FEE)
    entry_deviation_pct: float = pa.Field(nullable=True, ge=0, description=_ENTRY_DEVIATION)
    settings_version: float = pa.Field(nullable=True, ge=0, description=_SETTINGS)

    class Config:
        strict = True
        unique = ["hour_ms", "symbol"]  # noqa: RUF012
        name = "strategy_selections"


class GridResults(BacktestResults):
    """What a setting of a grid would have come to on a coin; one row per hour and symbol: the setting that was chosen
    in sample, or why none could be used. Of the shape of `backtest_results`, and in a table of its own: nothing that
    looks for a strategy's entries reads it.

    A trade is one life of a grid: laid flat by the candles before it, closed at the market at its end. `parameters` is
    the setting, `timeframe` that of the candles it was run on, `notional` the capital of all its levels together.
    """

    class Config:
        strict = True
        unique = ["hour_ms", "timeframe", "symbol", "strategy", "parameters"]  # noqa: RUF012
        name = "grid_results"


class GridSelections(StrategySelections):
    """Coins on which a grid passes the filters of selection, with its setting; at most one row per hour and symbol. Of
    the shape of `strategy_selections`, and in a table of its own: no entry signal comes of it."""

    class Config:
        strict = True
        unique = ["hour_ms", "symbol"]  # noqa: RUF012
        name = "grid_selections"


class EntrySignals(pa.DataFrameModel):
    """A decision to enter, with all that an order needs; one row per account, symbol, timeframe, strategy, bar."""

    signal_id: str = pa.Field(unique=True, description="deterministic: account, symbol, timeframe, strategy, bar")
    hour_ms: int = pa.Field(ge=0, description="hour of the selection it came from, UTC ms")
    account: str = pa.Field(str_length={"min_value": 1}, description="trading account in the ledger")
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    timeframe: str = pa.Field(isin=_TIMEFRAMES, description=_TIMEFRAME)
    # `strategy` is a method of every pandera model.
    strategy_name: str = pa.Field(alias="strategy", str_length={"min_value": 1}, description=_STRATEGY)
    parameters: str = pa.Field(description="parameter set, canonical JSON")
    signal_timestamp_ms: int = pa.Field(ge=0, description="close of the signal's bar, UTC ms")
    ttl_ms: int = pa.Field(ge=0, description="moment at which the signal expires, UTC ms")
    confidence: float = pa.Field(ge=0, le=100, description="percent")
    position_type: str = pa.Field(isin=["LONG", "SHORT"], description="side of the position")
    entry_price: float = pa.Field(gt=0, description="close of the signal's bar, USDT")
    stop_loss: float = pa.Field(gt=0, description="on the tick")
    take_profit: float = pa.Field(gt=0, description="on the tick")
    position_size: float = pa.Field(gt=0, description="USD; notional or margin by the sizing setting")
    leverage: float = pa.Field(ge=1, description="set at the exchange before the order")
    rsi: float = pa.Field(nullable=True, description="at the signal's bar, 0 to 100")
    bb_position: float = pa.Field(nullable=True, description="-1 on the lower Bollinger band, 1 on the upper")
    btc_trend: str = pa.Field(
        nullable=True, isin=["BULLISH", "BEARISH", "NEUTRAL"], description="trend of BTCUSDT at the signal's bar"
    )
    funding_rate: float = pa.Field(nullable=True, description="last rate paid, fraction of notional")
    risk_reward_ratio: float = pa.Field(gt=0, description="distance to the target / distance to the stop")
    status: str = pa.Field(
        isin=["active", "executing", "executed", "rejected", "expired", "failed"],
        description="active -> executing -> executed; rejected, expired and failed are final",
    )
    reason: str = pa.Field(nullable=True, description="why it was refused, expired or failed")
    order_link_id: str = pa.Field(nullable=True, description="our id of the order, from signal_id")
    order_id: str = pa.Field(nullable=True, description="the exchange's id of the order")
    executed_at_ms: float = pa.Field(nullable=True, description="moment of the fill, UTC ms")
    executed_price: float = pa.Field(nullable=True, description="average price of the fill, USDT")
    created_at_ms: int = pa.Field(ge=0, description="moment at which the signal was found, UTC ms")
    run_id: str = pa.Field(nullable=True, description="Dagster run that found it")
    entry_order: str = pa.Field(
        nullable=True, isin=list(EntryOrder), description="how the position is entered; none: at the market"
    )
    limit_price: float = pa.Field(nullable=True, gt=0, description="of an entry that waits, on the tick")
    limit_until_ms: float = pa.Field(nullable=True, description="so long it waits, UTC ms")
    exit_plan: str = pa.Field(
        nullable=True, description="JSON: what ends its position besides stop and target; none: nothing does"
    )
    settings_version: float = pa.Field(
        nullable=True, ge=0, description="newest change of settings and flags that it was decided under; 0 before any"
    )

    class Config:
        strict = True
        name = "entry_signals"


class LiveParity(pa.DataFrameModel):
    """Live held against the backtest; one row per day and decision that either of them made, or had open that day, and
    per filled order of a grid or DCA plan (strategy `grid` or `dca`)."""

    day_ms: int = pa.Field(ge=0, description="start of the partition's day, UTC ms")
    signal_id: str = pa.Field(
        str_length={"min_value": 1}, description="the decision, as in entry_signals; of a grid or plan the order"
    )
    account: str = pa.Field(str_length={"min_value": 1}, description="trading account in the ledger")
    hour_ms: int = pa.Field(ge=0, description="hour of the selection, UTC ms")
    symbol: str = pa.Field(str_length={"min_value": 1}, description=_SYMBOL)
    timeframe: str = pa.Field(isin=_TIMEFRAMES, description=_TIMEFRAME)
    # `strategy` is a method of every pandera model.
    strategy_name: str = pa.Field(alias="strategy", str_length={"min_value": 1}, description=_STRATEGY)
    bar_close_ms: int = pa.Field(ge=0, description="close of the decision's bar, UTC ms")
    position_type: str = pa.Field(isin=["LONG", "SHORT"], description="side of the position")
    expected: int = pa.Field(isin=[0, 1], description="1 where the backtest has this entry")
    live: int = pa.Field(isin=[0, 1], description="1 where live found this signal")
    outcome: str = pa.Field(str_length={"min_value": 1}, description="agrees, or in what live differs, or why")
    explained: int = pa.Field(isin=[0, 1], description="1 where live agrees, or the ledger tells why it differs")
    reason: str = pa.Field(nullable=True, description="what the ledger says, or both values")
    entry_price: float = pa.Field(nullable=True, gt=0, description="close of the decision's bar, USDT")
    live_entry_price: float = pa.Field(nullable=True, gt=0, description="average price of live's fill, USDT")
    slippage_bps: float = pa.Field(nullable=True, description="live's fill behind that close; positive costs money")
    exit_reason: str = pa.Field(nullable=True, description="of the backtest: stop, target or open")
    live_exit_reason: str = pa.Field(nullable=True, description="of live: stop, target, liquidation, other or open")
    exit_price: float = pa.Field(nullable=True, gt=0, description="of the backtest, slippage included, USDT")
    live_exit_price: float = pa.Field(nullable=True, gt=0, description="average of live's closings, USDT")
    exit_difference_bps: float = pa.Field(nullable=True, description="live's exit behind it; positive costs money")

    class Config:
        strict = True
        unique = ["day_ms", "signal_id"]  # noqa: RUF012
        name = "live_parity"


@dataclass(frozen=True)
class Table:
    """A table of the pipeline: its model, its primary key and the column that tells a row's partition."""

    model: type[pa.DataFrameModel]
    key: tuple[str, ...]
    partition: str = "hour_ms"

    @property
    def name(self) -> str:
        return str(self.model.to_schema().name)

    @property
    def columns(self) -> list[str]:
        return list(self.dtypes)

    @property
    def dtypes(self) -> dict[str, Any]:
        """The type of each column, by name."""
        return _dtypes(self.model)

    def empty(self) -> pd.DataFrame:
        """No rows, every column, right types."""
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in self.dtypes.items()})

    def conform(self, rows: pd.DataFrame, only: Sequence[str] | None = None) -> pd.DataFrame:
        """Columns in the model's order and types, rows sorted by key; a nullable column that is absent has no value.

        Values are not checked here.

        Args:
            only: the columns that there are, those of the key among them; None: all of the model.

        Raises:
            DataError: a column is missing or unknown, or cannot be cast.
        """
        columns = self.columns if only is None else [name for name in self.columns if name in only]
        if rows.empty:
            return self.empty()[columns]
        absent = [name for name in _nullable(self.model) if name in columns and name not in rows.columns]
        rows = rows.assign(**dict.fromkeys(absent, None)) if absent else rows
        found, expected = set(rows.columns), set(columns)
        if found != expected:
            raise DataError(
                f"table {self.name}: missing columns {sorted(expected - found)}, unknown {sorted(found - expected)}"
            )
        try:
            held, wanted = dict(rows.dtypes), self.dtypes
            other = {name: wanted[name] for name in columns if held[name] != wanted[name]}
            typed = rows[columns].astype(other) if other else rows[columns]
        except (TypeError, ValueError) as error:
            raise DataError(f"table {self.name}: a column has the wrong type: {error}") from error
        return typed.sort_values(list(self.key), kind="stable").reset_index(drop=True)

    def faults(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """What pandera would refuse of rows as a database gives them, by plain comparisons: an order waits for it.

        A value of another type than its column's is refused here; `conform` casts it, or raises.
        """
        return _plain_checks(self.model).faults(rows)


@cache
def _nullable(model: type[pa.DataFrameModel]) -> tuple[str, ...]:
    return tuple(str(name) for name, column in model.to_schema().columns.items() if column.nullable)


@cache
def _dtypes(model: type[pa.DataFrameModel]) -> dict[str, Any]:
    return {str(name): dtype for name, dtype in model.empty().dtypes.items()}


@cache
def _plain_checks(model: type[pa.DataFrameModel]) -> PlainChecks:
    return PlainChecks(model, _dtypes(model))


MARKET_SCAN = Table(MarketScan, ("hour_ms", "symbol"))
CANDLE_COVERAGE = Table(CandleCoverage, ("hour_ms", "timeframe", "symbol"))
FUNDING_COVERAGE = Table(FundingCoverage, ("hour_ms", "symbol"))
BACKTEST_RESULTS = Table(BacktestResults, ("hour_ms", "timeframe", "symbol", "strategy", "parameters"))
STRATEGY_SELECTIONS = Table(StrategySelections, ("hour_ms", "symbol"))
GRID_RESULTS = Table(GridResults, BACKTEST_RESULTS.key)
GRID_SELECTIONS = Table(GridSelections, STRATEGY_SELECTIONS.key)
ENTRY_SIGNALS = Table(EntrySignals, ("signal_id",))
LIVE_PARITY = Table(LiveParity, ("day_ms", "signal_id"), partition="day_ms")

HOURLY_TABLES = (MARKET_SCAN, CANDLE_COVERAGE, FUNDING_COVERAGE, BACKTEST_RESULTS, STRATEGY_SELECTIONS)

GRID_TABLES = (GRID_RESULTS, GRID_SELECTIONS)
"""Written by the hour's research where grids are researched (TRADING_ASSETS_GRID_RESEARCH)."""
