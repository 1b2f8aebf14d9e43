"""Quantities and stops: on the venue's steps, within its limits, on the right side."""

from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from trading_assets.trading.decide.sizing import (
    Planned,
    Size,
    Unsizable,
    planned_notional,
    size_position,
    stops,
    to_tick,
)
from trading_assets_tests.fakes import an_instrument
from trading_assets_tests.trading.fixtures import settings

D = Decimal
TICKS = st.sampled_from([D("0.00001"), D("0.0005"), D("0.01"), D("0.05"), D("0.5"), D(1)])


@pytest.mark.parametrize(
    ("sizing", "size", "leverage", "notional"),
    [("notional", 100, 10, 100), ("margin", 100, 10, 1000), ("margin", 100, 1, 100), ("notional", 250, 5, 250)],
)
def test_position_size_is_the_value_or_the_margin_behind_it(
    sizing: str, size: int, leverage: int, notional: int
) -> None:
    chosen = settings(sizing=sizing, position_size=D(size), leverage=D(leverage))
    assert chosen.target_notional == notional


@pytest.mark.parametrize(
    ("price", "step", "qty"),
    [
        ("100", "0.001", "1"),
        ("3", "0.1", "33.3"),
        ("3", "1", "33"),
        ("101000.5", "0.0001", "0.0009"),
        ("0.0000123", "100", "8130000"),
        ("7", "5", "10"),
    ],
)
def test_a_quantity_is_rounded_down_to_the_step(price: str, step: str, qty: str) -> None:
    instrument = an_instrument("X", qty_step=D(step), min_qty=D(step), max_market_qty=D(10**9))
    assert size_position(instrument, D(price), settings()) == Size(D(qty), D(10))


@pytest.mark.parametrize(
    ("rules", "price", "found"),
    [
        ({"min_qty": D("1.001")}, "100", "smallest quantity"),
        ({"min_qty": D(1), "qty_step": D(1)}, "101", "smallest quantity"),
        ({"min_qty": D(0), "qty_step": D(1)}, "101", "smallest quantity"),
        ({"max_market_qty": D("0.999")}, "100", "largest market order"),
        ({"min_notional": D("100.01")}, "100", "worth less"),
        ({"max_leverage": D("9.99")}, "100", "leverage 10 exceeds"),
    ],
)
def test_what_no_order_may_have_is_named(rules: dict[str, Decimal], price: str, found: str) -> None:
    answer = size_position(an_instrument("XUSDT", **rules), D(price), settings())
    assert isinstance(answer, Unsizable)
    assert found in answer.reason


@pytest.mark.parametrize(
    "rules",
    [{"min_qty": D(1)}, {"max_market_qty": D(1)}, {"min_notional": D(100)}, {"max_leverage": D(10)}],
)
def test_a_limit_itself_is_allowed(rules: dict[str, Decimal]) -> None:
    assert size_position(an_instrument("X", **rules), D(100), settings()) == Size(D(1), D(10))


@given(
    price=st.decimals("0.000001", 200_000, places=6),
    step=st.sampled_from([D("0.0001"), D("0.001"), D("0.1"), D(1), D(10), D(100)]),
    size=st.integers(1, 5000),
)
def test_a_size_is_a_multiple_of_the_step_and_never_above_its_target(price: Decimal, step: Decimal, size: int) -> None:
    instrument = an_instrument("X", qty_step=step, min_qty=step, max_market_qty=D(10**12), min_notional=D(0))
    answer = size_position(instrument, price, settings(position_size=D(size)))
    if isinstance(answer, Unsizable):
        assert size / price < step
    else:
        assert answer.qty % step == 0
        assert answer.qty * price <= size * (1 + D("1e-20"))
        assert (answer.qty + step) * price > size * (1 - D("1e-20"))


@pytest.mark.parametrize(
    ("price", "tick", "on"),
    [("1.234", "0.01", "1.23"), ("1.235", "0.01", "1.24"), ("1.3", "0.5", "1.5"), ("7", "5", "5")],
)
def test_a_price_goes_to_the_nearest_tick(price: str, tick: str, on: str) -> None:
    assert to_tick(D(price), D(tick)) == D(on)


@pytest.mark.parametrize(
    ("entry", "distance", "long", "expected"),
    [
        ("100", "2", True, ("98", "104")),
        ("100", "2", False, ("102", "96")),
        ("100", "1.234", True, ("98.77", "102.46")),
        ("100", "0.0001", True, ("99.99", "100.02")),
        ("100", "0.0001", False, ("100.01", "99.98")),
        ("1", "1", True, None),
        ("1", "0.5", False, None),
        ("0.01", "0.001", True, None),
    ],
)
def test_stops_stand_a_distance_and_a_multiple_of_it_away(
    entry: str, distance: str, long: bool, expected: tuple[str, str] | None
) -> None:
    found = stops(D(entry), D(distance), D(2), long=long, tick=D("0.01"))
    assert found == (expected and (D(expected[0]), D(expected[1])))


@example(ticks=2, tick=D("0.00001"), distance=D("1E-7"), reward=D("1.50"), long=False)
@given(
    ticks=st.integers(1, 10**7),
    tick=TICKS,
    distance=st.decimals("0.0000001", 1000, places=7),
    reward=st.decimals("0.01", 10, places=2),
    long=st.booleans(),
)
def test_stops_are_on_the_tick_and_at_least_one_tick_on_the_right_side(
    ticks: int, tick: Decimal, distance: Decimal, reward: Decimal, long: bool
) -> None:
    entry, sign = ticks * tick, 1 if long else -1
    found = stops(entry, distance, reward, long=long, tick=tick)
    if found is None:
        # The stop is at least a tick away, and on its tick up to half of one farther than asked for.
        assert entry - (max(distance, tick) + tick / 2) * max(reward, D(1)) < tick
        return
    stop, target = found
    assert stop > 0
    assert target > 0
    assert stop % tick == 0
    assert target % tick == 0
    assert sign * (entry - stop) >= tick
    assert sign * (target - entry) >= tick


@given(
    entry=st.decimals(1, 1000, places=5), tick=TICKS, distance=st.decimals("0.00001", 1, places=5), long=st.booleans()
)
def test_an_entry_beside_the_tick_has_its_stops_on_the_right_side_too(
    entry: Decimal, tick: Decimal, distance: Decimal, long: bool
) -> None:
    found = stops(entry, distance, D(2), long=long, tick=tick)
    if found is not None:
        sign = 1 if long else -1
        assert sign * found[0] < sign * entry < sign * found[1]


@given(
    ticks=st.integers(1000, 10**7),
    tick=TICKS,
    share=st.decimals("0.001", "0.2", places=4),
    reward=st.sampled_from([D("0.5"), D(1), D("1.5"), D(2), D(3)]),
    long=st.booleans(),
)
def test_levels_are_measured_from_the_close_and_their_ratio_holds_within_half_a_tick(
    ticks: int, tick: Decimal, share: Decimal, reward: Decimal, long: bool
) -> None:
    close, sign = ticks * tick, 1 if long else -1
    found = stops(close, close * share, reward, long=long, tick=tick)
    assume(found is not None)
    assert found is not None
    risk, gain = sign * (close - found[0]), sign * (found[1] - close)
    assert abs(risk - max(close * share, tick)) <= tick / 2
    assert abs(gain - max(risk * reward, tick)) <= tick / 2


BY_EQUITY = {"equity": D(1000), "confidence": 80.0, "stop_fraction": D("0.02")}
WIDE = {"max_position_margin_pct": 100, "max_symbol_exposure_pct": 1000}


@pytest.mark.parametrize(
    ("rules", "notional", "why"),
    [
        ({"size_by": "fixed"}, "100", "$100"),
        ({"size_by": "confidence"}, "80", "$100 at 80 % confidence"),
        ({"size_by": "equity", "size_pct": "7.5"}, "75", "7.5 % of $1000.00"),
        ({"size_by": "equity", "size_pct": "7.5", "capital_share_pct": 50}, "37.5", "7.5 % of $500.00"),
        ({"size_by": "risk", "size_pct": "1", **WIDE}, "500", "1 % of $1000.00 at risk, the stop 2.000 % away"),
        (
            {"size_by": "risk", "max_position_margin_pct": 100, "max_symbol_exposure_pct": 20},
            "200",
            "1 % of $1000.00 at risk, the stop 2.000 % away: $500.00, cut at $200.00 by max_symbol_exposure_pct",
        ),
        (
            {"size_by": "equity", "size_pct": "50", "max_position_margin_pct": 2, "max_symbol_exposure_pct": 100},
            "200",
            "50 % of $1000.00: $500.00, cut at $200.00 by max_position_margin_pct",
        ),
    ],
)
def test_a_size_by_equity_risk_or_confidence(rules: dict[str, object], notional: str, why: str) -> None:
    found = planned_notional(settings(**rules), **BY_EQUITY)  # type: ignore[arg-type]
    assert found == Planned(D(notional), why)


def test_without_equity_or_a_stop_there_is_no_size() -> None:
    for rules, what in (
        ({"size_by": "equity"}, BY_EQUITY | {"equity": D(-5)}),
        ({"size_by": "risk"}, BY_EQUITY | {"stop_fraction": D(0)}),
    ):
        planned = planned_notional(settings(**rules), **what)  # type: ignore[arg-type]
        assert planned.notional == 0
        assert isinstance(size_position(an_instrument("X"), D(100), settings(), planned.notional), Unsizable)


@pytest.mark.slow
@given(
    equity=st.decimals(0, 10**6, places=2),
    stop=st.decimals("0.0001", "0.5", places=4),
    pct=st.decimals("0.01", 1000, places=2),
    by=st.sampled_from(["equity", "risk"]),
)
def test_no_size_by_equity_is_beyond_the_limits_of_a_position(
    equity: Decimal, stop: Decimal, pct: Decimal, by: str
) -> None:
    rules = settings(size_by=by, size_pct=pct, max_position_margin_pct=5, max_symbol_exposure_pct=40)
    found = planned_notional(rules, equity=equity, confidence=70.0, stop_fraction=stop).notional
    assert 0 <= found <= equity * D("0.4") and found / rules.leverage <= equity * D("0.05")
    if by == "risk":
        assert found * stop <= equity * pct / 100
