"""One UTC day minute by minute: log prices first, then whole ticks and quantity steps. No aggregation, no caches.

A day's minutes are a bridge between the two midnights of `walk.py`: common and own shocks with heavy tails under a
volatility that follows the clock and clusters, plus what the coin's temper adds to them (a component that vanishes
within hours, or drifts that last for hours). Whatever is carried over midnight has a drawn value there, so that
neighbouring days join without knowing each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trading_assets.core.timeframes import DAY_MS
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.grid import TURNOVER_UNIT, Grid
from trading_assets.simulator.market.noise import (
    Floats,
    Words,
    drift_at,
    exponentials,
    heavy_tailed,
    normal_at,
    normals,
    reverting_bridge,
    stream,
    uniform_at,
    words_at,
)
from trading_assets.simulator.market.walk import EPOCH_DAY, DailyWalk, turnover_level

MINUTES = 1440
_SHARE = np.arange(1, MINUTES + 1) / MINUTES

_COMMON_SPREAD, _COMMON_HALF_LIFE = 0.36, 200.0
_OWN_SPREAD, _OWN_HALF_LIFE = 0.33, 60.0
"""Log volatility within the day: standard deviation, and half-life in minutes, of what all share and of one's own."""

_STRETCH = 2.0
"""A day that moves further than so many standard deviations does the rest in a rush."""

_RUSH_MINUTES = 35.0
_FINENESS = 0.72
"""Minutes reach so much of what continuous trading would reach beyond open and close."""

_TEMPER_DAYS = 18.0
_BASIS_SPREAD, _BASIS_HALF_LIFE = 0.00015, 30.0


@dataclass(frozen=True)
class MarketDay:
    """What all coins share in one day, shape (MINUTES,): standardised shocks and log volatility."""

    shocks: Floats
    log_shape: Floats


@dataclass(frozen=True)
class DayPath:
    """A coin's day before ticks.

    Attributes:
        log_start: log price at midnight.
        log_close: at the end of each minute, shape (MINUTES,).
        sigma: standard deviation of each minute's log return, shape (MINUTES,).
        shape: `sigma` over that of an even minute of the day, shape (MINUTES,).
        words: uniform 16-bit words left for extremes, volume and timing, shape (4, MINUTES).
        turnover: quote coin a day, at this and at the next midnight.
    """

    log_start: float
    log_close: Floats
    sigma: Floats
    shape: Floats
    words: Words
    turnover: tuple[float, float]


@dataclass(frozen=True)
class DayOfMinutes:
    """A contract's day in whole numbers.

    Attributes:
        open, high, low, close: ticks, int32, shape (MINUTES,).
        volume: quantity steps, int64, shape (MINUTES,).
        turnover: ten-thousandths of the quote coin, int64, shape (MINUTES,).
        timing: words that say when and in which order the extremes are visited, shape (MINUTES,).
    """

    open: npt.NDArray[np.int32]
    high: npt.NDArray[np.int32]
    low: npt.NDArray[np.int32]
    close: npt.NDArray[np.int32]
    volume: npt.NDArray[np.int64]
    turnover: npt.NDArray[np.int64]
    timing: Words

    def path(self, index: int) -> tuple[tuple[int, int], ...]:
        """Minute `index` as four (milliseconds into the minute, ticks): open, two extremes, close.

        Three times of four the minute visits first the extreme that lies behind its way.
        """
        word, first, last = int(self.timing[index]), int(self.open[index]), int(self.close[index])
        extremes = (int(self.low[index]), int(self.high[index]))
        if (word < 49_152) != (last >= first):
            extremes = (extremes[1], extremes[0])
        first_ms, second_ms = 10_000 + (word & 127) * 118, 30_000 + (word >> 7 & 127) * 157
        return (0, first), (first_ms, extremes[0]), (second_ms, extremes[1]), (59_999, last)


def market_day(seed: int, day: int) -> MarketDay:
    """The market's minutes: busy in the afternoon of Europe, calm in its night."""
    of = stream(seed, "market", "minutes")
    words = words_at(of, day, 2 * MINUTES).reshape(2, MINUTES)
    clusters = _clusters(of, day, words[1], _COMMON_SPREAD, _COMMON_HALF_LIFE)
    return MarketDay(heavy_tailed(words[0]), clusters + _clock())


def day_path(seed: int, symbol: str, profile: CoinProfile, day: int, walk: DailyWalk, market: MarketDay) -> DayPath:
    """The day of a coin that stands for itself. `day` counts from 1970-01-01."""
    of = stream(seed, "minutes", symbol)
    words = words_at(of, day, 7 * MINUTES).reshape(7, MINUTES)
    index = day - EPOCH_DAY
    midnights = float(walk.log_price[index]), float(walk.log_price[index + 1])
    distance = midnights[1] - midnights[0]
    volatility = float(walk.volatility[index]), float(walk.volatility[index + 1])
    even = _between(volatility) / math.sqrt(MINUTES)
    # A calm coin is calm all day long: its volatility spreads less within the day, too.
    own = _clusters(of, day, words[0], _OWN_SPREAD, _OWN_HALF_LIFE)
    sigma = even * np.exp((market.log_shape + own) * profile.vol_spread)
    sigma = _with_rush(seed, symbol, day, sigma, abs(distance) - _STRETCH * sum(volatility) / 2)

    shocks = heavy_tailed(words[1])
    if profile.beta > 0:
        shocks = profile.beta * market.shocks + math.sqrt(1.0 - profile.beta**2) * shocks
    strengths = _strength(seed, symbol, profile, day), _strength(seed, symbol, profile, day + 1)
    ends = normal_at(of, 2 * day), normal_at(of, 2 * day + 2)
    passing = np.zeros(MINUTES)
    if max(strengths) > 0:
        passing = reverting_bridge(normals(words[2]), 0.5 ** (1.0 / profile.half_life_min), *ends)
    if profile.momentum:
        shocks = shocks + passing * _between(strengths)
    log_close = np.cumsum(sigma * shocks)
    variance = np.cumsum(sigma * sigma)
    log_close += variance * ((distance - log_close[-1]) / variance[-1])
    log_close += midnights[0]
    stretch = (0.0, 0.0)
    if profile.reversion:
        stretch = strengths[0] * volatility[0], strengths[1] * volatility[1]
        log_close += _between(stretch) * passing
    log_close[-1] = midnights[1] + stretch[1] * ends[1]
    busy = stream(seed, "turnover", symbol)
    return DayPath(
        midnights[0] + stretch[0] * ends[0],
        log_close,
        sigma,
        sigma / even,
        words[3:],
        (
            turnover_level(busy, profile, volatility[0], day),
            turnover_level(busy, profile, volatility[1], day + 1),
        ),
    )


def following_path(seed: int, contract: Contract, profile: CoinProfile, day: int, leader: DayPath) -> DayPath:
    """The day of a contract that tracks another: a narrow band around it, and the premium of what delivers later."""
    of = stream(seed, "minutes", contract.symbol)
    words = words_at(of, day, 7 * MINUTES).reshape(7, MINUTES)
    ends = normal_at(of, 2 * day), normal_at(of, 2 * day + 2)
    premiums = _premium(contract, profile, day), _premium(contract, profile, day + 1)
    band = reverting_bridge(normals(words[2]), 0.5 ** (1.0 / _BASIS_HALF_LIFE), *ends) * _BASIS_SPREAD
    log_close = leader.log_close + (band + _between(premiums))
    log_close[-1] = leader.log_close[-1] + (ends[1] * _BASIS_SPREAD + premiums[1])
    return DayPath(
        leader.log_start + (ends[0] * _BASIS_SPREAD + premiums[0]),
        log_close,
        leader.sigma,
        leader.shape,
        words[3:],
        (leader.turnover[0] * profile.share, leader.turnover[1] * profile.share),
    )


def day_of_minutes(path: DayPath, grid: Grid) -> DayOfMinutes:
    """The day in ticks and steps."""
    logs = np.concatenate([[path.log_start], path.log_close])
    ticks = np.maximum(np.rint(np.exp(logs) / grid.tick), 1.0)
    opens, closes = ticks[:-1], ticks[1:]
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    body = (top - bottom) / closes
    # The maximum of a Brownian bridge (its distribution is in closed form), for either side by itself.
    twice_variance = 2.0 * _FINENESS * path.sigma**2
    above = np.sqrt(body**2 + twice_variance * exponentials(path.words[0])) - body
    below = np.sqrt(body**2 + twice_variance * exponentials(path.words[1])) - body
    high = top + np.rint(0.5 * above * top)
    low = np.maximum(bottom - np.rint(0.5 * below * bottom), 1.0)

    moved = np.minimum(body / path.sigma, 6.0)
    amount = _between(path.turnover) / MINUTES * path.shape * (0.5 + 0.65 * moved)
    amount *= np.exp(0.6 * normals(path.words[2]) - 0.18)
    volume = np.maximum(np.rint(amount / (closes * (grid.tick * grid.step))), 1.0)
    typical = 0.25 * (opens + high + low + closes) * grid.tick
    turnover = np.rint(volume * grid.step * typical * TURNOVER_UNIT)
    whole = ticks.astype(np.int32)  # a minute opens where the one before closed: two views of one array
    return DayOfMinutes(
        whole[:-1],
        high.astype(np.int32),
        low.astype(np.int32),
        whole[1:],
        volume.astype(np.int64),
        turnover.astype(np.int64),
        path.words[3].copy(),
    )


def _between(ends: tuple[float, float]) -> Floats:
    """From the first of `ends` at midnight to the second at the next, at the end of each minute."""
    return ends[0] + (ends[1] - ends[0]) * _SHARE


def _clock() -> Floats:
    """Log volatility by the minute of the day; its square has mean 1 after the exponential."""
    shape = 1.0 + 0.35 * np.cos((_SHARE - 14.5 / 24) * 2 * np.pi)
    return np.log(shape / math.sqrt(1.0 + 0.35**2 / 2))


def _clusters(of: int, day: int, words: Words, spread: float, half_life: float) -> Floats:
    """Log volatility that wanders; the square of its exponential has mean 1."""
    ends = normal_at(of, 2 * day + 1), normal_at(of, 2 * day + 3)
    values = reverting_bridge(normals(words), 0.5 ** (1.0 / half_life), *ends)
    return spread * values - spread**2


def _with_rush(seed: int, symbol: str, day: int, sigma: Floats, excess: float) -> Floats:
    """Volatility rises at a random hour and fades, so that the bridge covers the day's excess there."""
    if excess <= 0:
        return sigma
    begin = int(100 + 1100 * uniform_at(stream(seed, "rush", symbol), day))
    fading = np.zeros(MINUTES)
    fading[begin:] = np.exp(-np.arange(MINUTES - begin) / _RUSH_MINUTES) / _RUSH_MINUTES
    return np.sqrt(sigma**2 + excess**2 * fading)


def _strength(seed: int, symbol: str, profile: CoinProfile, day: int) -> float:
    """Of the coin's temper as of the start of `day`; it comes and goes over weeks.

    For reversion, the standard deviation of the passing component in units of the daily volatility; for momentum,
    the drift of a minute in units of the minute's volatility.
    """
    if not profile.reversion and not profile.momentum:
        return 0.0
    season = 1.0 + 0.7 * drift_at(stream(seed, "temper", symbol), day / _TEMPER_DAYS)
    season = min(max(season, 0.0), 1.7)
    if profile.reversion:
        variance = profile.reversion * profile.half_life_min / (2 * MINUTES * math.log(2.0))
    else:
        variance = profile.momentum * math.log(2.0) / (2 * profile.half_life_min)
    return season * math.sqrt(variance)


def _premium(contract: Contract, profile: CoinProfile, day: int) -> float:
    """Log distance from the followed price at the start of `day`."""
    left_ms = max(contract.delivery_ms - day * DAY_MS, 0)
    return profile.premium_per_year * left_ms / (365 * DAY_MS)
