"""The embedded exchange on a replay: its market, and a clock that shows a time of the recording. No prices here."""

from __future__ import annotations

from dataclasses import replace

from trading_assets.core.errors import ConfigurationError
from trading_assets.core.timeframes import iso
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.market.replay import ReplayMarket
from trading_assets.simulator.venue import ServeConfig, Venue


def open_replay(config: ServeConfig) -> Venue:
    """The exchange that plays `config.replay`.

    A new account begins where the clock of the configuration says, or where the recording offers enough history; a
    stored one resumes its clock.

    Raises:
        ConfigurationError: the files cannot be played, the clock is real or starts outside the recording, or the
            account belongs to another market.
    """
    market = ReplayMarket(config.replay, config.seed)
    config = replace(config, symbols=len(market.contracts))
    return Venue(config, market, "replay", content=market.content, first_clock=first_clock(config.clock, market))


def first_clock(asked: ClockSpec | None, market: ReplayMarket) -> ClockSpec:
    """The clock of a new account.

    Raises:
        ConfigurationError: it is real, or does not start within the recording.
    """
    if asked is None:
        return ClockSpec(ClockMode.ACCELERATED, market.start_ms)
    if asked.mode is ClockMode.REAL:
        raise ConfigurationError("a replay cannot run on a real clock: choose an accelerated or a manual one")
    start = market.start_ms if asked.start_ms is None else asked.start_ms
    if not market.first_ms <= start < market.end_ms:
        raise ConfigurationError(
            f"the recording runs from {iso(market.first_ms)} to {iso(market.end_ms)}, asked for is a start at "
            f"{iso(start)}: choose one in it"
        )
    return replace(asked, start_ms=start)
