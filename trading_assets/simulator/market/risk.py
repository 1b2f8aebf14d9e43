"""Risk tiers: how leverage falls and margin rates rise with a position's value. Rules only; no account and no prices.

The ladder is Bybit's classical one for linear contracts: every further step of the same value adds one lowest
maintenance rate to both rates, so that the first tier of BTCUSDT is 2,000,000 USDT at 0.5 % and 1 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import lru_cache

from trading_assets.simulator.market.base import Contract

_TIERS = 15
_STEPS = ((Decimal(100), 2_000_000), (Decimal(50), 1_000_000), (Decimal(25), 300_000), (Decimal(10), 100_000))
"""From this highest leverage of the contract on, a tier is so wide, settle coin."""

_SMALLEST_STEP = 30_000


@dataclass(frozen=True)
class RiskTier:
    """One tier of a contract.

    Attributes:
        id: 1 for the lowest.
        limit: highest value of a position in this tier, settle coin.
        maintenance_rate: the maintenance margin is value x this - `deduction`.
        initial_rate: the least initial margin over the value; 1 / it is the tier's leverage before rounding.
        max_leverage: on the contract's leverage step, rounded down.
        deduction: settle coin; makes the maintenance margin continuous from one tier to the next.
    """

    id: int
    limit: Decimal
    maintenance_rate: Decimal
    initial_rate: Decimal
    max_leverage: Decimal
    deduction: Decimal


@lru_cache(maxsize=4096)
def tiers(contract: Contract) -> tuple[RiskTier, ...]:
    """The tiers of `contract`, lowest first; limits and rates rise strictly, and no initial rate is above 1."""
    lowest = 1 / (2 * contract.max_leverage)
    step = Decimal(next((value for leverage, value in _STEPS if contract.max_leverage >= leverage), _SMALLEST_STEP))
    ladder: list[RiskTier] = []
    deduction = Decimal(0)
    for number in range(1, min(_TIERS, max(int(2 * contract.max_leverage) - 1, 1)) + 1):
        deduction += step * (number - 1) * lowest
        leverage = 2 * contract.max_leverage / (number + 1)
        ladder.append(
            RiskTier(
                id=number,
                limit=number * step,
                maintenance_rate=number * lowest,
                initial_rate=(number + 1) * lowest,
                max_leverage=(leverage / contract.leverage_step).to_integral_value(ROUND_DOWN) * contract.leverage_step,
                deduction=deduction,
            )
        )
    return tuple(ladder)
