"""The decision to enter: a signal from a selection and the newest closed candles, or the reason why not. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.models import EntryOrder, Instrument
from trading_assets.core.settings import Settings
from trading_assets.core.strategy_data import StrategyData
from trading_assets.core.timeframes import Timeframe, floor_ms, iso
from trading_assets.market.quality import QualityLimits, fault_now
from trading_assets.strategies.base import Strategy
from trading_assets.strategies.declared import as_declared
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets.trading.decide.sizing import stops

_TRENDS = {1.0: "BULLISH", 0.0: "NEUTRAL", -1.0: "BEARISH"}


@dataclass(frozen=True)
class Signal:
    """A row of `entry_signals`, ready to be inserted, and the indicators at its bar."""

    row: Mapping[str, object]
    indicators: Mapping[str, float] = field(default_factory=dict)

    @property
    def signal_id(self) -> str:
        return str(self.row["signal_id"])


@dataclass(frozen=True)
class NoSignal:
    """Why there is no signal. `is_strategys`: the strategy was evaluated, and had no entry."""

    reason: str
    is_strategys: bool = False


def signal_id(account: str, symbol: str, timeframe: Timeframe, strategy: str, bar_close_ms: int) -> str:
    """Return the identity of a decision: the same bar decided again is the same signal."""
    return f"{account}:{symbol}:{timeframe.value}:{strategy}:{bar_close_ms}"


def newest_close_ms(timeframe: Timeframe, now_ms: int) -> int:
    """Return the close of the newest candle that has closed."""
    return floor_ms(now_ms, timeframe.ms)


def is_due(timeframe: Timeframe, now_ms: int, ttl_s: int) -> bool:
    """Return whether the newest closed candle is young enough for a signal."""
    return now_ms - newest_close_ms(timeframe, now_ms) < ttl_s * 1000


def decide(
    *,
    hour_ms: int,
    strategy: Strategy,
    parameters: str,
    data: StrategyData,
    instrument: Instrument,
    settings: Settings,
    now_ms: int,
    last_exit_ms: int | None,
) -> Signal | NoSignal:
    """Return the strategy's decision at the newest closed bar.

    Args:
        hour_ms: the partition of the selection.
        settings: of the account; what the strategy declares of its own counts before them.
        parameters: the strategy's parameter set as canonical JSON.
        last_exit_ms: when the symbol's last position was closed. As in a backtest, there is no entry on that bar.
    """
    timeframe, settings = data.timeframe, as_declared(settings, type(strategy))
    close_ms = newest_close_ms(timeframe, now_ms)
    if not len(data.candles):
        return NoSignal("no candles")
    held = int(data.candles.end_ms[-1])
    if held != close_ms:
        return NoSignal(f"stale candle: newest closed at {iso(held)}, expected {iso(close_ms)}")
    if not is_due(timeframe, now_ms, settings.signal_ttl_s):
        return NoSignal("candle older than the signal's life time")
    if (fault := _fault(data, settings, now_ms)) is not None:
        return NoSignal(f"bad candles: {fault}")
    if last_exit_ms is not None and last_exit_ms >= close_ms - timeframe.ms:
        return NoSignal("a position was closed on this bar")
    signals = strategy.signals(data)
    if not (signals.long[-1] or signals.short[-1]):
        return NoSignal("no entry condition", is_strategys=True)
    long = bool(signals.long[-1])
    entry = Decimal(str(data.candles.close[-1]))
    distance = Decimal(str(float(signals.stop_distance[-1])))
    if float(signals.stop_distance[-1]) / float(data.candles.close[-1]) >= settings.liquidation_distance:
        return NoSignal("the stop is as far as the liquidation")
    levels = stops(entry, distance, Decimal(str(signals.reward_risk)), long=long, tick=instrument.tick_size)
    if levels is None:
        return NoSignal("stop or target would not be above zero")
    waits = _waits(entry, levels, timeframe, close_ms, settings, long=long, tick=instrument.tick_size)
    if waits is None:
        return NoSignal("the price that the entry would wait at lies beyond the stop")
    declared = DeclaredExits.of(signals)
    values = {name: float(array[-1]) for name, array in signals.indicators.items()}
    return Signal(
        {
            "signal_id": signal_id(settings.account, data.symbol, timeframe, strategy.name, close_ms),
            "hour_ms": hour_ms,
            "account": settings.account,
            "symbol": data.symbol,
            "timeframe": timeframe.value,
            "strategy": strategy.name,
            "parameters": parameters,
            "signal_timestamp_ms": close_ms,
            "ttl_ms": close_ms + settings.signal_ttl_s * 1000,
            "confidence": float(signals.confidence[-1]),
            "position_type": "LONG" if long else "SHORT",
            "entry_price": float(entry),
            "stop_loss": float(levels[0]),
            "take_profit": float(levels[1]),
            "position_size": float(settings.position_size),
            "leverage": float(settings.leverage),
            "rsi": _finite(values.get("rsi")),
            "bb_position": _finite(values.get("bb_position")),
            "btc_trend": _TRENDS.get(values.get("btc_trend", math.nan)),
            "funding_rate": _finite(values.get("funding_rate")),
            "risk_reward_ratio": signals.reward_risk,
            "status": "active",
            "created_at_ms": now_ms,
            **waits,
            "exit_plan": declared.to_json() if declared is not None else None,
            "settings_version": settings.version,
        },
        values,
    )


def _waits(
    entry: Decimal,
    levels: tuple[Decimal, Decimal],
    timeframe: Timeframe,
    close_ms: int,
    settings: Settings,
    *,
    long: bool,
    tick: Decimal,
) -> dict[str, object] | None:
    """The columns of an entry that waits; none of them for one at the market, None where it cannot wait there."""
    if settings.entry_order is EntryOrder.MARKET:
        return {}
    away = settings.entry_offset_pct / 100 * (-1 if long else 1)
    ticks = entry * (1 + away) / tick
    price = ticks.to_integral_value(ROUND_FLOOR if long else ROUND_CEILING) * tick
    if price <= levels[0] if long else price >= levels[0]:
        return None
    return {
        "entry_order": settings.entry_order.value,
        "limit_price": float(price),
        "limit_until_ms": float(close_ms + settings.entry_bars * timeframe.ms),
    }


def _fault(data: StrategyData, settings: Settings, now_ms: int) -> str | None:
    """Return what is wrong with the stored candles that the decision reads. Days are made of them."""
    limits = QualityLimits.from_settings(settings)
    own = {data.timeframe: data.candles, **data.other}
    for whose, frames in ((data.symbol, own), (settings.symbols.btc, data.btc)):
        for timeframe, candles in frames.items():
            fault = fault_now(candles, now_ms, limits) if timeframe is not Timeframe.D1 else None
            if fault is not None:
                return f"{timeframe.value} of {whose}: {fault}"
    return None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
