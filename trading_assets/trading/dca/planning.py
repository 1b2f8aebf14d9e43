"""What a plan does next: from its books, the orders that work, the times that are due, and the market. Pure.

A plan whose stop, target and orders are as they are wished for, and for which nothing is due, decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_assets.core.models import CancelledBy, Instrument, Position, Side
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca
from trading_assets.ledger.dca import PlanOrder, PlanRow
from trading_assets.trading.dca.books import Books, Whose
from trading_assets.trading.dca.plans import TAKES_WITHIN, AfterTarget, Missed, Plan
from trading_assets.trading.grid.levels import ZERO, on_step
from trading_assets.trading.grid.planning import Market
from trading_assets.trading.kept import UNKNOWN

MOST_TRIES = 6
"""So many orders of one step in a row that could not rest; then a person is needed."""

LONGEST_WAIT_MS = 60_000
REFUSED_REST_MS = 10_000
"""A closing that was refused is sent again so long after it."""


@dataclass(frozen=True)
class Wish:
    """An order that is to be placed. Without a price it is at the market.

    Attributes:
        worth: what it may come to at most, USD.
    """

    purpose: str
    side: Side
    qty: Decimal
    price: Decimal | None = None
    due_ms: int | None = None
    step: int | None = None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    worth: Decimal = ZERO


@dataclass(frozen=True)
class View:
    """All that is decided on.

    Attributes:
        orders: all of the plan, ended ones too.
        due: scheduled times without an outcome that have come, ascending; `more`: later ones have come, too.
        instrument: None where the contract is not listed any more.
        position: as the exchange shows it.
        is_settled: the position is what the fills come to.
        exited: why the venue has closed the position, its target aside; empty where it has not.
        stopped: why nothing may be opened now; empty where it may.
        unknown: orders at work with the mark of plans that no ledger's row tells of.
        is_gone: nothing of what the fills come to is at the exchange, and has not been for a while.
    """

    row: PlanRow
    plan: Plan
    books: Books
    orders: Sequence[PlanOrder]
    due: Sequence[int]
    more: bool
    market: Market
    instrument: Instrument | None
    position: Position | None
    is_settled: bool
    now_ms: int
    exited: str = ""
    stopped: str = ""
    is_gone: bool = False
    unknown: Sequence[str] = ()

    @property
    def working(self) -> list[PlanOrder]:
        return [one for one in self.orders if one.status != dca.DONE]

    @property
    def is_held(self) -> bool:
        """Whether the exchange shows a position of the plan's side, and the fills do."""
        return self.books.held > 0 and self.position is not None and self.position.side is self.plan.side

    @property
    def deployed(self) -> Decimal:
        """The value at entry of what is held, and of all that the orders at work may still add, USD."""
        return self.books.value + sum((_left(one) for one in self.working if one.opens), ZERO)


@dataclass
class Decision:
    """What is to be done, in this order: state, outcomes, cancels, stop and target, places.

    Attributes:
        state: the state that the plan goes into, and why.
        hands_seen: closings by somebody else that are told with it.
        skipped: scheduled times that get no order, and why.
        levels: stop and target that the position is to have.
    """

    state: tuple[str, str] | None = None
    closes: bool | None = None
    hands_seen: int | None = None
    skipped: dict[int, str] = field(default_factory=dict)
    cancels: dict[str, str] = field(default_factory=dict)
    levels: tuple[Decimal, Decimal | None] | None = None
    places: list[Wish] = field(default_factory=list)

    @property
    def is_nothing(self) -> bool:
        return self == Decision()


def _left(order: PlanOrder) -> Decimal:
    return order.worth * (order.qty - order.filled_qty) / order.qty


def decide(view: View) -> Decision:
    """What a plan does next; nothing where all is as it is wished for."""
    found = Decision()
    for order in view.working:
        if order.cancel is not None:
            found.cancels[order.order_link_id] = order.cancel
    found.cancels |= dict.fromkeys(view.unknown, UNKNOWN)
    if view.row.state != dca.STOPPING:
        _change_state(view, found)
        if found.state is not None:
            return found
    _protect(view, found)
    why = _why_closed(view)
    beyond = _beyond_the_most(view)
    for order in view.working:
        reason = _why_cancelled(view, order, why) or beyond.get(order.order_link_id, "")
        if reason:
            found.cancels.setdefault(order.order_link_id, reason)
    if view.row.state == dca.STOPPING:
        _wind_up(view, found)
        return found
    _schedule(view, found, why)
    if not why and view.is_settled and view.is_held and view.instrument is not None:
        _safety(view, found, view.instrument)
    return found


def _why_closed(view: View) -> str:
    """Why nothing may be opened now; empty where it may."""
    if view.row.state != dca.RUNNING:
        return f"the plan is {view.row.state}"
    if view.plan.end_ms is not None and view.now_ms >= view.plan.end_ms:
        return "its end has come"
    return view.stopped


def _change_state(view: View, found: Decision) -> None:
    row, books = view.row, view.books
    if view.exited:
        found.state, found.closes = (dca.STOPPING, view.exited), True
    elif view.instrument is None:
        found.state, found.closes = (dca.STOPPING, f"{row.symbol} is not listed any more"), True
    elif view.is_held and view.is_settled and view.plan.is_beyond(view.market.last, _levels(view)[0]):
        text = f"the price {view.market.last} has passed the stop {_levels(view)[0]}"
        found.state, found.closes = (dca.STOPPING, text), True
    elif books.hands > row.hands_seen and view.is_settled:
        found.hands_seen = books.hands
        if books.held or row.state != dca.RUNNING:
            found.state = (row.state, f"somebody else has closed a part of it: {books.held} are left")
        else:
            found.state = (dca.PAUSED, "somebody else has closed its position")
    elif books.last_closed_by is Whose.TARGET and not books.held and view.plan.after_target is AfterTarget.END:
        found.state, found.closes = (dca.STOPPING, "its target was reached"), True
    elif _has_come_to_its_end(view):
        found.state, found.closes = (dca.STOPPING, "its end has come"), True


def _has_come_to_its_end(view: View) -> bool:
    is_over = view.plan.end_ms is not None and view.now_ms >= view.plan.end_ms and not view.due
    return is_over and view.is_settled and not view.books.held and not any(order.opens for order in view.working)


def _levels(view: View) -> tuple[Decimal, Decimal | None]:
    average = view.books.average or view.market.last
    return view.plan.stop(average, view.market.tick), view.plan.target(average, view.market.tick)


def _protect(view: View, found: Decision) -> None:
    """Stop and target of what is held, by its average entry; what has passed its target is closed at the market."""
    position = view.position
    if position is None or not view.is_held or view.instrument is None:
        return
    if not view.is_settled:  # lists lag: the average is not known; whatever stop there is stays
        if position.stop_loss is None:
            stop = view.plan.stop(position.entry_price, view.market.tick)
            if not view.plan.is_beyond(view.market.last, stop):
                found.levels = stop, position.take_profit
        return
    stop, target = _levels(view)
    if (position.stop_loss, position.take_profit) == (stop, target):
        return
    if target is not None and not view.plan.is_beyond(view.market.last, target):
        if position.take_profit is None or view.plan.is_beyond(position.take_profit, target):
            _close(view, found, dca.TARGET)
        target = position.take_profit
    if (position.stop_loss, position.take_profit) != (stop, target):
        found.levels = stop, target


def _close(view: View, found: Decision, purpose: str) -> None:
    """Close what the plan holds at the market, once at a time; a refused closing waits a little."""
    position = view.position
    if position is None or any(one.purpose in (dca.FLATTEN, dca.TARGET) for one in view.working):
        return
    refused = [one for one in view.orders if one.purpose == purpose and one.order_id is None and not one.filled_qty]
    if any(0 <= view.now_ms - one.updated_ms < REFUSED_REST_MS for one in refused):
        return
    qty = min(view.books.held, position.size)
    found.places.append(Wish(purpose, view.plan.side.opposite, qty))


def _why_cancelled(view: View, order: PlanOrder, why: str) -> str:
    if not order.opens:
        return ""
    if order.purpose == dca.BUY:
        return "what is not filled at once is not waited for" if order.status == dca.RESTING else ""
    if why:
        return why
    if order.round != view.books.rounds or not view.books.held:
        return "its round has ended"
    wished = dict(enumerate(_ladder(view), start=1)).get(order.step or 0)
    return "" if wished == (order.price, order.qty) else "the plan was changed"


def _beyond_the_most(view: View) -> dict[str, str]:
    """Safety orders for which no room is left, as the most that may be deployed was lowered: the nearest stay."""
    opening = [one for one in view.working if one.opens]
    safety = sorted((one for one in opening if one.purpose == dca.SAFETY), key=lambda one: one.step or 0)
    deployed = view.books.value + sum((_left(one) for one in opening if one.purpose == dca.BUY), ZERO)
    found = {}
    for order in safety:
        if deployed + _left(order) > view.plan.max_deployed:
            found[order.order_link_id] = f"no more than ${view.plan.max_deployed} may be deployed"
        else:
            deployed += _left(order)
    return found


def _ladder(view: View) -> list[tuple[Decimal, Decimal]]:
    base = view.books.base
    return [] if base is None or view.instrument is None else view.plan.safety(base, view.instrument)


def _schedule(view: View, found: Decision, why: str) -> None:
    """Each time that has come gets its outcome; the newest one, where it is in time, its order."""
    if not view.due or view.instrument is None:
        return
    older, newest = (view.due, None) if view.more else (view.due[:-1], view.due[-1])
    for due in older:
        found.skipped[due] = f"it was missed, a later time has come: decided at {iso(view.now_ms)}"
    if newest is None:
        return
    if view.row.state == dca.PAUSED:
        found.skipped[newest] = "the plan is paused"
        return
    late = view.now_ms - newest
    if late > view.plan.grace_s * 1000 and view.plan.missed is not Missed.LATEST:
        found.skipped[newest] = f"it was missed by {late // 1000} s" + (f": {why}" if why else "")
        return
    if why or not view.is_settled or any(one.purpose == dca.BUY for one in view.working):
        return  # it waits for as long as it is in time
    wish = scheduled(view.plan, view.books, view.deployed, view.market, view.instrument, newest)
    if isinstance(wish, str):
        found.skipped[newest] = wish
    else:
        found.places.append(wish)


def scheduled(
    plan: Plan, books: Books, deployed: Decimal, market: Market, rules: Instrument, due_ms: int
) -> Wish | str:
    """The order of a scheduled time, or why there is none.

    Args:
        deployed: the value at entry of what is held and of what waits, USD.
    """
    is_buyer = plan.side is Side.BUY
    best = market.ask if is_buyer else market.bid
    limit = on_step(best * (1 + plan.sign * TAKES_WITHIN), market.tick, ROUND_FLOOR if is_buyer else ROUND_CEILING)
    qty = plan.scheduled_qty(best, rules)
    if qty < rules.min_qty or qty * best < rules.min_notional:
        return f"${plan.amount} come to {qty} at {best}: less than the exchange takes"
    worth = qty * max(limit, best * (1 + TAKES_WITHIN))
    if deployed + worth > plan.max_deployed:
        return f"no more may be deployed: ${deployed:.2f} are or wait to be, at most ${plan.max_deployed} may be"
    average = (books.value + qty * best) / (books.held + qty)
    stop, target = plan.stop(average, market.tick), plan.target(average, market.tick)
    if plan.is_beyond(min(market.last, best) if is_buyer else max(market.last, best), stop):
        return f"the price has passed the stop: {best} and {stop}"
    return Wish(dca.BUY, plan.side, qty, limit, due_ms, None, stop, _beyond(plan, target, limit), worth)


def _beyond(plan: Plan, target: Decimal | None, price: Decimal) -> Decimal | None:
    """A target that an order at a price may have attached; None where it lies on the losing side of it."""
    return target if target is not None and plan.sign * (target - price) > 0 else None


def safety_orders(
    plan: Plan, books: Books, deployed: Decimal, market: Market, rules: Instrument, taken: Set[int | None]
) -> list[Wish]:
    """The safety orders of a round that are to wait beside those that do, the nearest first.

    Args:
        deployed: the value at entry of what is held and of what waits, USD.
        taken: steps that wait, were filled, or have to wait for something.
    """
    found = list[Wish]()
    if books.base is None:
        return found
    held, value = books.held, books.value
    for step, (price, qty) in enumerate(plan.safety(books.base, rules), start=1):
        if step in taken:
            continue
        if qty < rules.min_qty or qty * price < rules.min_notional or deployed + qty * price > plan.max_deployed:
            continue
        held, value = held + qty, value + qty * price
        stop, target = plan.stop(value / held, market.tick), plan.target(value / held, market.tick)
        if plan.is_beyond(price, stop) or plan.is_beyond(market.last, stop):
            break
        deployed += qty * price
        attached = _beyond(plan, target, price)
        found.append(Wish(dca.SAFETY, plan.side, qty, price, None, step, stop, attached, qty * price))
    return found


def _safety(view: View, found: Decision, rules: Instrument) -> None:
    of_round = [one for one in view.orders if one.purpose == dca.SAFETY and one.round == view.books.rounds]
    taken = {one.step for one in of_round if one.status != dca.DONE or one.filled_qty > 0}
    taken |= {step for step in {one.step for one in of_round} if waits(view, [o for o in of_round if o.step == step])}
    deployed = view.deployed + sum((one.worth for one in found.places), ZERO)
    found.places += safety_orders(view.plan, view.books, deployed, view.market, rules, taken)


def waits(view: View, before: Sequence[PlanOrder]) -> str:
    """Why a step whose orders could not rest gets none now; empty where it gets one."""
    failed = [
        one for one in before if one.cancel is None and not one.filled_qty and one.created_ms >= view.row.resumed_ms
    ]
    if not failed:
        return ""
    if any(CancelledBy.REQUEST.value in (one.reason or "") for one in failed):
        return "its order was cancelled by somebody else"
    if len(failed) >= MOST_TRIES:
        return f"it could not be placed {len(failed)} times: {failed[-1].reason}"
    rest_ms = min(LONGEST_WAIT_MS, 1000 * 2 ** len(failed))
    is_new = 0 <= view.now_ms - failed[-1].updated_ms < rest_ms
    return "it was refused just now" if is_new else ""


def _wind_up(view: View, found: Decision) -> None:
    """Stopping: what opens is cancelled first, then the position is closed, then it has ended."""
    if any(order.opens for order in view.working):
        return
    if view.books.held and not view.is_gone:
        position = view.position
        if view.row.closes:
            if position is not None and position.side is view.plan.side:
                _close(view, found, dca.FLATTEN)
            return
        if position is None or position.stop_loss is None or not view.is_settled:
            return
    if not view.working and not found.places and found.levels is None:
        found.state = (dca.ENDED, view.row.reason or "stopped")
