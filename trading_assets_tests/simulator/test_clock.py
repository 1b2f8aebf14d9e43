"""The three clocks and how they are resumed."""

from __future__ import annotations

import math

import pytest

from trading_assets.core.errors import ConfigurationError
from trading_assets.simulator.clock import (
    LATEST_MS,
    AcceleratedClock,
    ClockMode,
    ClockSpec,
    ManualClock,
    RealClock,
    open_clock,
)
from trading_assets_tests.simulator.fake_market import T0


class Wall:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def test_a_real_clock_stands_still_when_the_wall_goes_back() -> None:
    wall = Wall(T0)
    clock = RealClock(wall)
    wall.now += 500
    assert clock.now_ms() == T0 + 500
    wall.now -= 10_000
    assert clock.now_ms() == T0 + 500


def test_an_accelerated_clock_runs_as_many_times_as_fast() -> None:
    wall = Wall(1000)
    clock = AcceleratedClock(T0, 1000, 60.0, wall)
    wall.now += 1000
    assert clock.now_ms() == T0 + 60_000


def test_an_accelerated_clock_is_resumed_where_it_would_be_by_now() -> None:
    wall = Wall(1000)
    clock = open_clock(ClockSpec(ClockMode.ACCELERATED, T0, 10.0), None, wall)
    wall.now += 5000
    resumed = open_clock(None, clock.position(), wall)
    assert resumed.now_ms() == clock.now_ms() == T0 + 50_000


def test_a_new_speed_begins_at_the_time_reached() -> None:
    wall = Wall(1000)
    clock = open_clock(ClockSpec(ClockMode.ACCELERATED, T0, 10.0), None, wall)
    wall.now += 1000
    faster = open_clock(ClockSpec(ClockMode.ACCELERATED, T0, 100.0), clock.position(), wall)
    assert faster.now_ms() == T0 + 10_000
    wall.now += 1000
    assert faster.now_ms() == T0 + 110_000


def test_each_clock_says_how_long_it_is_until_a_time() -> None:
    wall = Wall(T0)
    assert RealClock(wall).seconds_until(T0 + 1500) == 1.5
    fast = AcceleratedClock(T0, T0, 60.0, wall)
    assert (fast.seconds_until(T0 + 60_000), fast.seconds_until(T0 - 1)) == (1.0, 0.0)
    fast.set_speed(10.0)
    assert fast.seconds_until(T0 + 60_000) == 6.0
    by_hand = ManualClock(T0)
    assert (by_hand.seconds_until(T0), by_hand.seconds_until(T0 + 1)) == (0.0, math.inf)


def test_a_manual_clock_moves_only_forward_and_not_for_ever() -> None:
    clock = ManualClock(T0)
    clock.set_ms(T0 + 5)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.set_ms(T0)
    with pytest.raises(ValueError, match="clock ends"):
        clock.set_ms(LATEST_MS + 1)
    assert clock.now_ms() == T0 + 5


def test_a_manual_clock_is_resumed_where_it_stood_whatever_start_is_asked_for() -> None:
    clock = open_clock(ClockSpec(ClockMode.MANUAL, T0), None)
    assert isinstance(clock, ManualClock)
    clock.set_ms(T0 + 77)
    assert open_clock(ClockSpec(ClockMode.MANUAL, T0), clock.position()).now_ms() == T0 + 77


@pytest.mark.parametrize("mode", [ClockMode.REAL, ClockMode.ACCELERATED])
def test_another_mode_than_the_stored_one_is_refused(mode: ClockMode) -> None:
    with pytest.raises(ConfigurationError, match="manual"):
        open_clock(ClockSpec(mode), ManualClock(T0).position())


@pytest.mark.parametrize(
    "arguments",
    [
        (ClockMode.REAL, T0, 1.0),
        (ClockMode.REAL, None, 2.0),
        (ClockMode.ACCELERATED, None, 0.0),
        (ClockMode.MANUAL, 5, 1.0),
        (ClockMode.ACCELERATED, None, float("nan")),
    ],
)
def test_an_impossible_clock_is_a_configuration_error(arguments: tuple[ClockMode, int | None, float]) -> None:
    with pytest.raises(ConfigurationError):
        ClockSpec(*arguments)
