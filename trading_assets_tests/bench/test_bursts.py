"""What a measurement of bursts makes of its notes."""

from __future__ import annotations

from trading_assets.bench import bursts

SECOND_NS = 1_000_000_000


def test_requests_that_followed_each_other_are_told_apart_from_those_side_by_side() -> None:
    def call(name: str, began: int, ended: int) -> dict[str, object]:
        return {"name": name, "began_ns": began, "ended_ns": ended}

    calls = [
        call("before", 0, 9),
        call("now_ms", 10, 20),
        call("wallet", 21, 40),
        call("positions", 22, 38),
        call("set_leverage", 45, 60),
        call("still under way", 50, 99),
    ]
    assert bursts._chain(calls, 10, 70) == ["now_ms", "positions", "set_leverage"]
    assert bursts._chain(calls, 61, 70) == []


def test_a_close_is_found_on_the_machines_clock_however_fast_the_market_is() -> None:
    clock = bursts._Clock(market_ms=1000.0, wall_ns=5 * SECOND_NS, speed=10.0)
    assert clock.seconds_after(61_000, 11 * SECOND_NS) == 0
    assert clock.seconds_after(61_000, 11 * SECOND_NS + SECOND_NS // 4) == 0.25
