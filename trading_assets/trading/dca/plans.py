"""What a DCA plan is: amounts, safety orders, stop and target from the average entry. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any

from trading_assets.core.models import Instrument, Side
from trading_assets.ledger.dca import PlanRow
from trading_assets.trading.dca.schedule import Schedule
from trading_assets.trading.grid.levels import ZERO, on_step

TAKES_WITHIN = Decimal("0.005")
"""So far from the best price a scheduled order may be filled, as a fraction of it. What is not filled at once is
cancelled."""

_HUNDRED = Decimal(100)


class Missed(StrEnum):
    """What becomes of a scheduled time at which nobody was there. The ledger keeps the values."""

    SKIP = "skip"
    LATEST = "latest"
    """the newest one is made up for, however late; those before it are skipped"""


class AfterTarget(StrEnum):
    """What follows when the target was reached. The ledger keeps the values."""

    REPEAT = "repeat"
    """the next scheduled time begins anew"""
    END = "end"


@dataclass(frozen=True)
class Plan:
    """What a person asks for.

    Attributes:
        side: Buy collects a long position, Sell a short one.
        schedule: see `Schedule`.
        anchor_ms: first time of an interval, UTC ms; nothing is due before it.
        amount: value of each scheduled order, USD.
        max_deployed: the value at entry of all that it may hold at once, USD.
        stop_pct, stop_price: the hard stop, as a distance from the average entry, percent, or at a price: one of them.
        target_pct: distance of the target from the average entry, percent; None: none.
        safety_orders: number of orders that wait beyond the first entry of a round, each `safety_step_pct` percent of
            that entry further. The first is worth the amount times the scale, each other one the one before it times
            the scale.
        grace_s: so late a scheduled time is still in time.
        end_ms: nothing is opened from then on, UTC ms; None: it has no end.
    """

    symbol: str
    side: Side
    schedule: str
    anchor_ms: int
    amount: Decimal
    max_deployed: Decimal
    leverage: Decimal
    stop_pct: Decimal | None = None
    stop_price: Decimal | None = None
    target_pct: Decimal | None = None
    safety_orders: int = 0
    safety_step_pct: Decimal = ZERO
    safety_scale: Decimal = Decimal(1)
    missed: Missed = Missed.SKIP
    grace_s: int = 300
    after_target: AfterTarget = AfterTarget.REPEAT
    end_ms: int | None = None

    @property
    def times(self) -> Schedule:
        return Schedule(self.schedule, self.anchor_ms)

    @property
    def sign(self) -> int:
        return 1 if self.side is Side.BUY else -1

    def stop(self, average: Decimal, tick: Decimal) -> Decimal:
        """The stop of a position by its average entry, on the tick, towards the entry."""
        if self.stop_price is not None:
            return on_step(self.stop_price, tick, ROUND_CEILING if self.side is Side.BUY else ROUND_FLOOR)
        away = (self.stop_pct or ZERO) / _HUNDRED
        rounding = ROUND_CEILING if self.side is Side.BUY else ROUND_FLOOR
        return on_step(average * (1 - self.sign * away), tick, rounding)

    def target(self, average: Decimal, tick: Decimal) -> Decimal | None:
        """The target of a position by its average entry, on the tick, away from the entry; None: it has none."""
        if self.target_pct is None:
            return None
        rounding = ROUND_CEILING if self.side is Side.BUY else ROUND_FLOOR
        return on_step(average * (1 + self.sign * self.target_pct / _HUNDRED), tick, rounding)

    def is_beyond(self, price: Decimal, level: Decimal) -> bool:
        """Whether a price is on the losing side of a level, or at it."""
        return price <= level if self.side is Side.BUY else price >= level

    def scheduled_qty(self, price: Decimal, instrument: Instrument) -> Decimal:
        """Coins of a scheduled order at a price, on the step, rounded down."""
        return on_step(self.amount / price, instrument.qty_step)

    def safety(self, base: Decimal, instrument: Instrument) -> list[tuple[Decimal, Decimal]]:
        """Price and quantity of each safety order of a round, the nearest first, on tick and step.

        Args:
            base: the price of the round's first entry.
        """
        found = []
        for number in range(1, self.safety_orders + 1):
            away = self.safety_step_pct * number / _HUNDRED
            rounding = ROUND_FLOOR if self.side is Side.BUY else ROUND_CEILING
            price = on_step(base * (1 - self.sign * away), instrument.tick_size, rounding)
            if price <= 0:
                break
            worth = self.amount * self.safety_scale**number
            found.append((price, on_step(worth / price, instrument.qty_step)))
        return found


def columns_of(plan: Plan) -> dict[str, Any]:
    """The columns of `dca_plans` that a plan fills: `plan_of` is the way back."""
    values = asdict(plan)
    return values | {"missed": plan.missed.value, "after_target": plan.after_target.value, "side": plan.side}


def plan_of(row: PlanRow) -> Plan:
    """The plan of a row."""
    return Plan(
        symbol=row.symbol,
        side=row.side,
        schedule=row.schedule,
        anchor_ms=row.anchor_ms,
        amount=row.amount,
        max_deployed=row.max_deployed,
        leverage=row.leverage,
        stop_pct=row.stop_pct,
        stop_price=row.stop_price,
        target_pct=row.target_pct,
        safety_orders=row.safety_orders,
        safety_step_pct=row.safety_step_pct,
        safety_scale=row.safety_scale,
        missed=Missed(row.missed),
        grace_s=row.grace_s,
        after_target=AfterTarget(row.after_target),
        end_ms=row.end_ms,
    )
