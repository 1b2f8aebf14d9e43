"""`/admin/...`: the face that Bybit does not have: health and clock. Unsigned, for the own machine only."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.metadata import version

from trading_assets.market.timeframes import iso
from trading_assets.simulator.venue import Venue
from trading_assets.simulator.wire import Params, Refusal, trimmed

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


def refuse(error: ValueError | Refusal) -> dict[str, object]:
    """The body of a refused admin request."""
    return {"error": str(error)}
