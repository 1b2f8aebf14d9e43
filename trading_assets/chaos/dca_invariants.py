"""What must hold between the books of a DCA plan and the exchange whenever nothing moves, found apart from the plan's
own code: from executions, open orders and the position. Reads only.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from trading_assets.chaos.findings import Findings
from trading_assets.core.models import Execution, Order, Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.timeframes import iso
from trading_assets.ledger import dca
from trading_assets.ledger.database import Database
from trading_assets.ledger.dca import BuyRow, PlanOrder, PlanRow
from trading_assets.trading.dca.accounting import Accounts, accounts_of
from trading_assets.trading.dca.plans import plan_of

ZERO = Decimal(0)
MOST_TIMES = 1_000_000


def compare_plan(found: Findings, database: Database, exchange: Exchange, row: PlanRow, *, rests: bool = True) -> None:
    """Hold one plan against the exchange.

    Args:
        rests: passes have come to an end: it is not on its way, and nobody else trades its contract.
    """
    name = f"DCA plan {row.plan_id}"
    waiting = [one for one in exchange.open_orders(row.symbol) if not one.purpose.is_protective]
    listed = exchange.executions(row.created_ms, (row.ended_ms or exchange.now_ms()) + 1)
    executions = [one for one in listed if one.symbol == row.symbol and one.kind.moves_position]
    funding = [one for one in listed if one.symbol == row.symbol and not one.kind.moves_position]
    position = exchange.position(row.symbol)
    with database.read() as connection:
        accounts = accounts_of(connection, row)
    by_link = {order.order_link_id: order for order in accounts.orders}
    filled = _filled(found, name, executions, by_link)
    _one_order(found, name, waiting, accounts.orders, by_link)
    _deployed(found, name, row, accounts, waiting, by_link)
    if row.state != dca.ENDED:
        mine = exchange.order_ids.is_ours
        found.orphans += [
            f"{name}: order {one.order_link_id} waits, and is not known"
            for one in waiting
            if mine(one.order_link_id) and one.order_link_id not in by_link
        ]
    _schedule(found, name, row, accounts.buys, by_link, filled, rests=rests)
    if not rests or accounts.books.foreign or accounts.shared:
        return
    held = sum((_signed(one) for one in executions), ZERO)
    if held != accounts.expected:
        found.dca_inventory.append(f"{name}: its executions come to {held}, its books to {accounts.expected}")
    mark = row.mark_price or ZERO
    cash = sum((-one.value if one.side is Side.BUY else one.value for one in executions), ZERO)
    money = cash - sum((one.fee for one in [*executions, *funding]), ZERO) + held * mark
    if money != accounts.total(mark):
        found.dca_profit.append(f"{name}: money changed by {money}, its books say {accounts.total(mark)}")
    if row.state != dca.ENDED:
        there = ZERO if position is None else position.size if position.side is Side.BUY else -position.size
        if there != held:
            found.dca_inventory.append(f"{name}: the exchange holds {there}, its executions come to {held}")
        _protected(found, name, exchange, row, executions, position)


def left_of_ended(exchange: Exchange, row: PlanRow, orders: Sequence[PlanOrder]) -> list[str]:
    """Orders of a plan that has ended, and wait."""
    links = {order.order_link_id for order in orders}
    return [
        f"DCA plan {row.plan_id} has ended, and {one.order_link_id} waits"
        for one in exchange.open_orders(row.symbol)
        if one.order_link_id in links
    ]


def _filled(
    found: Findings, name: str, executions: Sequence[Execution], by_link: Mapping[str, PlanOrder]
) -> dict[str, Decimal]:
    """What each order has filled; never more than was wished, by one order at the exchange."""
    filled: dict[str, Decimal] = defaultdict(Decimal)
    ids: dict[str, set[str]] = defaultdict(set)
    for one in executions:
        if one.order_link_id in by_link:
            filled[one.order_link_id] += one.qty
            ids[one.order_link_id].add(one.order_id)
    found.dca_duplicates += [
        f"{name}: {link} filled {qty} in {len(ids[link])} orders, wished {by_link[link].qty}"
        for link, qty in filled.items()
        if qty > by_link[link].qty or len(ids[link]) > 1
    ]
    return filled


def _one_order(
    found: Findings, name: str, waiting: Sequence[Order], orders: Sequence[PlanOrder], by_link: Mapping[str, PlanOrder]
) -> None:
    """One order a scheduled time, ever; one at a time a step."""
    times = Counter(order.due_ms for order in orders if order.purpose == dca.BUY)
    steps = Counter(
        (by_link[one.order_link_id].round, by_link[one.order_link_id].step)
        for one in waiting
        if one.order_link_id in by_link and by_link[one.order_link_id].purpose == dca.SAFETY
    )
    found.dca_duplicates += [f"{name}: {due} has {count} orders" for due, count in times.items() if count > 1]
    found.dca_duplicates += [
        f"{name}: {count} orders of step {step} wait" for step, count in steps.items() if count > 1
    ]


def _deployed(
    found: Findings,
    name: str,
    row: PlanRow,
    accounts: Accounts,
    waiting: Sequence[Order],
    by_link: Mapping[str, PlanOrder],
) -> None:
    adds = [one for one in waiting if one.order_link_id in by_link and by_link[one.order_link_id].opens]
    value = accounts.books.value + sum(((one.price or ZERO) * (one.qty - one.filled_qty) for one in adds), ZERO)
    if value > row.max_deployed:
        found.dca_schedule.append(f"{name}: {value} are deployed or wait to be, at most {row.max_deployed} may be")


def _schedule(
    found: Findings,
    name: str,
    row: PlanRow,
    buys: Sequence[BuyRow],
    by_link: Mapping[str, PlanOrder],
    filled: Mapping[str, Decimal],
    *,
    rests: bool,
) -> None:
    """Each scheduled time up to the last decision has its outcome, once, and the one that executions tell."""
    due = [buy.due_ms for buy in buys]
    plan = plan_of(row)
    wanted = plan.times.between(max(row.created_ms, plan.anchor_ms) - 1, row.decided_ms, MOST_TIMES)
    if due != wanted:
        odd = sorted(set(due) ^ set(wanted))[:3]
        found.dca_schedule.append(f"{name}: {len(due)} outcomes of {len(wanted)} times: {[iso(one) for one in odd]}")
    for buy in buys:
        link = buy.order_link_id or ""
        qty = filled.get(link, ZERO)
        is_open = link in by_link and by_link[link].status != dca.DONE
        if is_open or not rests:
            continue
        if (buy.outcome == dca.FILLED) != (qty > 0) or buy.outcome == dca.ORDERED:
            found.dca_schedule.append(f"{name}: {iso(buy.due_ms)} is {buy.outcome}, its order filled {qty}")


def _protected(
    found: Findings,
    name: str,
    exchange: Exchange,
    row: PlanRow,
    executions: Sequence[Execution],
    position: Position | None,
) -> None:
    """What is held has the stop of its average entry, found from executions alone."""
    if position is None:
        return
    if position.stop_loss is None:
        found.unprotected.append(f"{name}: {position.size} has no stop")
        return
    held = value = ZERO
    for one in executions:
        if one.side is row.side:
            held, value = held + one.qty, value + one.value
        else:
            value -= value * one.qty / held if held else ZERO
            held -= one.qty
    rules = next((one for one in exchange.instruments() if one.symbol == row.symbol), None)
    if rules is None or held <= 0:
        return
    wanted = plan_of(row).stop(value / held, rules.tick_size)
    if abs(position.stop_loss - wanted) > rules.tick_size:
        found.wrong_levels.append(f"{name}: has the stop {position.stop_loss}, its average entry's is {wanted}")


def _signed(one: Execution) -> Decimal:
    return one.qty if one.side is Side.BUY else -one.qty
