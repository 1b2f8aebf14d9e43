"""`/admin/...`: the face that Bybit does not have: health, clock, faults, contracts and closings by the venue.

Unsigned. Health answers to everybody, the others to the own machine only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version

from trading_assets.core.timeframes import iso
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.codec import Params, Refusal, places_of, plain, trimmed
from trading_assets.simulator.faults.injector import Faults
from trading_assets.simulator.faults.parsing import Endpoint, parse_rules
from trading_assets.simulator.market.base import UnknownPriceError
from trading_assets.simulator.rest.market import STATUSES, instrument_row
from trading_assets.simulator.venue import Venue

NAME = "trading-assets embedded exchange"


def health(venue: Venue, params: Params, now_ms: int) -> dict[str, object]:
    """Who this is and how the account stands."""
    state = venue.engine.state
    config = venue.config
    try:
        account = venue.engine.figures(now_ms)
        equity, wallet = trimmed(account.margin_balance), trimmed(account.wallet)
    except UnknownPriceError:
        equity = wallet = "unknown"
    return {
        "name": NAME,
        "pid": os.getpid(),
        "version": _version(),
        "home": str(config.home.resolve()) if config.home is not None else "",
        "clock": venue.clock.mode.value,
        "speed": venue.clock.position().speed,
        "now_ms": now_ms,
        "now": iso(now_ms),
        "market": venue.market_name,
        "keeps_paths": venue.market.keeps_paths,
        "seed": config.seed,
        "symbols": config.symbols,
        "contracts": len(venue.market.contracts),
        "finest_minutes": venue.market.finest_minutes,
        "account": {
            "account_id": state.header.account_id,
            "settled_ms": state.header.settled_ms,
            "equity": equity,
            "wallet_balance": wallet,
            "open_positions": len(state.open_positions()),
            "orders": len(state.orders),
            "executions": len(state.executions),
        },
    }


@lru_cache(maxsize=1)
def _version() -> str:
    return version("trading-assets")


def set_clock(venue: Venue, params: Params) -> dict[str, object]:
    """Move a manual clock by `advance_ms` or to `set_ms`, or let an accelerated one go on at `speed`.

    Raises:
        ValueError: none or several are given, the clock is of another kind, or the time has passed.
    """
    advance, target, speed = params.integer("advance_ms"), params.integer("set_ms"), params.decimal("speed")
    if sum(one is not None for one in (advance, target, speed)) != 1:
        raise ValueError('expected {"advance_ms": N}, {"set_ms": N} or {"speed": N}')
    if speed is not None:
        now = venue.set_speed(float(speed))
        return {"now_ms": now, "now": iso(now)}

    now = venue.advance(lambda now_ms: now_ms + advance if advance is not None else target or 0)
    return {"now_ms": now, "now": iso(now)}


def who_it_is(venue: Venue, params: Params, now_ms: int) -> dict[str, object]:
    """What another machine may know: that it is an embedded exchange, of which market, at what time."""
    told = health(venue, params, now_ms)
    return {name: value for name, value in told.items() if name not in ("home", "pid", "account")} | {"pid": 0}


def change_contract(venue: Venue, params: Params) -> dict[str, object]:
    """Put new rules of the contract `symbol` in force, until the exchange ends.

    `status`, `delivery_ms` or `delivery_in_ms` (its end, announced from now on; 0 takes it back), `qty_step` (the least
    quantity with it), `min_notional`, `max_leverage`, `max_active` and `max_conditional` (orders that may wait),
    `tick_size` (waiting orders keep the old one: they can be cancelled, and not changed off the new one).

    Raises:
        ValueError: a parameter is unknown or malformed, or the step does not fit the market's.
        Refusal: there is no such contract.
    """
    contract = contract_of(venue.market, params.required("symbol"))
    known = {
        *("symbol", "status", "delivery_ms", "delivery_in_ms", "qty_step", "min_notional", "max_leverage"),
        *("max_active", "max_conditional", "tick_size"),
    }
    if unknown := sorted(params.values.keys() - known):
        raise ValueError(f"unknown: {', '.join(unknown)}; a contract has {', '.join(sorted(known))}")
    status = params.text("status", contract.status)
    if status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(sorted(STATUSES))}, found {status!r}")
    delivery_ms, within_ms = params.integer("delivery_ms"), params.integer("delivery_in_ms")
    if within_ms is not None:
        delivery_ms = venue.clock.now_ms() + within_ms
    if delivery_ms is None:
        delivery_ms = contract.delivery_ms
    elif delivery_ms and delivery_ms <= venue.clock.now_ms():
        raise ValueError("a delivery must lie ahead")
    step = params.decimal("qty_step") or contract.qty_step
    if step <= 0 or (step % contract.qty_step and contract.qty_step % step):
        raise ValueError(f"qty_step must be a multiple or a part of {contract.qty_step}, found {step}")
    tick = params.decimal("tick_size") or contract.tick_size
    if tick <= 0 or (tick % contract.tick_size and contract.tick_size % tick):
        raise ValueError(f"tick_size must be a multiple or a part of {contract.tick_size}, found {tick}")
    changed = replace(
        contract,
        status=status,
        tick_size=tick,
        price_scale=places_of(tick),
        max_active=_count(params, "max_active", contract.max_active),
        max_conditional=_count(params, "max_conditional", contract.max_conditional),
        delivery_ms=delivery_ms,
        qty_step=step,
        min_qty=step if step != contract.qty_step else contract.min_qty,
        min_notional=params.decimal("min_notional") or contract.min_notional,
        max_leverage=params.decimal("max_leverage") or contract.max_leverage,
    )
    venue.transact(lambda now_ms: venue.revise(changed))
    return {"contract": instrument_row(changed, venue.clock.now_ms())}


def _count(params: Params, name: str, default: int) -> int:
    value = params.integer(name, default)
    if value is None or value < 0:
        raise ValueError(f"{name} must be 0 or more, found {value}")
    return value


CANCEL_TYPES = (
    *("CancelByAdmin", "CancelByDCP", "CancelBySmp", "CancelByReduceOnly", "CancelAllBeforeLiq"),
    *("CancelByPrepareLiq", "CancelAllBeforeAdl", "CancelByPrepareAdl", "CancelBySettle", "CancelByUser"),
)
"""Bybit's words for who cancelled an order."""


def cancel_orders(venue: Venue, params: Params) -> dict[str, object]:
    """The venue cancels the waiting orders of `symbol`, or the one with `link`, with the word `cancel_type`.

    Raises:
        ValueError: the word is none of `CANCEL_TYPES`.
    """
    word, symbol, link = params.text("cancel_type", "CancelByAdmin"), params.required("symbol"), params.text("link")
    if word not in CANCEL_TYPES:
        raise ValueError(f"cancel_type must be one of {', '.join(CANCEL_TYPES)}, found {word}")

    def cancel(now_ms: int) -> dict[str, object]:
        chosen = [
            order
            for order in venue.engine.open_orders()
            if order.symbol == symbol and not order.is_exit and (not link or order.order_link_id == link)
        ]
        venue.engine.cancel_by_venue(chosen, word, now_ms)
        return {"cancelled": len(chosen)}

    contract_of(venue.market, symbol)
    return venue.transact(cancel)


CLOSINGS = {
    "adl": ("AdlTrade", "CreateByAdl_PassThrough"),
    "liquidation": ("BustTrade", "CreateByTakeOver_PassThrough"),
    "delivery": ("Delivery", "CreateBySettle"),
    "settlement": ("Settle", "CreateBySettle"),
    "move": ("MovePosition", "CreateByMovePosition"),
}
"""Reason -> execution type and creation type."""


def close_position(venue: Venue, params: Params) -> dict[str, object]:
    """The venue closes `qty` (default: all) of a position at the mark price, for one of the reasons in `CLOSINGS`.

    Raises:
        ValueError: the reason is unknown, or there is not so much to close.
    """
    reason, symbol, index = params.text("reason", "adl"), params.required("symbol"), params.integer("position_idx", 0)
    if reason not in CLOSINGS:
        raise ValueError(f"reason must be one of {', '.join(CLOSINGS)}, found {reason!r}")
    qty = params.decimal("qty")

    def close(now_ms: int) -> dict[str, object]:
        position = venue.engine.state.look_up(symbol, index or 0)
        size = abs(position.size)
        closed = size if qty is None else qty
        if not 0 < closed <= size:
            raise Refusal(10001, f"the position of {symbol} is {size}, asked for is closing {closed}")
        venue.engine.close_by_venue(position, closed, *CLOSINGS[reason], now_ms)
        return {"closed": plain(closed), "left": plain(abs(position.size))}

    contract_of(venue.market, symbol)
    return venue.transact(close)


def show_faults(faults: Faults) -> dict[str, object]:
    """The rules in force, their hits and the last one of each."""
    return {"faults": faults.rows()}


def add_faults(faults: Faults, params: Params, endpoints: Iterable[Endpoint], now_ms: int) -> dict[str, object]:
    """Put one rule, or all of `{"faults": [...]}`, in force.

    Raises:
        ValueError: one of them is malformed; none was added.
    """
    return {"added": faults.add(parse_rules(dict(params.values), endpoints), now_ms)}


def lift_faults(faults: Faults, params: Params) -> dict[str, object]:
    """Lift the rule `id`, or all of them.

    Raises:
        ValueError: there is no such rule.
    """
    identifier = params.text("id")
    removed = faults.remove(identifier or None)
    if identifier and not removed:
        raise ValueError(f"no fault rule {identifier!r}: GET /admin/faults lists those in force")
    return {"removed": removed}


def refuse(error: ValueError | Refusal) -> dict[str, object]:
    """The body of a refused admin request."""
    return {"error": str(error)}
