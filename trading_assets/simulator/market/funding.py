"""Funding rates and open interest of the seeded market. No payments here."""

from __future__ import annotations

import math

from trading_assets.core.timeframes import DAY_MS, MINUTE_MS
from trading_assets.simulator.market.base import Contract
from trading_assets.simulator.market.coin_profile import CoinProfile
from trading_assets.simulator.market.noise import drift_at, normal_at, stream
from trading_assets.simulator.market.walk import EPOCH_DAY, DailyWalk

_PER_8_HOURS = 0.0001
_DRIFT_DAYS = 4.0
_CROWD_DAYS = 2
"""The crowd looks at the price's change over so many whole days."""


def rate(seed: int, contract: Contract, profile: CoinProfile, walk: DailyWalk, funding_ms: int) -> float:
    """The rate paid at `funding_ms`, fraction of notional, within the contract's cap, to eight decimals.

    It is known one interval before it is paid, and uses nothing later. Longs pay more after a rise; besides it
    drifts for days. Zero for what is delivered.
    """
    if contract.contract_type != "LinearPerpetual":
        return 0.0
    known_ms = funding_ms - contract.funding_interval_min * MINUTE_MS
    day = known_ms // DAY_MS - EPOCH_DAY
    change = float(walk.log_price[day] - walk.log_price[max(day - _CROWD_DAYS, 0)])
    crowd = math.tanh(change / (1.5 * profile.daily_vol * math.sqrt(_CROWD_DAYS)))
    of = stream(seed, "funding", contract.symbol)
    slow = drift_at(of, funding_ms / (_DRIFT_DAYS * DAY_MS))
    fast = normal_at(of, -1 - funding_ms // MINUTE_MS)
    heat = 0.5 + profile.daily_vol / 0.04
    per_8_hours = _PER_8_HOURS + heat * (1.2e-4 * crowd + 1.0e-4 * slow + 0.3e-4 * fast)
    cap = float(contract.funding_cap)
    return round(min(max(per_8_hours * contract.funding_interval_min / 480, -cap), cap), 8)


def open_interest(seed: int, contract: Contract, profile: CoinProfile, time_ms: int) -> float:
    """In base coin, whole quantity steps: about a third of a usual day's turnover, drifting from day to day."""
    swing = math.exp(0.25 * drift_at(stream(seed, "interest", contract.symbol), time_ms / (3 * DAY_MS)))
    step = float(contract.qty_step)
    steps = max(round(profile.turnover / 3 * swing / profile.price / step), 1)
    return round(steps * step, max(-int(contract.qty_step.as_tuple().exponent), 0))
