"""Whose a closing is: at most our quantity, on our side; and the sums of the ledger are the exchange's, exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_assets.core.models import ClosedPnl, FillKind, Side
from trading_assets.ledger.executions import Closing
from trading_assets.trading.ownership.attribution import Closer, Entry, Trade, attribute
from trading_assets.trading.reconcile.comparison import book

D = Decimal
BUY, SELL = Side.BUY, Side.SELL


def entry(qty: str | None = "1", side: Side = BUY) -> Entry:
    return Entry("ours", "signal", side, None if qty is None else D(qty), 0)


def trade(order: str, side: Side, qty: str, time_ms: int, link: str = "") -> Trade:
    return Trade(order, link, side, D(qty), time_ms)


ENTERED = trade("e", BUY, "1", 1, "ours")


@pytest.mark.parametrize(
    ("trades", "closers", "closed"),
    [
        pytest.param([trade("x", SELL, "1", 2)], {}, {"x": "1"}, id="a person closes ours"),
        pytest.param([trade("x", SELL, "10", 2)], {}, {"x": "1"}, id="ten times our size: ours is one of it"),
        pytest.param(
            [trade("a", BUY, "3", 2), trade("x", SELL, "1", 3)], {}, {}, id="added 3, reduced 1: theirs first"
        ),
        pytest.param(
            [trade("a", BUY, "3", 2), trade("x", SELL, "3.5", 3)], {}, {"x": "0.5"}, id="added 3, reduced 3.5"
        ),
        pytest.param(
            [trade("a", BUY, "3", 2), trade("x", SELL, "1", 3)], {"x": Closer.OURS}, {"x": "1"}, id="our own exit"
        ),
        pytest.param(
            [trade("a", BUY, "3", 2), trade("x", SELL, "4", 3)],
            {"x": Closer.POSITION},
            {"x": "1"},
            id="the stop of all",
        ),
        pytest.param(
            [trade("x", SELL, "3", 2), trade("y", BUY, "2", 3)], {}, {"x": "1"}, id="reversed by hand, and closed again"
        ),
        pytest.param([trade("x", BUY, "1", 2)], {}, {}, id="a closing of a person's short is none of ours"),
        pytest.param(
            [trade("x", SELL, "0.4", 2), trade("y", SELL, "0.6", 3)], {}, {"x": "0.4", "y": "0.6"}, id="parts"
        ),
        pytest.param([trade("x", SELL, "1", 0)], {}, {}, id="before our entry"),
    ],
)
def test_what_of_a_closing_is_ours(trades: list[Trade], closers: dict[str, Closer], closed: dict[str, str]) -> None:
    found = attribute([entry()], [*trades, ENTERED], closers).holdings["ours"]
    assert found.closed_by == {order: D(qty) for order, qty in closed.items()}


def test_an_entry_whose_trades_are_not_shown_counts_as_the_ledger_knows_it() -> None:
    found = attribute([entry()], [trade("x", SELL, "1", 5)], {})
    assert found.holdings["ours"].closed_by == {"x": D(1)}
    unknown = attribute([entry(None)], [trade("x", SELL, "1", 5)], {})
    assert unknown.holdings["ours"].closed_by == {}, "its outcome is open, and nothing of it is seen"


_TRADES = st.lists(
    st.builds(
        Trade,
        st.sampled_from("abcdef"),
        st.just(""),
        st.sampled_from([BUY, SELL]),
        st.integers(1, 40).map(lambda tenths: D(tenths) / 10),
        st.integers(0, 9),
    ),
    max_size=12,
)
_CLOSERS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(list(Closer)))


@given(_TRADES, _CLOSERS, st.sampled_from([BUY, SELL]))
def test_never_more_than_ours_and_everything_is_somebodys(
    trades: list[Trade], closers: dict[str, Closer], side: Side
) -> None:
    own = Trade("e", "ours", side, D(2), 3)
    found = attribute([entry("2", side)], [*trades, own], closers)
    holding = found.holdings["ours"]
    assert 0 <= holding.open_qty <= 2
    assert sum(holding.closed_by.values(), D(0)) == holding.closed_qty <= 2
    assert all(qty >= 0 for qty in found.foreign.values())
    for order, qty in holding.closed_by.items():
        assert 0 < qty <= found.closed[order] <= sum((t.qty for t in trades if t.order_id == order), D(0))
    bought = sum((t.qty if t.side is side else -t.qty for t in [*trades, own]), D(0))
    assert holding.open_qty + found.foreign[side] - found.foreign[side.opposite] == bought


def row(qty: str, pnl: str, fees: str = "0.3") -> ClosedPnl:
    return ClosedPnl("A", "o", SELL, D(qty), D(100), D(90), D(pnl), D(fees), D(0), FillKind.TRADE, 1, 2)


def eighths(value: Decimal) -> str:
    """As the exchange rounds: to eight digits after the point."""
    return str(round(value, 8))


def add(recorded: list[Closing], told: ClosedPnl, ours: dict[str, Decimal]) -> list[Closing]:
    return [*recorded, *book(told, recorded, ours, "other")]


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(-999, 999), st.integers(0, 30)), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_the_rows_of_an_order_add_up_to_the_exchanges_whatever_grows(
    states: list[tuple[int, int, int]], split: int
) -> None:
    recorded: list[Closing] = []
    for qty, pnl, fees in states:
        told = row(eighths(D(qty) / 7), eighths(D(pnl) / 13), eighths(D(fees) / 11))
        ours = {"signal": D(eighths(told.qty / split))}
        recorded = add(recorded, told, ours)
        assert sum((one.qty for one in recorded), D(0)) == told.qty
        assert sum((one.pnl for one in recorded), D(0)) == told.pnl
        assert sum((one.fees for one in recorded), D(0)) == told.open_fee + told.close_fee
        assert sum((one.qty for one in recorded if one.signal_id == "signal"), D(0)) == ours["signal"]
        assert book(told, recorded, ours, "other") == [], "told twice, booked once"


def test_a_closing_that_fills_over_minutes_is_booked_by_what_is_added() -> None:
    recorded = add([], row("1", "-11.51"), {"signal": D(1)})
    recorded = add(recorded, row("9", "-1772.22"), {"signal": D(9)})
    assert [(one.qty, one.pnl) for one in recorded] == [(D(1), D("-11.51")), (D(8), D("-1760.71"))]
