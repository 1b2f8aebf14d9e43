"""What must hold between ledger and exchange after every recovery, counted. Reads only.

The exchange is asked while it is truthful. What is whose is known from `chaos.truth`, not from the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

import sqlalchemy as sa

from trading_assets.chaos import planned_exits
from trading_assets.chaos.findings import LAWS, NO_FOREIGN, Findings, Foreign, Levels
from trading_assets.chaos.planned_exits import Signalled
from trading_assets.chaos.sums import compare_sums
from trading_assets.chaos.truth import ZERO, Truth
from trading_assets.core.models import Execution, OrderPurpose, Position, Side
from trading_assets.core.ports import Exchange
from trading_assets.core.timeframes import Timeframe, floor_ms
from trading_assets.ledger import exit_decisions, orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.exit_decisions import DONE, PARTS, ExitDecision
from trading_assets.ledger.risk_events import GONE
from trading_assets.ledger.tables import entry_signals, fills, order_intents, positions, risk_events
from trading_assets.trading.decide.exits import DeclaredExits
from trading_assets.trading.saga.transitions import STATES


def compare(
    database: Database,
    exchange: Exchange,
    account: str,
    truth: Truth,
    foreign: Foreign,
    since_ms: int,
    moved: Levels | None = None,
) -> Findings:
    """Hold the ledger against the exchange; executions from `since_ms` on.

    Args:
        truth: of all executions of the account; those since `since_ms` are fed into it.
        moved: stops and targets of ours that a person has moved and that may stay so.
    """
    found, moved = Findings(), moved or {}
    executions = exchange.executions(since_ms, exchange.now_ms() + 1)
    truth.feed(executions)
    everything = list(exchange.positions())
    held = [each for each in everything if each.symbol not in truth.of_grids]
    waiting = _foreign(found, exchange, held, foreign, truth)
    with database.read() as connection:
        intents = {row["order_link_id"]: dict(row) for row in connection.execute(_all_intents(account)).mappings()}
        booked = list(connection.execute(sa.select(positions).where(positions.c.account == account)).mappings())
        since = (fills.c.account == account) & (fills.c.time_ms >= since_ms)
        known = set(connection.execute(sa.select(fills.c.exec_id).where(since)).scalars())
        told = {symbol: text for symbol, text in _told(connection, account).items() if symbol not in truth.of_grids}
        decided = exit_decisions.of_intents(connection, intents)
        filled_ms = _first_fills(connection, account)
    _entries(found, [row for row in executions if exchange.order_ids.is_entry(row.order_link_id)], intents, truth)
    ticks = {row.symbol: row.tick_size for row in exchange.instruments()} if decided else {}
    for link, intent in intents.items():
        levels = None
        if link in decided:
            signalled = _signalled(intent, ticks[str(intent["symbol"])], filled_ms.get(link, 0))
            levels = planned_exits.allowed(exchange, signalled, decided[link])
        _as_signalled(found, link, intent, levels)
    _resting(found, exchange, intents)
    _parts(found, exchange, intents, decided, truth)
    ours = {each.symbol: each for each in held if not each.position_idx and truth.left(each.symbol)}
    _positions(found, ours, intents, truth, moved)
    for each in held:
        explained = each.symbol in ours or each.symbol in foreign.sizes or each.symbol in truth.hedged
        if not explained and not truth.foreign.get(each.symbol):
            found.orphans.append(f"{each.symbol} {each.size} is open, no intent of ours is")
    found.mismatches += [
        f"{link} is still {intent['status']}"
        for link, intent in intents.items()
        if intent["status"] in orders.UNRESOLVED and intent["status"] != orders.RESTING
    ]
    found.mismatches += [
        f"signal of {link} is {intent['signal_status']}, its order {intent['status']}"
        for link, intent in intents.items()
        if intent["signal_status"] not in _signal_states(intent["status"])
    ]
    in_ledger = {(row["symbol"], row["position_idx"]): (row["side"], row["size"], row["stop_loss"]) for row in booked}
    at_exchange = {(one.symbol, one.position_idx): (one.side.value, one.size, one.stop_loss) for one in everything}
    if in_ledger != at_exchange:
        found.mismatches.append(f"the ledger holds {in_ledger}, the exchange {at_exchange}")
    executed = {execution.exec_id for execution in executions}
    if executed != known:
        found.mismatches.append(f"fills of one side only: {sorted(executed ^ known)}")
    _silence(found, told, held, ours, intents, truth, waiting)
    return found


def _all_intents(account: str) -> sa.Select[tuple[object, ...]]:
    wanted = (
        *("status", "position_type", "stop_loss", "take_profit", "position_size", "leverage"),
        *("exit_plan", "timeframe", "signal_timestamp_ms", "entry_price"),
    )
    return (
        sa.select(order_intents, *(entry_signals.c[name].label(f"signal_{name}") for name in wanted))
        .join(entry_signals, entry_signals.c.signal_id == order_intents.c.signal_id)
        .where(order_intents.c.account == account)
    )


def _signal_states(status: object) -> set[str]:
    """What the signal of an intent may be; that of an abandoned one was put back, and may have ended since."""
    usual = STATES[str(status)].signal
    put_back = {signals.ACTIVE, signals.EXPIRED, signals.REJECTED} if status == orders.ABANDONED else set[str]()
    return {usual, *put_back}


def _told(connection: sa.Connection, account: str) -> dict[str | None, str]:
    """Differences whose episode lasts, by symbol."""
    rows = connection.execute(
        sa.select(risk_events.c.symbol, risk_events.c.detail)
        .where(risk_events.c.account == account, risk_events.c.kind == "difference")
        .order_by(risk_events.c.event_id)
    )
    return {symbol: detail for symbol, detail in {row.symbol: row.detail for row in rows}.items() if detail != GONE}


def _foreign(found: Findings, exchange: Exchange, held: Sequence[Position], foreign: Foreign, truth: Truth) -> set[str]:
    """Symbols in which orders of others wait."""
    by_symbol = {each.symbol: each for each in held}
    for symbol, size in foreign.sizes.items():
        position = by_symbol.get(symbol)
        if position is None or position.size != size or position.stop_loss is not None:
            found.foreign.append(f"the foreign position of {symbol} was touched: {position}, it was {size}")
    for each in held:
        is_mine = each.symbol in foreign.sizes or truth.left(each.symbol) or each.symbol in truth.shared
        if not is_mine and each.stop_loss is not None:
            found.foreign.append(f"{each.symbol} {each.side.value} {each.size} is a person's, and has a stop now")
    open_orders = [order for order in exchange.open_orders() if order.purpose is OrderPurpose.ORDINARY]
    waiting = {order.order_id: order.symbol for order in open_orders}
    # What a person closes fills in parts, and its order is open until then.
    if not set(foreign.orders.items()) <= set(waiting.items()):
        found.foreign.append(f"foreign orders were {foreign.orders}, now {waiting} are open")
    found.foreign += truth.taken
    truth.taken.clear()
    # What is told of contracts of grids and plans is not compared here, so that their orders are not, either.
    theirs = {order.symbol for order in open_orders if not exchange.order_ids.is_ours(order.order_link_id)}
    return theirs - truth.of_grids


def _resting(found: Findings, exchange: Exchange, intents: Mapping[str, dict[str, object]]) -> None:
    """Entries that wait at the exchange are those that wait in the ledger, as they were asked for."""
    is_entry = exchange.order_ids.is_entry
    waiting = {row.order_link_id: row for row in exchange.open_orders() if is_entry(row.order_link_id)}
    here = {link: intent for link, intent in intents.items() if intent["status"] == orders.RESTING}
    found.orphans += [
        f"order {link} waits at the exchange, its intent is {intents[link]['status'] if link in intents else None}"
        for link in waiting.keys() - here.keys()
    ]
    for link, intent in here.items():
        order = waiting.get(link)
        if intent["request"] is not None:
            continue  # what was asked for may be done meanwhile
        if order is None:
            found.mismatches.append(f"{link} waits in the ledger, and not at the exchange")
        elif (order.price, order.qty, order.filled_qty) != (
            intent["price"],
            intent["qty"],
            intent["filled_qty"] or ZERO,
        ):
            found.mismatches.append(
                f"{link} waits as {order.price}, {order.qty}, {order.filled_qty} filled; the ledger has "
                f"{intent['price']}, {intent['qty']}, {intent['filled_qty']}"
            )


def _entries(
    found: Findings, executions: Sequence[Execution], intents: Mapping[str, dict[str, object]], truth: Truth
) -> None:
    by_link: dict[str, list[Execution]] = defaultdict(list)
    for execution in executions:
        by_link[execution.order_link_id].append(execution)
    for link, rows in by_link.items():
        placed = {row.order_id for row in rows}
        found.entries |= placed
        intent = intents.get(link)
        if intent is None or intent["status"] not in (orders.CONFIRMED, orders.CLOSED, orders.RESTING):
            found.orphans.append(f"order {link} was filled, its intent is {intent and intent['status']}")
            continue
        qty = truth.filled[link]  # one that waits fills over several rounds
        if len(placed | truth.entries[link]) > 1 or qty > intent["qty"]:  # type: ignore[operator]
            found.duplicates.append(
                f"{link} has {len(truth.entries[link])} orders of {qty} in all, wanted {intent['qty']}"
            )
        if qty != intent["filled_qty"]:
            found.mismatches.append(f"{link} filled {qty}, the ledger says {intent['filled_qty']}")
        _worth(found, link, intent, rows, qty)


SIZE_TOLERANCE = Decimal("0.2")
"""A quantity is rounded to its step and filled at another price than its signal had."""


def _as_signalled(
    found: Findings, link: str, intent: Mapping[str, object], levels: tuple[Decimal, Decimal] | None
) -> None:
    """Whether an intent, sent or not, is that of its signal; with `levels`, those that its exit plan allows by now."""
    wanted = Side.BUY if intent["signal_position_type"] == "LONG" else Side.SELL
    if intent["side"] != wanted.value:
        found.wrong_levels.append(f"{link} is {intent['side']}, its signal {intent['signal_position_type']}")
    for name in ("stop_loss", "take_profit", "leverage"):
        signalled = Decimal(str(intent[f"signal_{name}"]))
        if levels is not None and name != "leverage":
            signalled = levels[0] if name == "stop_loss" else levels[1]
        if intent[name] != signalled:
            found.wrong_levels.append(f"{link} has {name} {intent[name]}, its signal {signalled}")


def _signalled(intent: Mapping[str, object], tick: Decimal, filled_ms: int) -> Signalled:
    """What the levels of a position with an exit plan follow from."""
    step = Timeframe(str(intent["signal_timeframe"])).ms
    return Signalled(
        symbol=str(intent["symbol"]),
        plan=DeclaredExits.from_json(str(intent["signal_exit_plan"])).plan,
        timeframe=Timeframe(str(intent["signal_timeframe"])),
        long=intent["signal_position_type"] == "LONG",
        opened_ms=int(str(intent["signal_signal_timestamp_ms"])),
        entry=float(str(intent["signal_entry_price"])),
        stop=Decimal(str(intent["signal_stop_loss"])),
        target=Decimal(str(intent["signal_take_profit"])),
        tick=tick,
        since_ms=floor_ms(filled_ms, step) + step if filled_ms and intent["price"] is not None else 0,
    )


def _first_fills(connection: sa.Connection, account: str) -> dict[str, int]:
    first = sa.select(fills.c.order_link_id, sa.func.min(fills.c.time_ms)).where(fills.c.account == account)
    return {row[0]: int(row[1]) for row in connection.execute(first.group_by(fills.c.order_link_id))}


def _parts(
    found: Findings,
    exchange: Exchange,
    intents: Mapping[str, dict[str, object]],
    decided: Mapping[str, Sequence[ExitDecision]],
    truth: Truth,
) -> None:
    """Orders of exit plans wait only while there is something of ours for them, and no decision is left undone."""
    parts = {
        exchange.order_ids.encode(str(intents[link]["signal_id"]), f"p{number + 1}"): link
        for link, decisions in decided.items()
        if any(one.kind == PARTS for one in decisions)
        for number in range(len(DeclaredExits.from_json(str(intents[link]["signal_exit_plan"])).plan.parts))
    }
    ids = exchange.order_ids
    open_orders = exchange.open_orders()
    waiting = [row for row in open_orders if ids.is_ours(row.order_link_id) and not ids.is_entry(row.order_link_id)]
    for row in waiting:
        if row.symbol in truth.of_grids or row.price is None or row.trigger_price is not None:
            continue
        link = parts.get(row.order_link_id)
        status = intents[link]["status"] if link is not None else None
        if status != orders.CONFIRMED or not row.reduce_only:
            found.left_waiting.append(f"{row.order_link_id} of {row.symbol} waits, its position is {status}")
    found.left_waiting += [
        f"{link} has decided {one.kind} at {one.bar_close_ms}, and it is {one.state}"
        for link, decisions in decided.items()
        if intents[link]["status"] == orders.CLOSED
        for one in decisions
        if one.kind == PARTS and one.state != DONE
    ]


def _worth(found: Findings, link: str, intent: Mapping[str, object], rows: Sequence[Execution], qty: Decimal) -> None:
    if any(row.side.value != intent["side"] for row in rows):
        found.wrong_levels.append(f"{link} was filled on another side than {intent['side']}")
    value = sum((row.value for row in rows), ZERO)
    meant = Decimal(str(intent["signal_position_size"]))
    one = value / qty if qty else ZERO
    least = meant * (1 - SIZE_TOLERANCE) - 2 * one if intent["price"] is None else ZERO  # else filled in part
    if not least <= value <= meant * (1 + SIZE_TOLERANCE):
        found.wrong_levels.append(f"{link} is worth {value:.2f} USD, its signal {meant} USD")


def _positions(
    found: Findings,
    ours: Mapping[str, Position],
    intents: Mapping[str, dict[str, object]],
    truth: Truth,
    moved: Levels,
) -> None:
    open_intents = {
        str(row["symbol"]): row for row in intents.values() if row["status"] in (orders.CONFIRMED, orders.RESTING)
    }
    for symbol, position in ours.items():
        intent = open_intents.get(symbol)
        if position.stop_loss is None:
            found.unprotected.append(f"{symbol} {position.side.value} {position.size} has no stop")
        if intent is None:
            found.orphans.append(f"{symbol} {truth.left(symbol)} is open, no intent of ours is")
            continue
        allowed = (intent["filled_qty"] or ZERO) + abs(truth.foreign.get(symbol, ZERO))  # type: ignore[operator]
        if position.size > allowed:
            found.duplicates.append(f"{symbol} holds {position.size}, its order filled {intent['filled_qty']}")
        levels = (position.stop_loss, position.take_profit)
        signalled = (intent["stop_loss"], intent["take_profit"])
        by_person = moved.get(symbol, signalled)
        if position.stop_loss is not None and any(
            level not in (one, other) for level, one, other in zip(levels, signalled, by_person, strict=True)
        ):
            found.wrong_levels.append(f"{symbol} has stop and target {levels}, its signal {signalled}")
        elif position.stop_loss is not None and _risks_more(position, intent["stop_loss"]):
            found.wrong_levels.append(f"{symbol} has the stop {levels[0]}, looser than its signal's {signalled[0]}")
        if position.leverage != intent["leverage"]:
            found.wrong_levels.append(f"{symbol} has leverage {position.leverage}, its signal {intent['leverage']}")
        if position.side.value != intent["side"]:
            found.wrong_levels.append(f"{symbol} is {position.side.value}, its order {intent['side']}")
    found.mismatches += [
        f"{symbol} is open in the ledger, not at the exchange"
        for symbol, intent in open_intents.items()
        if symbol not in ours and intent["status"] == orders.CONFIRMED
    ]


def _risks_more(position: Position, signalled: object) -> bool:
    stop = position.stop_loss
    return stop is not None and (stop < signalled if position.side is Side.BUY else stop > signalled)  # type: ignore[operator]


def _silence(
    found: Findings,
    told: Mapping[str | None, str],
    held: Sequence[Position],
    ours: Mapping[str, Position],
    intents: Mapping[str, dict[str, object]],
    truth: Truth,
    waiting: Collection[str],
) -> None:
    """What is foreign, or was changed by a person, is told as long as it is so, and not longer."""
    causes = {symbol: f"a foreign order of {symbol}" for symbol in waiting}
    for each in held:
        if each.symbol not in ours or truth.foreign.get(each.symbol):
            causes[each.symbol] = f"foreign quantity in {each.symbol} {each.side.value} {each.size}"
    for intent in intents.values():
        position = ours.get(str(intent["symbol"]))
        if intent["status"] != orders.CONFIRMED or position is None:
            continue
        if (position.stop_loss, position.take_profit) != (intent["stop_loss"], intent["take_profit"]):
            causes.setdefault(position.symbol, f"a stop or target of {position.symbol} that was changed")
    # What others have beside an entry that waits is told when that has ended.
    later = {intent["symbol"] for intent in intents.values() if intent["status"] == orders.RESTING} - set(waiting)
    found.silent += [f"{cause} is not told" for symbol, cause in causes.items() if symbol not in {*told, *later}]
    found.silent += [f"told without a cause: {text}" for symbol, text in told.items() if symbol not in causes]


def compare_all(
    database: Database,
    exchange: Exchange,
    account: str,
    since_ms: int,
    deposit: Decimal,
    *,
    hedged: Collection[str] = (),
    moved: Levels | None = None,
    of_grids: Collection[str] = (),
) -> Findings:
    """All laws, from the account's first moment on.

    Args:
        since_ms: when the account was opened with `deposit`.
        hedged: contracts whose legs are a person's.
        moved: stops and targets of ours that a person has moved and that may stay so.
        of_grids: contracts of grids and DCA plans, which are compared apart.
    """
    truth = Truth(exchange.order_ids, set(hedged), set(of_grids))
    found = compare(database, exchange, account, truth, NO_FOREIGN, since_ms, moved)
    sums = compare_sums(database, exchange, account, truth, since_ms, deposit)
    for name in LAWS:
        getattr(found, name).extend(getattr(sums, name))
    return found
