"""What is checked before a plan starts: each problem is one sentence with what was found and expected. Pure."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.models import ContractStatus, Instrument, Side
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import iso
from trading_assets.trading.dca.plans import TAKES_WITHIN, Plan
from trading_assets.trading.dca.schedule import DcaError, schedule_of
from trading_assets.trading.grid.checks import KEPT_FREE, MARGIN_OVER_MAINTENANCE, MOST_ORDERS, Surroundings
from trading_assets.trading.grid.levels import ZERO

MOST_SAFETY = 20
LEAST_TICKS = 3
FEES_COVERED = 3
"""A target is at least so many times what entry and exit cost."""


def problems(plan: Plan, around: Surroundings, settings: Settings, now_ms: int) -> list[str]:
    """Return why a plan must not start; empty where it may."""
    rules, found = around.instrument, [*_shape(plan, now_ms)]
    if found:
        return found
    if rules.status is not ContractStatus.TRADING:
        found.append(f"{plan.symbol} is {rules.status.value}, not trading")
    if rules.delivery_ms is not None:
        found.append(f"{plan.symbol} is to be delivered: its orders and position end then")
    most = min(Decimal(settings.max_leverage), rules.max_leverage)
    if not 0 < plan.leverage <= most:
        found.append(f"leverage {plan.leverage} must be above 0 and at most {most}")
    found += [*_sizes(plan, around), *_levels(plan, around)]
    room = MOST_ORDERS - KEPT_FREE - around.orders
    if plan.safety_orders + 1 > room:
        found.append(
            f"{plan.safety_orders} safety orders are more than the {max(room - 1, 0)} that {plan.symbol} takes"
        )
    margin = plan.max_deployed / plan.leverage if plan.leverage > 0 else ZERO
    if margin > around.available:
        found.append(f"its margin may come to ${margin:.2f}, and ${around.available:.2f} are free")
    return found


def worst_loss(plan: Plan, price: Decimal, instrument: Instrument, taker: Decimal) -> Decimal:
    """What is lost where all that may be deployed was bought at a price and the stop closes it, with fees, USD."""
    stop = plan.stop(price, instrument.tick_size)
    qty = plan.max_deployed / price
    return plan.sign * (price - stop) * qty + (plan.max_deployed + stop * qty) * taker


def _shape(plan: Plan, now_ms: int) -> list[str]:
    found = []
    try:
        schedule_of(plan.schedule, plan.anchor_ms)
    except DcaError as error:
        found.append(str(error))
    if plan.amount <= 0 or plan.max_deployed < plan.amount:
        found.append(f"at most ${plan.max_deployed} deployed must hold at least one amount of ${plan.amount}, above 0")
    if (plan.stop_pct is None) == (plan.stop_price is None):
        found.append("a plan needs its hard stop: a distance from the average entry (--stop-pct) or a price (--stop)")
    if plan.stop_pct is not None and not 0 < plan.stop_pct < 100:
        found.append(f"a stop at {plan.stop_pct} % of the average entry: expected above 0 and below 100")
    if plan.target_pct is not None and not 0 < plan.target_pct < (1000 if plan.side is Side.BUY else 100):
        found.append(
            f"a target {plan.target_pct} % from the average entry: expected above 0, of a short plan below 100"
        )
    if not 0 <= plan.safety_orders <= MOST_SAFETY:
        found.append(f"{plan.safety_orders} safety orders; expected 0 to {MOST_SAFETY}")
    elif plan.safety_orders:
        if not 0 < plan.safety_step_pct * plan.safety_orders < 100:
            found.append(f"{plan.safety_orders} safety orders of {plan.safety_step_pct} % each must end before 100 %")
        if not 0 < plan.safety_scale <= 10:
            found.append(f"a scale of {plan.safety_scale}; expected above 0 and at most 10")
    if plan.grace_s < 10:
        found.append(f"{plan.grace_s} s of grace; expected at least 10")
    if plan.end_ms is not None and plan.end_ms <= max(now_ms, plan.anchor_ms):
        found.append(f"its end {iso(plan.end_ms)} must come after its start and after now")
    return found


def _sizes(plan: Plan, around: Surroundings) -> list[str]:
    rules, found = around.instrument, []
    orders = [("amount", around.price, plan.scheduled_qty(around.price, rules))]
    orders += [
        (f"safety order {number}", price, qty)
        for number, (price, qty) in enumerate(plan.safety(around.price, rules), start=1)
    ]
    for name, price, qty in orders:
        least = max(rules.min_qty, rules.min_notional / price)
        if qty < rules.min_qty or qty * price < rules.min_notional:
            found.append(
                f"the {name} comes to {qty} {rules.base_coin} at {price}; at least {least:.6g}, about "
                f"${least * price * Decimal('1.02'):.2f}, are needed"
            )
        if qty > rules.max_market_qty:
            found.append(
                f"the {name} comes to {qty} {rules.base_coin}; the exchange takes at most {rules.max_market_qty}"
            )
    total = sum((price * qty for _, price, qty in orders), ZERO)
    total += plan.amount * TAKES_WITHIN
    if plan.safety_orders and total > plan.max_deployed:
        found.append(
            f"one scheduled and {plan.safety_orders} safety orders come to ${total:.2f}; at most ${plan.max_deployed} "
            "may be deployed"
        )
    return found


def _levels(plan: Plan, around: Surroundings) -> list[str]:
    """The stop lies beyond every safety order and before the liquidation; the target pays its fees."""
    rules, price, found = around.instrument, around.price, []
    stop = plan.stop(price, rules.tick_size)
    if stop <= 0 or plan.is_beyond(price, stop):
        where = "below" if plan.side is Side.BUY else "above"
        return [f"the stop {stop} must be {where} the price {price}, and above 0"]
    if abs(price - stop) < LEAST_TICKS * rules.tick_size:
        found.append(f"the stop {stop} is less than {LEAST_TICKS} ticks of {rules.tick_size} from the price {price}")
    qty = plan.scheduled_qty(price, rules)
    value = qty * price
    for number, (at, more) in enumerate(plan.safety(price, rules), start=1):
        if qty and plan.is_beyond(at, plan.stop(value / qty, rules.tick_size)):
            found.append(
                f"safety order {number} at {at} lies beyond the stop {plan.stop(value / qty, rules.tick_size)} of what "
                "was entered before it: take a wider stop, or fewer or narrower steps"
            )
            break
        qty, value = qty + more, value + more * at
    cost = 2 * around.taker * 100
    if plan.target_pct is not None and plan.target_pct < FEES_COVERED * cost:
        found.append(
            f"a target of {plan.target_pct} % does not pay {FEES_COVERED} times the fees of a trade, {cost:.3f} %"
        )
    lost = worst_loss(plan, price, rules, around.taker)
    left, held = around.equity - lost, plan.max_deployed / price
    maintenance = held * stop / (2 * rules.max_leverage)
    if left < maintenance * MARGIN_OVER_MAINTENANCE:
        found.append(
            f"with ${plan.max_deployed} held the stop {stop} would cost ${lost:.2f} of ${around.equity:.2f}; what is "
            f"left must be above ${maintenance * MARGIN_OVER_MAINTENANCE:.2f}, else the position is liquidated before"
        )
    return found
