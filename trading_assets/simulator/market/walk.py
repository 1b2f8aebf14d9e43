"""Where a price stands at each midnight (UTC), and how volatile and busy each day is. Computed at once from an epoch.

The log price wanders around its level (an Ornstein-Uhlenbeck process with a half-life of two months), driven by a
market factor common to all coins and a shock of its own; volatility clusters over days; now and then the market, or
a coin alone, jumps. Nothing here knows of minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from trading_assets.core.timeframes import DAY_MS, to_ms
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.noise import (
    Floats,
    autoregressive,
    drift_at,
    heavy_tailed,
    normal_at,
    normals,
    stream,
    uniforms,
    words_at,
)

EPOCH_DAY = to_ms(datetime(2019, 1, 1, tzinfo=UTC)) // DAY_MS
END_DAY = to_ms(datetime(2036, 1, 1, tzinfo=UTC)) // DAY_MS
DAYS = END_DAY - EPOCH_DAY

_COUNT = -(-DAYS // 4) * 4
_PULL = 1 / 90
"""Share of the way back to its level that a log price goes in a day."""

_MEMORY = 0.94
_SPREAD = 0.36
"""Log volatility is an autoregression over days with this coefficient and this standard deviation."""

_WEEKEND = 0.78
_JUMP_CHANCE = 0.006


@dataclass(frozen=True)
class MarketWalk:
    """The market factor by day, shape (DAYS,): standardised shocks with their crashes, and log volatility."""

    shocks: Floats
    log_volatility: Floats


@dataclass(frozen=True)
class DailyWalk:
    """One coin.

    Attributes:
        log_price: log of the price at the start of day `EPOCH_DAY + i`; shape (DAYS + 1,).
        volatility: standard deviation of the log return of a day as of the start of day `EPOCH_DAY + i`; shape
            (DAYS + 1,).
    """

    log_price: Floats
    volatility: npt.NDArray[np.float32]


def market_walk(seed: int) -> MarketWalk:
    """The factor that moves all coins."""
    words = words_at(stream(seed, "market", "days"), 0, 4 * _COUNT).reshape(4, _COUNT)[:, :DAYS]
    crashes = np.where(uniforms(words[2]) < _JUMP_CHANCE, -2.5 - np.abs(normals(words[3])) * 1.5, 0.0)
    return MarketWalk(heavy_tailed(words[0]) + crashes, _log_volatility(normals(words[1])))


def daily_walk(seed: int, name: str, profile: CoinProfile, market: MarketWalk) -> DailyWalk:
    """The walk of the coin `name`."""
    words = words_at(stream(seed, "days", name), 0, 4 * _COUNT).reshape(4, _COUNT)[:, :DAYS]
    size = 4.0 * profile.vol_spread
    jumps = np.where(uniforms(words[2]) < _JUMP_CHANCE, size * normals(words[3]), 0.0)
    own = np.sqrt(1.0 - profile.beta**2)
    log_volatility = (1.0 - 0.3 * own) * market.log_volatility + 0.75 * own * _log_volatility(normals(words[1]))
    # Days since 1970-01-01, a Thursday.
    weekend = np.where((np.arange(EPOCH_DAY, END_DAY) + 3) % 7 >= 5, _WEEKEND, 1.0)
    volatility = profile.daily_vol * weekend * np.exp(np.clip(profile.vol_spread * log_volatility, -1.1, 1.1))
    shocks = volatility * (profile.beta * market.shocks + own * (heavy_tailed(words[0]) + jumps))
    log_price = np.log(profile.price) + np.append(0.0, autoregressive(shocks, 1.0 - _PULL))
    edges = np.convolve(volatility, [0.5, 0.5])
    edges[0], edges[-1] = volatility[0], volatility[-1]
    return DailyWalk(log_price, edges.astype(np.float32))


def turnover_level(of: int, profile: CoinProfile, volatility: float, day: int) -> float:
    """Turnover a day, quote coin, as of the start of `day` with that daily volatility; `of` is the coin's stream."""
    busy = (volatility / profile.daily_vol) ** 0.7
    return profile.turnover * busy * float(np.exp(0.3 * drift_at(of, day / 9) + 0.12 * normal_at(of, -1 - day)))


def _log_volatility(shocks: Floats) -> Floats:
    return autoregressive(shocks * (_SPREAD * np.sqrt(1.0 - _MEMORY**2)), _MEMORY)
