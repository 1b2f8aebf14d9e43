"""Settings of research: scan, candles that are left out, backtests, selection."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_assets.core.setting_changes import RESEARCH


class ResearchFields(BaseSettings):
    """What an hour's rows depend on."""

    model_config = SettingsConfigDict(defer_build=True)

    # Scan.
    min_volume_24h: float = Field(1_000_000.0, ge=0, json_schema_extra=RESEARCH, description="24 h turnover, USD.")
    min_volatility: float = Field(
        2.0, ge=0, json_schema_extra=RESEARCH, description="24 h range (high - low) / low, percent."
    )
    max_symbols: int = Field(30, ge=1, json_schema_extra=RESEARCH, description="Keep so many, the most volatile first.")
    max_size_error_pct: float = Field(
        25.0,
        gt=0,
        json_schema_extra=RESEARCH,
        description="Drop coins whose quantity step distorts the position size by more, percent.",
    )

    # Candles that are left out.
    min_candle_coverage_pct: float = Field(
        95.0,
        ge=0,
        le=100,
        json_schema_extra=RESEARCH,
        description="A coin takes no part in an hour that holds less of its candles, percent.",
    )
    max_candle_age_bars: int = Field(
        2,
        ge=0,
        json_schema_extra=RESEARCH,
        description="Nor one whose newest candle closed more candles than this before the hour's end.",
    )
    max_candle_jump_pct: float = Field(
        50.0,
        gt=0,
        json_schema_extra=RESEARCH,
        description="Nor one with a candle that opens so far from the close before it, percent.",
    )

    # Backtests.
    parameters: str = Field(
        "described",
        min_length=1,
        json_schema_extra=RESEARCH,
        description="How far parameters are varied: described (what the strategies' description gives is fixed), "
        "declared (every set that a strategy names), or a TOML or JSON file with values for each strategy. A "
        "strategy's row may say it for itself: trading-assets strategies set.",
    )
    backtest_capital: float | None = Field(
        None,
        gt=0,
        json_schema_extra=RESEARCH,
        description="Capital and notional of each simulated trade, USD; default: the value of a live position, so that "
        "money means the same in backtests and live.",
    )
    taker_fee: float = Field(
        0.00055, ge=0, lt=0.1, json_schema_extra=RESEARCH, description="Taker fee, fraction of notional."
    )
    maker_fee: float = Field(
        0.0002,
        ge=0,
        lt=0.1,
        json_schema_extra=RESEARCH,
        description="Fee of an entry that waited at its price (entry_order) in backtests, fraction of notional.",
    )
    slippage_bps: float = Field(
        2.0, ge=0, lt=1000, json_schema_extra=RESEARCH, description="Slippage of a market fill, basis points."
    )
    cost_model: Literal["flat", "liquidity", "stress"] = Field(
        "flat",
        json_schema_extra=RESEARCH,
        description="What fills cost in backtests and reports: flat (slippage_bps everywhere), liquidity (by turnover "
        "and range of the bar) or stress (besides, stops fill halfway to the worst price of their bar). A report shows "
        "its result under each.",
    )
    out_of_sample_pct: float = Field(
        25.0,
        ge=0,
        lt=100,
        json_schema_extra=RESEARCH,
        description="Newest part of the window, which plays no part in the choice of parameters, percent.",
    )

    # Grids.
    grid_research: bool = Field(
        False,
        json_schema_extra=RESEARCH,
        description="The hour's research tries the declared settings of grids on each coin, too: grid_results and "
        "grid_selections. A person starts what was selected: trading-assets grid start --from-selection.",
    )
    grid_research_capital: float = Field(
        500.0,
        gt=0,
        json_schema_extra=RESEARCH,
        description="Value of all levels of a grid together in that research, USD.",
    )

    backfill_hours_per_run: int | None = Field(
        None,
        ge=1,
        description="A backfill becomes runs of so many hours each, which several machines can share; empty: it is one "
        "run.",
    )

    # Selection.
    selection_preset: Literal["strict", "volume", "volume_loose"] = Field(
        "strict",
        json_schema_extra=RESEARCH,
        description="Filter preset: strict (profit factor and drawdown count), volume (number of trades and PnL count) "
        "or volume_loose (the same with lower limits).",
    )
    min_deflated_sharpe: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra=RESEARCH,
        description="Drop backtests with a smaller deflated Sharpe ratio, such as 0.9, and those with fewer than 20 "
        "trades, which have none; default: none is dropped.",
    )
    min_trades: int | None = Field(
        None,
        ge=1,
        json_schema_extra=RESEARCH,
        description="Least number of closed trades of a backtest; default: the preset's.",
    )
    min_win_rate: float | None = Field(
        None,
        ge=0,
        le=100,
        json_schema_extra=RESEARCH,
        description="Least win rate of a backtest, percent; default: the preset's.",
    )
    min_profit_factor: float | None = Field(
        None,
        ge=0,
        json_schema_extra=RESEARCH,
        description="Least profit factor of a backtest, 0 asks for none; default: the preset's.",
    )
    max_backtest_drawdown_pct: float | None = Field(
        None,
        ge=0,
        json_schema_extra=RESEARCH,
        description="Deepest drawdown of a backtest, percent; 100 allows any; default: the preset's.",
    )
    min_pnl: float | None = Field(
        None,
        json_schema_extra=RESEARCH,
        description="Least PnL of a backtest, USD as given; default: the preset's, in proportion to a trade's value.",
    )
    min_history_pct: float | None = Field(
        None,
        gt=0,
        le=100,
        json_schema_extra=RESEARCH,
        description="Drop backtests that have less than this part of their timeframe's window, percent, such as those "
        "of young listings; default: none is dropped.",
    )
    max_p_value: float | None = Field(
        None,
        gt=0,
        le=1,
        json_schema_extra=RESEARCH,
        description="Drop backtests whose p-value, corrected for all that was tried on the coin, is larger, such as "
        "0.05; default: none is dropped.",
    )
