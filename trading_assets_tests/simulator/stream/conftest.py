"""Exchanges on hand-written and seeded markets, and raw clients for their streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.server import ServeConfig
from trading_assets_tests.simulator.fake_market import T0, FakeMarket

SEEDED_START = 1_772_323_200_000  # 2026-03-01T00:00:00Z


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    """The hand-written market at a standing clock."""
    with serve_in_thread(ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0)), FakeMarket()) as running:
        yield running


@pytest.fixture
def seeded() -> Iterator[RunningExchange]:
    """The seeded market at a standing clock."""
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, SEEDED_START), symbols=5)
    with serve_in_thread(config) as running:
        yield running
