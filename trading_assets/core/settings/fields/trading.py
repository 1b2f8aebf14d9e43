"""Settings of trading: session, signals, orders, the risk guard, live against the backtest."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from trading_assets.core.models import EntryOrder
from trading_assets.core.setting_changes import FLAT, LIVE


class TradingFields(BaseSettings):
    """What is traded, how, and within which limits."""

    model_config = SettingsConfigDict(defer_build=True)

    # Trading.
    trade_mode: Literal["session", "once"] = Field(
        "session",
        description="session: one run lives with the selection and follows a candle stream; once: a run for each "
        "closed candle.",
    )
    stream_silence_s: float = Field(
        15.0, ge=2, description="A candle stream that says nothing for so long is taken for dead and opened again."
    )

    # Signals and orders.
    signal_ttl_s: int = Field(
        300, gt=0, json_schema_extra=LIVE, description="A signal not executed after so long expires."
    )
    min_signal_interval_s: int = Field(
        300, ge=0, json_schema_extra=LIVE, description="Minimum time between two signals of a symbol and strategy."
    )
    sizing: Literal["notional", "margin"] = Field(
        "notional",
        json_schema_extra=FLAT,
        description="notional: position_size is the position's value; margin: it is the margin behind it.",
    )
    position_size: Decimal = Field(Decimal(100), gt=0, json_schema_extra=LIVE, description="USD; see sizing.")
    size_by: Literal["fixed", "equity", "risk", "confidence"] = Field(
        "fixed",
        json_schema_extra=LIVE,
        description="fixed: each position has position_size. equity: its value is size_pct of the equity. risk: so "
        "much that its stop loses size_pct of the equity, before costs. confidence: of position_size the signal's "
        "confidence, percent. equity and risk are cut at the limits of a position's margin and exposure.",
    )
    size_pct: Decimal = Field(
        Decimal(1), gt=0, le=1000, json_schema_extra=LIVE, description="Percent of equity; see size_by."
    )
    leverage: Decimal = Field(
        Decimal(10), ge=1, le=100, json_schema_extra=FLAT, description="Leverage of each position."
    )
    maintenance_margin_pct: Decimal = Field(
        Decimal("0.5"),
        ge=0,
        lt=100,
        json_schema_extra=FLAT,
        description="Maintenance margin of a position, percent of its value. With the leverage it tells where a "
        "position would be liquidated: an entry whose stop is as far is none, in a backtest and live.",
    )
    strategies: tuple[str, ...] = Field(
        (),
        json_schema_extra=LIVE,
        description="The only strategies that open positions (JSON list); default: all that are selected.",
    )
    capital_share_pct: Decimal = Field(
        Decimal(100),
        gt=0,
        le=100,
        json_schema_extra=LIVE,
        description="Part of the account's equity that counts in the limits of margin and exposure, percent.",
    )
    min_confidence: float = Field(60.0, ge=0, le=100, json_schema_extra=LIVE, description="Entry gate.")
    max_price_deviation_pct: Decimal = Field(
        Decimal("0.5"),
        gt=0,
        json_schema_extra=LIVE,
        description="Entry gate: distance of the price to the signal's, percent.",
    )
    max_spread_pct: Decimal = Field(Decimal("0.1"), gt=0, json_schema_extra=LIVE, description="Entry gate, percent.")
    min_entry_volume: Decimal = Field(
        Decimal(1000), ge=0, json_schema_extra=LIVE, description="Entry gate: 24 h turnover, USD."
    )
    min_available_margin: Decimal = Field(
        Decimal(10), ge=0, json_schema_extra=LIVE, description="Entry gate: free margin, USD."
    )
    max_positions: int = Field(10, ge=1, le=100, json_schema_extra=LIVE, description="Positions open at once.")
    max_selection_age_s: int = Field(
        7200, gt=0, json_schema_extra=LIVE, description="No entry on a selection whose as-of is older."
    )
    entry_order: EntryOrder = Field(
        EntryOrder.MARKET,
        json_schema_extra=LIVE,
        description="market enters at once. limit waits at entry_offset_pct from the signal's price for entry_bars "
        "bars, and is dropped then; post-only is a limit that never takes liquidity; chase is a limit that follows the "
        "market at its end, up to max_price_deviation_pct. Backtests enter in the same way.",
    )
    entry_offset_pct: Decimal = Field(
        Decimal("0.1"),
        ge=0,
        lt=50,
        json_schema_extra=LIVE,
        description="How far below a long signal's price, above a short's, an entry waits.",
    )
    entry_bars: int = Field(
        3, ge=1, le=1000, json_schema_extra=LIVE, description="Bars of the signal's timeframe that an entry waits."
    )

    # Risk guard.
    max_daily_loss_pct: float = Field(
        5.0,
        gt=0,
        le=100,
        json_schema_extra=LIVE,
        description="Trading halts until 00:00 UTC after so much realised loss (funding included) since 00:00 UTC, "
        "percent of equity.",
    )
    max_drawdown_pct: float = Field(
        20.0,
        gt=0,
        le=100,
        json_schema_extra=LIVE,
        description="Trading halts until it is resumed by hand when equity is so far below its peak, percent.",
    )
    max_position_margin_pct: Decimal = Field(
        Decimal(2), gt=0, json_schema_extra=LIVE, description="Capital (margin) behind one position, percent of equity."
    )
    max_symbol_exposure_pct: Decimal = Field(
        Decimal(25), gt=0, json_schema_extra=LIVE, description="Value of the position in one symbol, percent of equity."
    )
    max_total_exposure_pct: Decimal = Field(
        Decimal(200), gt=0, json_schema_extra=LIVE, description="Value of all positions together, percent of equity."
    )
    max_leverage: Decimal = Field(
        Decimal(10), ge=1, le=100, json_schema_extra=LIVE, description="No entry with a higher leverage."
    )
    max_reconciliation_age_s: int = Field(
        900, gt=0, json_schema_extra=LIVE, description="No entry when the exchange's books were read longer ago."
    )
    unseen_tell_s: int = Field(
        600,
        gt=0,
        json_schema_extra=LIVE,
        description="A position of ours that the exchange has not shown for so long, s, is told.",
    )
    changed_stops: Literal["keep", "restore"] = Field(
        "keep",
        json_schema_extra=LIVE,
        description="What becomes of a stop or target that a person has changed: keep leaves a tighter stop and puts a "
        "looser one back; restore puts both levels of the signal back.",
    )
    unprotected_max_s: int = Field(
        120,
        ge=0,
        json_schema_extra=LIVE,
        description="A position that has lost its stop, and gets neither that nor an order in its place, is closed "
        "after so long, s.",
    )
    min_days_to_delivery: float | None = Field(
        None,
        ge=0,
        json_schema_extra=LIVE,
        description="No entry in a contract whose delivery is announced; with a number, only if it is within so many "
        "days.",
    )
    cooldown_after_stop_s: int = Field(
        900, ge=0, json_schema_extra=LIVE, description="No entry in a symbol for so long after its stop."
    )
    max_stops_in_a_row: int = Field(
        5,
        ge=1,
        json_schema_extra=LIVE,
        description="After so many stops in a row in the whole account, no entry for a while ...",
    )
    pause_after_stops_s: int = Field(
        3600, ge=0, json_schema_extra=LIVE, description="... so long after the last of them; 0 switches it off."
    )
    weak_symbol_trades: int = Field(
        4,
        ge=1,
        json_schema_extra=LIVE,
        description="No entry in a symbol that, in at least so many closings of the last hours, ...",
    )
    weak_symbol_hours: int = Field(
        24, ge=0, le=168, json_schema_extra=LIVE, description="... so many hours (0 switches it off), ..."
    )
    weak_symbol_min_pnl: Decimal = Field(
        Decimal(0), json_schema_extra=LIVE, description="... earned less than this, USD."
    )

    # Parity of live and backtest.
    parity_tolerance_bps: float = Field(
        50.0,
        gt=0,
        json_schema_extra=LIVE,
        description="A live fill farther from the backtest's is reported as a difference, basis points.",
    )
    min_parity_pct: float = Field(
        95.0,
        ge=0,
        le=100,
        json_schema_extra=LIVE,
        description="The day's check fails when less of live is explained, percent of decisions.",
    )
