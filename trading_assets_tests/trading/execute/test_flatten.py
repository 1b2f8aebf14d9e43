"""Everything of ours is closed, once, whatever fails on the way; what others opened is left alone."""

from __future__ import annotations

from decimal import Decimal

import pytest

from trading_assets.core.errors import AmbiguousOutcomeError, ExchangeUnavailableError, NotSentError
from trading_assets.core.models import Side
from trading_assets.ledger import executions as execution_ledger
from trading_assets.ledger import orders, risk
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.execute.flatten import ORDERS_OF_A_POSITION, FlattenReport, flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets_tests.trading.fixtures import Harness, add_signal, harness_on

D = Decimal


def held(database: Database, *symbols: str) -> Harness:
    """A harness with a position of ours in each symbol, and a foreign one in ZUSDT."""
    harness = harness_on(database, *symbols, "ZUSDT")
    for symbol in symbols:
        add_signal(database, symbol)
    submit_orders(harness.context)
    harness.exchange.open_foreign("ZUSDT", Side.SELL)
    harness.later()
    return harness


def close_all(harness: Harness, **options: bool) -> FlattenReport:
    return flatten(harness.context, reason="storm", actor="ann", **options)


def exits(harness: Harness) -> list[str]:
    """Link ids of accepted closing orders."""
    return [link for link in harness.exchange.accepted if link.startswith("ta-f")]


def test_our_positions_are_closed_trading_is_halted_and_foreign_ones_stay(database: Database) -> None:
    harness = held(database, "AUSDT", "BUSDT")
    report = close_all(harness)
    assert set(report.closed) == {"AUSDT", "BUSDT"} and not report.left
    assert report.foreign == ["ZUSDT"]
    assert str(report).endswith("not opened by this system and left alone: ZUSDT")
    assert list(harness.exchange.open) == ["ZUSDT"]
    state = risk.in_force(risk.read_history(database, "main"), harness.exchange.time_ms)
    assert (state.state, state.reason, state.actor) == (RiskState.HALTED, "storm", "ann")
    assert orders.occupying(database, "main") == []
    assert set(execution_ledger.closing_rows(database, "main")["symbol"]) == {"AUSDT", "BUSDT"}
    assert harness.told[-1][0] == "positions closed by command"


def test_doing_it_again_does_nothing(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    close_all(harness)
    before = list(harness.exchange.accepted)
    assert close_all(harness).closed == {}
    assert harness.exchange.accepted == before


def test_foreign_positions_are_closed_only_when_asked(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    report = close_all(harness, foreign=True)
    assert set(report.closed) == {"AUSDT", "ZUSDT"} and report.foreign == []
    assert harness.exchange.open == {}


def test_of_a_position_that_others_added_to_only_our_part_is_closed(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    harness.exchange.open_foreign("AUSDT", Side.BUY, 2)
    report = close_all(harness)
    assert set(report.foreign) == {"2.000 AUSDT", "ZUSDT"}
    assert harness.exchange.open["AUSDT"].size == 2
    close_all(harness)
    assert harness.exchange.open["AUSDT"].size == 2


CALLS = ("now_ms", "positions", "find_order", "place_order", "wallet")


@pytest.mark.slow
@pytest.mark.parametrize("processed", [False, True], ids=["before it is processed", "after it was processed"])
def test_killed_at_any_call_and_started_again_it_closes_each_position_once(sqlite: Database, processed: bool) -> None:
    for number, (call, skip) in enumerate((call, skip) for call in CALLS for skip in range(4)):
        symbols = [f"A{number}USDT", f"B{number}USDT"]
        harness = harness_on(sqlite, *symbols, account=f"a{number}")
        for symbol in symbols:
            add_signal(sqlite, symbol, account=f"a{number}")
        submit_orders(harness.context)
        assert len(harness.exchange.open) == 2
        harness.exchange.fail(call, KeyboardInterrupt(), processed=processed, skip=skip)
        try:
            close_all(harness)
        except KeyboardInterrupt:
            harness.later()
            harness.exchange.heal()
            close_all(harness)
        assert harness.exchange.open == {}
        assert len(exits(harness)) == len(set(exits(harness))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize(
    "error", [NotSentError("limit"), AmbiguousOutcomeError("timeout"), ExchangeUnavailableError("502")]
)
def test_an_answer_that_is_lost_or_refused_is_looked_up_and_tried_again(
    sqlite: Database, error: Exception, processed: bool
) -> None:
    harness = held(sqlite, "AUSDT", "BUSDT")
    harness.exchange.fail("place_order", error, processed=processed, times=1)
    assert not close_all(harness).left
    assert list(harness.exchange.open) == ["ZUSDT"]
    assert len(exits(harness)) == 2


def test_an_empty_book_is_met_by_another_order(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    harness.exchange.thin_exits = 3
    assert set(close_all(harness).closed) == {"AUSDT"}
    assert len(exits(harness)) == 4


@pytest.mark.slow
def test_a_book_that_stays_empty_is_said_and_the_position_keeps_its_stop(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    harness.exchange.thin_exits = 2 * ORDERS_OF_A_POSITION
    for why in ("did not fill", "orders did not close it"):
        report = close_all(harness)
        assert why in report.left["AUSDT"] and not report.closed
    assert len(exits(harness)) == ORDERS_OF_A_POSITION
    assert harness.exchange.open["AUSDT"].stop_loss == D(98)


def test_an_order_in_flight_is_settled_first_and_then_closed(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT")
    add_signal(sqlite, "AUSDT")
    harness.exchange.fail("find_order", ExchangeUnavailableError("502"), times=99)
    submit_orders(harness.context)
    assert len(orders.unresolved(sqlite, "main")) == 1
    harness.exchange.heal()
    harness.later()
    assert set(close_all(harness).closed) == {"AUSDT"}
    assert harness.exchange.open == {}


def test_positions_that_cannot_be_read_are_reported_and_trading_is_halted_all_the_same(sqlite: Database) -> None:
    harness = held(sqlite, "AUSDT")
    harness.exchange.fail("positions", ExchangeUnavailableError("502"), times=99)
    assert "502" in close_all(harness).unread
    assert risk.read_history(sqlite, "main")[-1].state is RiskState.HALTED
