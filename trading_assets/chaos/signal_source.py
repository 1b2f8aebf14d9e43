"""Entry signals and selections out of nothing: what a strategy would have found, at the price of now."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Protocol

from trading_assets.core.models import Instrument, Ticker
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.market.universe import scan_id
from trading_assets.trading.decide.entry import signal_id
from trading_assets.trading.decide.sizing import stops

STRATEGY = "bollinger_rsi"
_TIMEFRAME = Timeframe("5m")

EAGER = '{"band": 0.0001, "rsi_low": 0, "rsi_high": 100}'
"""Parameters of `bollinger_rsi` that enter on nearly every candle."""


class Prices(Protocol):
    """What a signal is made of."""

    def now_ms(self) -> int: ...
    def ticker(self, symbol: str) -> Ticker: ...


def give_signal(
    database: Database, market: Prices, instrument: Instrument, settings: Settings, chance: random.Random
) -> str:
    """A waiting signal of the symbol, long or short, its stop a few percent away; its id."""
    now_ms = market.now_ms()
    entry = market.ticker(instrument.symbol).last
    long = chance.random() < 0.5
    distance = entry * Decimal(str(round(chance.uniform(0.02, 0.05), 4)))
    levels = stops(entry, distance, Decimal(2), long=long, tick=instrument.tick_size)
    if levels is None:
        raise AssertionError(f"{instrument.symbol} at {entry} has no room for a stop")
    identity = signal_id(settings.account, instrument.symbol, _TIMEFRAME, STRATEGY, now_ms)
    signals.insert(
        database,
        {
            "signal_id": identity,
            "hour_ms": floor_ms(now_ms, HOUR_MS) - HOUR_MS,
            "account": settings.account,
            "symbol": instrument.symbol,
            "timeframe": _TIMEFRAME.value,
            "strategy": STRATEGY,
            "parameters": "{}",
            "signal_timestamp_ms": now_ms,
            "ttl_ms": now_ms + settings.signal_ttl_s * 1000,
            "confidence": round(chance.uniform(60, 95), 1),
            "position_type": "LONG" if long else "SHORT",
            "entry_price": float(entry),
            "stop_loss": float(levels[0]),
            "take_profit": float(levels[1]),
            "position_size": float(settings.position_size),
            "leverage": float(settings.leverage),
            "risk_reward_ratio": 2.0,
            "status": signals.ACTIVE,
            "created_at_ms": now_ms,
        },
    )
    return identity


def selection_row(
    hour_ms: int,
    symbol: str,
    timeframe: str = "1m",
    *,
    strategy: str = "bollinger_rsi",
    parameters: str = "{}",
) -> dict[str, object]:
    """A coin's selection as an hour's research might have written it, each column with a plausible value.

    Args:
        hour_ms: start of the researched hour, UTC ms.
    """
    return {
        "hour_ms": hour_ms,
        "symbol": symbol,
        "timeframe": timeframe,
        "strategy": strategy,
        "parameters": parameters,
        "scan_id": scan_id(as_of_ms(hour_ms)),
        "score": 1.0,
        "total_trades": 9,
        "win_rate": 60.0,
        "profit_factor": 2.0,
        "max_drawdown": -1.0,
        "total_pnl": 10.0,
        "confidence_avg": 60.0,
        "configurations_tried": 16,
        "configurations_effective": 8.0,
        "deflated_sharpe": 0.95,
        "p_value": 0.01,
        "p_value_corrected": 0.08,
        "p_value_hour": 0.4,
        "least_trades": 9.0,
        "out_of_sample_trades": 2,
        "out_of_sample_pnl": 3.0,
        "mean_r": 0.4,
        "mean_bps": 50.0,
    }
