"""Hostile requests do not break the exchange, and the trial notices when they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from trading_assets.bench import fuzz
from trading_assets.bench.fuzz_inputs import RequestMaker
from trading_assets.simulator import server
from trading_assets.simulator.codec import Params, Refusal
from trading_assets.simulator.rest.common import Route
from trading_assets.simulator.server import ROUTES
from trading_assets.simulator.venue import Venue


@pytest.mark.slow
def test_two_thousand_hostile_requests_break_nothing() -> None:
    report = fuzz.run_fuzz(2000, seed=1)
    assert report.findings == []
    assert report.requests == 2000 and report.accepted > 500 and report.refused > 500
    assert {"10001", "10002", "10003", "10004", "10017", "110001"} <= report.codes.keys()


def test_the_same_seed_makes_the_same_requests_for_every_route() -> None:
    def requests(seed: int) -> list[object]:
        maker = RequestMaker(ROUTES, seed)
        return [maker.request(1_000_000) for _ in range(600)]

    assert requests(3) == requests(3) != requests(4)
    assert {route.path for route in ROUTES} <= {request.path for request in requests(3)}  # type: ignore[attr-defined]


def crashes(venue: Venue, params: Params, now_ms: int) -> object:
    raise ZeroDivisionError("by the test")


def changes_and_refuses(venue: Venue, params: Params, now_ms: int) -> object:
    venue.engine.state.header.sequence += 1
    raise Refusal(10001, "too late")


def changes_on_reading(venue: Venue, params: Params, now_ms: int) -> object:
    venue.engine.state.header.sequence += 1
    return {}


def gives_no_json(venue: Venue, params: Params, now_ms: int) -> object:
    return {"list": [float("inf")], "nextPageCursor": object}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (crashes, "ZeroDivisionError"),
        (changes_and_refuses, "changed although"),
        (changes_on_reading, "changed by GET"),
        (gives_no_json, "TypeError"),
    ],
)
def test_a_broken_route_is_found(
    monkeypatch: pytest.MonkeyPatch, handler: Callable[[Venue, Params, int], object], says: str
) -> None:
    broken: tuple[Route, ...] = tuple(
        replace(route, handler=handler) if route.path == "/v5/order/history" else route for route in ROUTES
    )
    monkeypatch.setattr(server, "ROUTES", broken)
    report = fuzz.run_fuzz(300, seed=2)
    assert report.findings and all(says in finding.what for finding in report.findings)
    assert all("/v5/order/history" in finding.request for finding in report.findings)
