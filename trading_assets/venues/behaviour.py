"""The embedded exchange in the role of one of Bybit's venues: what it leaves out, by the table of venues."""

from __future__ import annotations

from trading_assets.core.timeframes import DAY_MS
from trading_assets.exchange.venue_profiles import PROFILES, VenueProfile
from trading_assets.simulator.stream.trade import PATH as TRADE_STREAM
from trading_assets.simulator.venue import Behaviour


def behaviour_of(profile: VenueProfile) -> Behaviour:
    """What an exchange does not do that is like this venue."""
    return Behaviour(
        absent=frozenset(profile.paths) | (frozenset() if profile.trade_stream else {TRADE_STREAM}),
        cross_only=not profile.isolated_margin,
        orders_kept_ms=profile.order_days * DAY_MS,
    )


def behaviour_like(name: str | None) -> Behaviour:
    """The same by the venue's name; None leaves out nothing."""
    return Behaviour() if name is None else behaviour_of(PROFILES[name])
