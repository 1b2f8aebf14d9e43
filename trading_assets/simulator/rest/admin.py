"""`/admin/...`: the face that Bybit does not have: health, clock and faults. Unsigned, for the own machine only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version

from trading_assets.core.timeframes import iso
from trading_assets.simulator.codec import Params, Refusal, trimmed
from trading_assets.simulator.faults.injector import Faults
from trading_assets.simulator.faults.parsing import Endpoint, parse_rules
from trading_assets.simulator.venue import Venue

NAME = "trading-assets embedded exchange"


def health(venue: Venue, params: Params, now_ms: int) -> dict[str, object]:
    """Who this is and how the account stands."""
    state = venue.engine.state
    account = venue.engine.figures(now_ms)
    config = venue.config
    return {
        "name": NAME,
        "pid": os.getpid(),
        "version": _version(),
        "home": str(config.home.resolve()) if config.home is not None else "",
        "clock": venue.clock.mode.value,
        "now_ms": now_ms,
        "now": iso(now_ms),
        "seed": config.seed,
        "symbols": config.symbols,
        "contracts": len(venue.market.contracts),
        "account": {
            "account_id": state.header.account_id,
            "equity": trimmed(account.margin_balance),
            "wallet_balance": trimmed(account.wallet),
            "open_positions": len(account.positions),
            "orders": len(state.orders),
            "executions": len(state.executions),
        },
    }


@lru_cache(maxsize=1)
def _version() -> str:
    return version("trading-assets")


def set_clock(venue: Venue, params: Params) -> dict[str, object]:
    """Move a manual clock by `advance_ms` or to `set_ms`.

    Raises:
        ValueError: neither or both are given, the clock is not manual, or the time has passed.
    """
    advance, target = params.integer("advance_ms"), params.integer("set_ms")
    if (advance is None) is (target is None):
        raise ValueError('expected {"advance_ms": N} or {"set_ms": N}')

    now = venue.advance(lambda now_ms: now_ms + advance if advance is not None else target or 0)
    return {"now_ms": now, "now": iso(now)}


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
