"""What sets one coin of the seeded market apart from another. No contract rules and no prices over time here."""

from __future__ import annotations

from dataclasses import dataclass

HALF_LIVES_MIN = (20.0, 30.0, 45.0, 60.0, 90.0, 150.0, 240.0, 360.0)


@dataclass(frozen=True)
class CoinProfile:
    """How a contract's price and volume behave.

    Attributes:
        price: level around which the price wanders, quote coin.
        daily_vol: standard deviation of daily log returns on a usual day.
        vol_spread: how much that varies from day to day; 1 for an ordinary coin.
        beta: correlation with the market factor, 0 to 1.
        turnover: turnover of a usual day, quote coin.
        reversion: variance of one-minute returns that comes from a short-lived component, over the variance of the
            lasting part: with 0.25 a quarter is added, and it is gone again after hours.
        momentum: variance that drifts lasting for hours add to the day's return, over the variance without them.
        half_life_min: half-life of both, minutes; one of `HALF_LIVES_MIN`.
        spread_bps: typical spread of the book, basis points.
        follows: symbol whose price this one tracks (USDC-settled and dated contracts), or empty.
        share: its turnover over that of the followed one.
        premium_per_year: log distance from the followed price with a year left to the delivery.
    """

    price: float
    daily_vol: float
    turnover: float
    vol_spread: float = 1.0
    beta: float = 0.0
    reversion: float = 0.0
    momentum: float = 0.0
    half_life_min: float = 60.0
    spread_bps: float = 2.0
    follows: str = ""
    share: float = 1.0
    premium_per_year: float = 0.0
