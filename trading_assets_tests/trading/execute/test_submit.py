"""From a waiting signal to a position with its stop: once or not at all, whatever fails on the way."""

from __future__ import annotations

import contextlib
import itertools
import threading
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_assets.core.errors import (
    AccountShapeError,
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    ExchangeUnavailableError,
    InsufficientBalanceError,
    NotSentError,
    OrderRejectedError,
    PriceRefusedError,
    RulesChangedError,
)
from trading_assets.core.models import OrderStatus, RejectReason, Side
from trading_assets.core.timeframes import HOUR_MS
from trading_assets.ledger import checks, orders, signals
from trading_assets.ledger.checks import Verdict
from trading_assets.ledger.database import Database
from trading_assets.ledger.tables import order_intents
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.saga.recovery import recover
from trading_assets_tests.fakes import an_instrument, order_link_id
from trading_assets_tests.trading.fixtures import NOW_MS, add_signal, harness_on, settle_all


def test_a_signal_becomes_one_position_with_its_stops(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    report = submit_orders(harness.context)
    assert report.executed == [identity]
    position = harness.exchange.open["BTCUSDT"]
    assert (position.side, position.size) == (Side.BUY, Decimal(1))
    assert (position.stop_loss, position.take_profit) == (Decimal(98), Decimal(104))
    assert harness.exchange.leverages == {"BTCUSDT": Decimal(10)}
    signal = harness.signal(identity)
    assert signal["status"] == "executed"
    assert signal["executed_price"] == 100.0
    assert signal["executed_at_ms"] == NOW_MS
    assert signal["order_id"] == "order-1"
    harness.require_consistent(identity)


def test_a_short_signal_sells(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    add_signal(sqlite, position_type="SHORT", stop_loss=102.0, take_profit=96.0)
    submit_orders(harness.context)
    position = harness.exchange.open["BTCUSDT"]
    assert (position.side, position.stop_loss) == (Side.SELL, Decimal(102))


def test_submitting_again_and_again_places_one_order(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    for _ in range(5):
        submit_orders(harness.context)
        harness.later()
    assert harness.exchange.calls["place_order"] == 1
    harness.require_consistent(identity)


def test_without_waiting_signals_the_account_is_asked_whose_it_is_and_once(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    context = harness.context
    for _ in range(2):
        submit_orders(context)
    assert not harness.exchange.calls.keys() - {"now_ms", "account_shape"}
    assert harness.exchange.calls["account_shape"] == 1


def test_the_most_confident_signal_takes_the_last_place(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT", max_positions=1)
    weak = add_signal(sqlite, "AUSDT", confidence=70.0)
    strong = add_signal(sqlite, "BUSDT", confidence=90.0)
    report = submit_orders(harness.context)
    assert report.executed == [strong]
    assert "positions" in report.refused[weak]
    assert harness.signal(weak)["status"] == "active"


def test_a_second_signal_of_an_occupied_symbol_is_ended(database: Database) -> None:
    harness = harness_on(database)
    first = add_signal(database)
    second = add_signal(database, timeframe="30m", confidence=70.0)
    report = submit_orders(harness.context)
    assert report.executed == [first]
    assert second in report.rejected
    assert harness.signal(second)["status"] == "rejected"
    harness.require_consistent(first, second)


def test_a_waiting_signal_is_executed_once_its_gate_opens(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.set_price("BTCUSDT", "100.6")
    assert "price" in submit_orders(harness.context).refused[identity]
    assert harness.signal(identity)["status"] == "active"
    harness.exchange.set_price("BTCUSDT", "100.4")
    assert submit_orders(harness.context).executed == [identity]


@pytest.mark.parametrize(("seconds", "status"), [(294, "executed"), (295, "expired"), (4000, "expired")])
def test_a_signal_expires_with_its_life_time(sqlite: Database, seconds: int, status: str) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.later(seconds)
    report = submit_orders(harness.context)
    assert harness.signal(identity)["status"] == status
    assert report.expired == (status == "expired")
    assert harness.exchange.calls["place_order"] == (status == "executed")


def test_an_expired_signal_keeps_its_last_refusal_as_the_reason(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    harness.exchange.set_price("BTCUSDT", 101)
    submit_orders(harness.context)
    harness.later(600)
    submit_orders(harness.context)
    assert str(harness.signal(identity)["reason"]).startswith("price")


def test_another_accounts_signals_are_not_touched(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite, account="other")
    submit_orders(harness.context)
    harness.later(600)
    submit_orders(harness.context)
    assert harness.signal(identity)["status"] == "active"
    assert harness.exchange.calls["place_order"] == 0


def test_a_symbol_that_is_not_listed_waits(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    gone, there = add_signal(sqlite, "GONEUSDT", confidence=90.0), add_signal(sqlite)
    report = submit_orders(harness.context)
    assert "not listed" in report.refused[gone]
    assert report.executed == [there] and harness.signal(gone)["status"] == "active"


def test_a_quantity_that_no_order_may_have_ends_the_signal(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.listed["BTCUSDT"] = an_instrument("BTCUSDT", min_qty=Decimal(2))
    identity = add_signal(sqlite)
    assert "smallest quantity" in submit_orders(harness.context).rejected[identity]
    harness.require_consistent(identity)


def test_that_no_order_can_be_sized_is_told_once_until_one_can_be(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    told = []
    for number, smallest in enumerate((2, 3, 1, 2)):
        harness.exchange.listed["BTCUSDT"] = an_instrument("BTCUSDT", min_qty=Decimal(smallest))
        identity = add_signal(sqlite, signal_timestamp_ms=NOW_MS - number)
        report = submit_orders(harness.context)
        assert (identity in report.executed) is (smallest == 1)
        told.append([body for title, body in harness.told if title == "entry in BTCUSDT refused"])
        harness.told.clear()
        if report.executed:
            harness.exchange.open.clear()
            with sqlite.write() as connection:
                connection.execute(sa.delete(order_intents))
    assert [len(bodies) for bodies in told] == [1, 0, 0, 1], "again only after an order could be sized"
    assert "below the smallest quantity 2 of BTCUSDT" in told[0][0] and "POSITION_SIZE" in told[0][0]


# Answers of the exchange


@pytest.mark.parametrize(
    "error",
    [
        OrderRejectedError("no", code=110003),
        InsufficientBalanceError("ab not enough", code=110007),
        AccountShapeError("hedge mode", code=10001),
    ],
    ids=["rejected", "insufficient balance", "hedge mode"],
)
def test_a_refused_order_ends_the_signal_and_frees_the_symbol(sqlite: Database, error: Exception) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("place_order", error)
    report = submit_orders(harness.context)
    assert str(error) in report.rejected[identity]
    assert harness.signal(identity)["status"] == "rejected"
    assert not orders.occupying(sqlite, "main")
    submit_orders(harness.context)
    assert harness.exchange.calls["place_order"] == 1
    harness.require_consistent(identity)


def test_an_account_without_margin_is_told_no_by_the_exchange(sqlite: Database) -> None:
    wide = {"max_position_margin_pct": 999, "max_symbol_exposure_pct": 999}
    harness = harness_on(sqlite, leverage=Decimal(1), **wide)
    harness.exchange.balance = Decimal(90)
    identity = add_signal(sqlite)
    assert "not enough" in submit_orders(harness.context).rejected[identity]
    harness.require_consistent(identity)


def test_an_order_that_was_not_sent_is_tried_again_with_the_same_id(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("place_order", NotSentError("too many requests"), times=2)
    assert submit_orders(harness.context).executed == [identity]
    assert harness.exchange.creates == {order_link_id(identity): 3}
    harness.require_consistent(identity)


def test_an_order_that_can_never_be_sent_is_given_up(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("place_order", NotSentError("connection refused"), times=99)
    report = submit_orders(harness.context)
    assert "not sent" in report.refused[identity] and "not sent" in report.stopped
    assert harness.signal(identity)["status"] == "active" and not orders.occupying(sqlite, "main")
    harness.exchange.heal()
    assert submit_orders(harness.context).executed == [identity]
    assert harness.exchange.accepted == [order_link_id(identity)]
    harness.require_consistent(identity)


def test_a_refusal_of_the_whole_account_costs_no_signal_and_is_told_once(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    first, second = add_signal(sqlite, "AUSDT", confidence=90.0), add_signal(sqlite, "BUSDT")
    harness.exchange.fail("place_order", ExchangeFatalError("permission denied", code=10005), times=2)
    for _ in range(2):
        report = submit_orders(replace(harness.context, workers=1))
        assert set(report.refused) == {first, second}
    assert [title for title, _ in harness.told].count("the exchange refuses the account") == 1
    assert set(submit_orders(harness.context).executed) == {first, second}


def test_an_order_that_breaks_new_rules_is_sized_anew_and_sent_once_more(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    exchange = harness.exchange
    identity = add_signal(sqlite)
    exchange.fail("place_order", RulesChangedError("Qty invalid", code=10001))
    listed = exchange.listed["BTCUSDT"]

    def changed(name: str) -> None:
        if name == "place_order":
            exchange.listed["BTCUSDT"] = replace(listed, qty_step=Decimal("0.3"))

    exchange.on_call = changed
    reconcile(harness.context)
    assert submit_orders(harness.context).executed == [identity]
    assert exchange.calls["instruments"] == 2 and exchange.creates == {order_link_id(identity): 2}
    harness.require_consistent(identity)


def test_an_order_that_breaks_the_same_rules_is_not_sent_again(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("place_order", RulesChangedError("Qty invalid", code=10001), times=9)
    assert "Qty invalid" in submit_orders(harness.context).rejected[identity]
    assert harness.exchange.calls["place_order"] == 1
    assert harness.signal(identity)["status"] == "rejected" and not orders.occupying(sqlite, "main")


def test_a_stop_that_is_refused_for_another_reason_closes_nothing_at_once(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    exchange = harness.exchange
    identity = add_signal(sqlite)
    submit_orders(harness.context)
    exchange.lose_stops("BTCUSDT")
    exchange.fail("set_stops", OrderRejectedError("too many stop orders", code=110009), times=99)
    exchange.fail("place_order", OrderRejectedError("too many stop orders", code=110009))
    reconcile(harness.context)
    assert exchange.open["BTCUSDT"].stop_loss is None
    assert [title for title, _ in harness.told].count("position without stop") == 1
    exchange.heal()
    reconcile(harness.context)
    assert exchange.open["BTCUSDT"].stop_loss == Decimal(98)
    harness.require_consistent(identity)
    assert submit_orders(harness.context).refused == {}, "trading is no longer reduced"


def test_an_order_is_not_sent_when_its_reservation_is_too_old(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    exchange = harness.exchange
    exchange.on_call = lambda name: harness.later(11) if name == "set_leverage" else None
    report = submit_orders(harness.context)
    assert "too long" in report.refused[identity]
    assert exchange.calls["place_order"] == 0
    assert harness.signal(identity)["status"] == "active"


def test_an_unclear_answer_of_an_order_that_was_placed_is_looked_up(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    harness.exchange.fail("place_order", AmbiguousOutcomeError("read timed out"), processed=True)
    assert submit_orders(harness.context).executed == [identity]
    assert harness.exchange.calls["place_order"] == 1
    harness.require_consistent(identity)


def test_an_unclear_answer_of_an_order_that_was_not_placed_is_never_sent_again(database: Database) -> None:
    harness = harness_on(database)
    identity = add_signal(database)
    harness.exchange.fail("place_order", AmbiguousOutcomeError("read timed out"))
    report = submit_orders(harness.context)
    assert report.unknown == [identity]
    assert harness.signal(identity)["status"] == "executing"
    assert {intent.symbol for intent in orders.occupying(database, "main")} == {"BTCUSDT"}
    harness.later(5)
    assert submit_orders(harness.context).recovered == 0, "too early to say that it never arrived"
    harness.later()
    assert submit_orders(harness.context).recovered == 1
    assert harness.signal(identity)["status"] == "failed"
    assert harness.exchange.calls["place_order"] == 1
    harness.require_consistent(identity)


def test_an_order_that_shows_late_is_found_by_a_later_run(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.hidden_looks = 8
    assert submit_orders(harness.context).unknown == [identity]
    harness.later(5)
    assert submit_orders(harness.context).recovered == 1
    assert harness.signal(identity)["status"] == "executed"
    harness.require_consistent(identity)


def test_an_order_that_is_still_open_keeps_its_symbol_until_it_is_final(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.status_of_new = OrderStatus.NEW
    assert submit_orders(harness.context).unknown == [identity]
    harness.later()
    assert submit_orders(harness.context).recovered == 0
    assert [intent.symbol for intent in orders.occupying(sqlite, "main")] == ["BTCUSDT"]
    harness.exchange.finish(order_link_id(identity))
    harness.later()
    assert submit_orders(harness.context).recovered == 1
    harness.require_consistent(identity)


def test_an_order_that_filled_nothing_rejects_its_signal(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.status_of_new = OrderStatus.CANCELLED
    report = submit_orders(harness.context)
    assert RejectReason.NO_LIQUIDITY.value in report.rejected[identity]
    assert harness.signal(identity)["status"] == "rejected"
    assert not orders.occupying(sqlite, "main")


def test_an_outcome_stays_unknown_while_the_exchange_does_not_answer(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    exchange = harness.exchange
    exchange.fail("place_order", AmbiguousOutcomeError("read timed out"), processed=True)
    exchange.fail("find_order", ExchangeUnavailableError("502"), times=99)
    assert submit_orders(harness.context).unknown == [identity]
    harness.later()
    assert recover(harness.context) == 0
    assert [intent.status for intent in orders.unresolved(sqlite, "main")] == ["unknown"]
    exchange.heal()
    assert recover(harness.context) == 1
    harness.require_consistent(identity)


def test_leverage_that_cannot_be_set_means_no_order(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("set_leverage", NotSentError("connection refused"))
    submit_orders(harness.context)
    assert harness.exchange.calls["place_order"] == 0
    assert harness.signal(identity)["status"] == "active"


def test_leverage_whose_outcome_is_unclear_is_no_unclear_order(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite)
    harness.exchange.fail("set_leverage", AmbiguousOutcomeError("read timed out"))
    report = submit_orders(harness.context)
    assert report.unknown == [], "no order was sent, so there is no unknown outcome"
    assert harness.signal(identity)["status"] == "active"


# Stops


def test_a_missing_stop_is_attached(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    harness.exchange.attaches_stops = False
    identity = add_signal(sqlite)
    submit_orders(harness.context)
    assert harness.exchange.open["BTCUSDT"].stop_loss == Decimal(98)
    harness.require_consistent(identity)


def test_a_position_that_can_have_no_stop_is_closed(database: Database) -> None:
    harness = harness_on(database)
    exchange = harness.exchange
    exchange.attaches_stops = False
    exchange.fail("set_stops", PriceRefusedError("beyond the stop"), times=99)
    identity = add_signal(database)
    submit_orders(harness.context)
    assert not exchange.open
    assert exchange.accepted == [order_link_id(identity), order_link_id(identity, "x")]
    assert [title for title, _ in harness.told].count("position without stop") == 1
    harness.require_consistent(identity)
    reconcile(harness.context)
    harness.later()
    reconcile(harness.context)
    assert not orders.occupying(database, "main")


@pytest.mark.slow
@pytest.mark.parametrize("thin", [1, 2, 5])
def test_an_exit_that_fills_nothing_is_followed_by_others_until_the_position_is_closed(
    sqlite: Database, thin: int
) -> None:
    harness = harness_on(sqlite)
    exchange = harness.exchange
    exchange.attaches_stops = False
    exchange.fail("set_stops", PriceRefusedError("beyond the stop"), times=99)
    exchange.thin_exits = thin
    identity = add_signal(sqlite)
    for _ in range(4):
        with contextlib.suppress(ExchangeError):
            submit_orders(harness.context)
        with contextlib.suppress(ExchangeError):
            reconcile(harness.context)
        harness.later(60)
    assert not exchange.open
    exits = [order_link_id(identity, kind) for kind in ("x", *(f"x{n}" for n in range(2, thin + 2)))]
    assert exchange.accepted == [order_link_id(identity), *exits]
    assert exchange.calls["place_order"] == thin + 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["position", "set_stops", "place_order"])
def test_a_failure_while_protecting_leaves_no_position_without_stop(sqlite: Database, method: str) -> None:
    errors = [ExchangeUnavailableError("502"), AmbiguousOutcomeError("timeout"), NotSentError("429")]
    for number, (error, processed) in enumerate(itertools.product(errors, [False, True])):
        harness = harness_on(sqlite, account=f"case-{number}")
        exchange = harness.exchange
        exchange.attaches_stops = False
        if method == "place_order":  # the emergency exit
            exchange.fail("set_stops", PriceRefusedError("beyond the stop"), times=99)
        exchange.fail(method, error, processed=processed, skip=int(method == "place_order"))
        identity = add_signal(sqlite, account=harness.settings.account)
        settle_all(harness.context, exchange, harness.later)
        harness.require_consistent(identity)


def test_one_signals_trouble_with_its_stop_does_not_keep_the_others_from_being_settled(sqlite: Database) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    exchange = harness.exchange
    first = add_signal(sqlite, "AUSDT", confidence=90.0)
    second = add_signal(sqlite, "BUSDT")
    exchange.fail("find_order", ExchangeUnavailableError("502"), times=16)
    assert sorted(submit_orders(harness.context).unknown) == sorted([first, second])
    exchange.lose_stops("AUSDT")
    exchange.fail("set_stops", NotSentError("429"), times=99)
    harness.later()
    with contextlib.suppress(ExchangeError):
        recover(harness.context)
    assert harness.signal(second)["status"] == "executed", "the second order is in order and needs no repair"


def test_a_failed_check_of_its_hour_lets_no_signal_through_and_stands_on_its_row(database: Database) -> None:
    harness = harness_on(database, "AUSDT", "BUSDT")
    hour = NOW_MS // HOUR_MS * HOUR_MS - HOUR_MS
    blocked, free = add_signal(database, "AUSDT"), add_signal(database, "BUSDT", hour_ms=hour + HOUR_MS)
    checks.record(database, [Verdict("backtest_results/5m", "no_look_ahead", False, "it looks ahead")], [hour], "run")
    report = submit_orders(harness.context)
    assert report.executed == [free]
    assert harness.signal(blocked)["status"] == signals.REJECTED
    assert "checks: no_look_ahead of backtest_results/5m failed: it looks ahead" in str(
        harness.signal(blocked)["reason"]
    )
    assert harness.intent(blocked) is None
    harness.require_consistent(blocked, free)


def test_two_answers_lie_before_the_first_order_whatever_they_take(sqlite: Database) -> None:
    """After a cut each answer of a slow exchange delays the first order: the time, prices, positions and the wallet
    are asked for side by side, and the leverage is set.
    """
    symbols = [f"{letter}USDT" for letter in "ABCD"]
    harness = harness_on(sqlite, *symbols)
    context = replace(harness.context, workers=1)
    reconcile(context)
    for symbol in symbols:
        add_signal(sqlite, symbol)
    together, lock = threading.Barrier(4), threading.Lock()
    asked: list[str] = []

    def answer(name: str) -> None:
        with lock:
            is_first, _ = name not in asked, asked.append(name)
        if is_first and name in ("now_ms", "tickers", "positions", "wallet"):
            together.wait(60)  # breaks, and the test with it, unless all four wait at the same time
        if name == "now_ms":
            harness.wall += 1500

    context.contracts.get(harness.exchange, set(symbols), context.wall_ms())
    harness.exchange.on_call = answer
    assert len(submit_orders(context).executed) == len(symbols)
    before = asked[: asked.index("place_order")]
    assert sorted(before[:4]) == ["now_ms", "positions", "tickers", "wallet"]
    assert before[4:] == ["set_leverage"]
