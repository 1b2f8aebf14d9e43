"""Entry signals and selections out of nothing: what a strategy would have found, at the price of now."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trading_assets.core.models import EntryOrder, Instrument, Ticker
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import HOUR_MS, Timeframe, as_of_ms, floor_ms
from trading_assets.ledger import signals
from trading_assets.ledger.database import Database
from trading_assets.market.universe import scan_id
from trading_assets.trading.decide.entry import signal_id
from trading_assets.trading.decide.sizing import stops, to_tick

STRATEGY = "bollinger_rsi"
_TIMEFRAME = Timeframe("5m")

EAGER = '{"band": 0.0001, "rsi_low": 0, "rsi_high": 100}'
"""Parameters of `bollinger_rsi` that enter on nearly every candle."""

NEVER = '{"band": 1000}'
"""Parameters of `bollinger_rsi` that enter on no candle: what trades then are the signals of a trial alone."""


class Prices(Protocol):
    """What a signal is made of."""

    def now_ms(self) -> int: ...
    def ticker(self, symbol: str) -> Ticker: ...


@dataclass(frozen=True)
class Waits:
    """How an entry waits.

    Attributes:
        offset: how far from the price, a fraction; below 0 it would take liquidity.
        seconds: how long, by the exchange's clock.
    """

    order: EntryOrder
    offset: float
    seconds: int


def some_wait(chance: random.Random) -> Waits | None:
    """At the market, or waiting near to it for less than some rounds."""
    order = chance.choice((None, None, EntryOrder.LIMIT, EntryOrder.POST_ONLY, EntryOrder.CHASE))
    if order is None:
        return None
    return Waits(order, chance.choice((-0.001, 0.0002, 0.001, 0.005, 0.02)), chance.choice((5, 60, 300, 1200)))


def give_signal(
    database: Database,
    market: Prices,
    instrument: Instrument,
    settings: Settings,
    chance: random.Random,
    away: tuple[float, float] = (0.02, 0.05),
    waits: Waits | None = None,
    more: Mapping[str, object] | None = None,
) -> str:
    """A signal of the symbol that waits for its order, long or short; its id.

    Args:
        away: how far its stop lies, a fraction of the price.
        waits: how its entry waits; None: it is at the market.
        more: further columns, and others than usual.
    """
    now_ms = market.now_ms()
    entry = market.ticker(instrument.symbol).last
    long = chance.random() < 0.5
    distance = entry * Decimal(str(round(chance.uniform(*away), 4)))
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
            **_limit(waits, entry, instrument, now_ms, long=long),
            **(more or {}),
        },
    )
    return identity


def _limit(
    waits: Waits | None, entry: Decimal, instrument: Instrument, now_ms: int, *, long: bool
) -> dict[str, object]:
    if waits is None:
        return {}
    away = Decimal(str(waits.offset)) * (-1 if long else 1)
    return {
        "entry_order": waits.order.value,
        "limit_price": float(to_tick(entry * (1 + away), instrument.tick_size)),
        "limit_until_ms": float(now_ms + waits.seconds * 1000),
    }


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
