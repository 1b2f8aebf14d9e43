"""Orders that rest: what is decided of them, and that whatever happens they are one order each, followed to its end."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeUnavailableError,
    OrderRejectedError,
    RulesChangedError,
)
from trading_assets.core.models import (
    CancelledBy,
    CloseReason,
    EntryOrder,
    Order,
    OrderChange,
    OrderPurpose,
    OrderStatus,
    Side,
)
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.ledger.risk import RiskState
from trading_assets.ledger.tables import order_events
from trading_assets.trading.execute.flatten import close_symbol, flatten
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.risk import guard
from trading_assets.trading.saga import recovery
from trading_assets.trading.saga.questions import questions, resolve
from trading_assets.trading.saga.resting import CHASE_MS, MOST_REQUESTS, Amend, Cancel, Wait, decide, is_older
from trading_assets.trading.saga.transitions import IllegalTransitionError, Step
from trading_assets_tests.fakes import order_link_id
from trading_assets_tests.trading.fixtures import NO_PAUSES, NOW_MS, Harness, add_signal, decimal, harness_on

D = Decimal
UNTIL_MS = NOW_MS + 600_000
LIMIT = {"entry_order": EntryOrder.LIMIT.value, "limit_price": 99.5, "limit_until_ms": float(UNTIL_MS)}
CHASE = LIMIT | {"entry_order": EntryOrder.CHASE.value}


def an_intent(**changes: object) -> Intent:
    numbers = (D(1), D(98), D(104), D(10))
    intent = Intent("l-1", "s-1", "main", "BTCUSDT", Side.BUY, *numbers, orders.RESTING, "o-1", NOW_MS, 0)
    intent = replace(intent, price=D("99.5"), until_ms=UNTIL_MS, seen_ms=NOW_MS)
    return replace(intent, **changes)  # type: ignore[arg-type]


def an_order(**changes: object) -> Order:
    order = Order(
        symbol="BTCUSDT",
        order_id="o-1",
        order_link_id="l-1",
        side=Side.BUY,
        status=OrderStatus.NEW,
        purpose=OrderPurpose.ORDINARY,
        qty=D(1),
        filled_qty=D(0),
        average_price=None,
        fee=D(0),
        reduce_only=False,
        stop_loss=D(98),
        take_profit=D(104),
        trigger_price=None,
        reject_reason=None,
        venue_reason="",
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        price=D("99.5"),
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def test_it_waits_until_its_time_and_is_dropped_or_follows_the_market() -> None:
    assert decide(an_intent(), an_order(), UNTIL_MS - 1) == Wait()
    assert isinstance(decide(an_intent(), an_order(), UNTIL_MS), Cancel)
    chased = an_intent(chase_price=D("100.5"))
    action = decide(chased, an_order(), UNTIL_MS)
    assert isinstance(action, Amend)
    assert action.price == D("100.5")
    moved = replace(chased, price=D("100.5"), request=orders.AMEND, request_reason="r", requests=1)
    assert decide(moved, an_order(), UNTIL_MS) == Amend(D("100.5"), "r")  # not seen done: asked again
    arrived = an_order(price=D("100.5"))
    assert decide(moved, arrived, UNTIL_MS + CHASE_MS - 1) == Wait()
    assert isinstance(decide(moved, arrived, UNTIL_MS + CHASE_MS), Cancel)


def test_what_others_have_changed_is_cancelled_and_nothing_is_asked_for_under_a_cancellation() -> None:
    for changed in (an_order(qty=D(2)), an_order(qty=D("0.5")), an_order(price=D(99))):
        action = decide(an_intent(), changed, NOW_MS)
        assert isinstance(action, Cancel)
        assert "somebody else" in action.reason
    cancelling = an_intent(request=orders.CANCEL, request_reason="halt", chase_price=D("100.5"))
    for order in (an_order(), an_order(qty=D(2))):
        for now_ms in (NOW_MS, UNTIL_MS):
            assert decide(cancelling, order, now_ms, stopped="") == Cancel("halt")


@pytest.mark.slow
@given(
    request=st.sampled_from([None, orders.AMEND, orders.CANCEL]),
    requests=st.integers(0, MOST_REQUESTS + 1),
    price=st.sampled_from([D("99.5"), D("100.5"), D(99)]),
    qty=st.sampled_from([D(1), D("0.4"), D(2)]),
    chase=st.sampled_from([None, D("100.5")]),
    asked=st.sampled_from([D("99.5"), D("100.5")]),
    late_ms=st.integers(-1000, CHASE_MS + 1000),
    stopped=st.sampled_from(["", "halted"]),
)
def test_laws_of_the_decision(
    request: str | None,
    requests: int,
    price: Decimal,
    qty: Decimal,
    chase: Decimal | None,
    asked: Decimal,
    late_ms: int,
    stopped: str,
) -> None:
    intent = an_intent(request=request, requests=requests, request_reason="r", price=asked, chase_price=chase)
    order = an_order(price=price, qty=qty)
    action = decide(intent, order, UNTIL_MS + late_ms, stopped=stopped)
    if request == orders.CANCEL:
        assert action == Cancel("r"), "a cancellation is never taken back"
    if stopped:
        assert isinstance(action, Cancel), "nothing is opened while trading stands"
    if isinstance(action, Amend):
        assert action.price in (asked, chase), "a price is one that was reserved"
        assert requests < MOST_REQUESTS or request is None, "no request without end"
        assert qty == intent.qty, "what others have changed is not changed back"
    if isinstance(action, Wait):
        assert (price, qty) == (asked, intent.qty)
    if late_ms >= CHASE_MS:
        assert not isinstance(action, Wait), "it comes to an end"


def test_a_state_that_is_older_than_what_was_seen_says_nothing() -> None:
    intent = an_intent(seen_ms=NOW_MS + 5, filled_qty=D("0.4"))
    assert is_older(intent, an_order(updated_ms=NOW_MS + 4, filled_qty=D("0.4")))
    assert is_older(intent, an_order(updated_ms=NOW_MS + 5, filled_qty=D("0.3")))
    assert not is_older(intent, an_order(updated_ms=NOW_MS + 5, filled_qty=D("0.4")))


# On an exchange in memory.


def rests(database: Database, **changes: object) -> tuple[Harness, str, str]:
    """A signal whose order rests at 99.5."""
    harness = harness_on(database)
    identity = add_signal(database, **(LIMIT | changes))
    report = submit_orders(harness.context)
    assert report.resting == [identity], report
    return harness, identity, order_link_id(identity)


def after_passes(harness: Harness, *, times: int = 1, seconds: int = 60) -> None:
    for _ in range(times):
        harness.later(seconds)
        recovery.recover(harness.context)
        reconcile(harness.context)


def row(harness: Harness, identity: str) -> dict[str, object]:
    found = harness.intent(identity)
    assert found is not None
    return dict(found)


def test_an_entry_rests_and_is_filled_to_a_position_with_its_stop(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    assert (row(harness, identity)["status"], harness.signal(identity)["status"]) == ("resting", "executing")
    assert harness.exchange.book and not harness.exchange.open
    (question,) = questions(sqlite, "main", tell_unseen_after_ms=600_000)
    assert "waits at 99.5, 0 of 1.005 are filled" in question.why
    assert not question.is_overdue
    harness.exchange.fill(link, "0.5")
    after_passes(harness)
    assert row(harness, identity)["filled_qty"] == D("0.5")
    harness.exchange.fill(link, decimal(row(harness, identity)["qty"]) - D("0.5"))
    after_passes(harness)
    intent = row(harness, identity)
    assert (intent["status"], intent["filled_qty"], intent["average_price"]) == ("confirmed", intent["qty"], D("99.5"))
    harness.require_consistent(identity)
    assert harness.exchange.accepted == [link]


def test_an_entry_that_is_not_filled_in_its_time_is_dropped(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    after_passes(harness, times=9)
    assert row(harness, identity)["status"] == "resting"
    after_passes(harness, times=2)
    assert (row(harness, identity)["status"], harness.signal(identity)["status"]) == ("ended", "expired")
    assert "its time was over" in str(row(harness, identity)["reason"])
    assert not [order for order in harness.exchange.book.values() if not order.status.is_final]
    harness.require_consistent(identity)
    assert link in harness.exchange.accepted


def test_what_is_filled_of_an_entry_that_is_dropped_is_a_position(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.fill(link, "0.3")
    after_passes(harness, times=11)
    assert (row(harness, identity)["status"], row(harness, identity)["filled_qty"]) == ("confirmed", D("0.3"))
    with sqlite.read() as connection:
        states = connection.execute(sa.select(order_events.c.status)).scalars().all()
    assert "ended" not in states, "it is booked at once, not found again by a later pass"
    harness.require_consistent(identity)


def test_an_entry_follows_the_market_at_its_end(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite, **CHASE)
    harness.exchange.set_price("BTCUSDT", "100.3")
    after_passes(harness, times=11)
    intent = row(harness, identity)
    assert (intent["status"], intent["price"]) == ("confirmed", D("100.5"))  # 0.5 % from the signal's price at most
    assert harness.exchange.accepted == [link]
    harness.require_consistent(identity)


def test_an_entry_that_follows_a_market_that_has_left_is_dropped(sqlite: Database) -> None:
    harness, identity, _ = rests(sqlite, **CHASE)
    harness.exchange.set_price("BTCUSDT", 103)
    after_passes(harness, times=12)
    assert row(harness, identity)["status"] == "ended"
    assert "beyond 100.5" in str(row(harness, identity)["reason"])


def takes_only(monkeypatch: pytest.MonkeyPatch, harness: Harness, tick: Decimal) -> list[Decimal | None]:
    """The contract has another tick from now on. Return the prices that are asked for."""
    exchange, asked = harness.exchange, list[Decimal | None]()
    exchange.listed["BTCUSDT"] = replace(exchange.listed["BTCUSDT"], tick_size=tick)
    amend = exchange.amend_order

    def amends(change: OrderChange) -> None:
        asked.append(change.price)
        if change.price is not None and change.price % tick:
            raise RulesChangedError(f"price {change.price} must be a multiple of tickSize {tick}", code=10001)
        amend(change)

    monkeypatch.setattr(exchange, "amend_order", amends)
    return asked


def test_an_entry_follows_the_market_on_the_tick_of_now(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The price up to which it follows was made for another tick; it goes to the next one that is no worse."""
    harness, identity, link = rests(sqlite, **CHASE)
    asked = takes_only(monkeypatch, harness, D("0.4"))
    harness.exchange.set_price("BTCUSDT", "101")
    after_passes(harness, times=10)
    intent = row(harness, identity)
    assert (intent["status"], intent["price"], intent["chase_price"]) == ("resting", D("100.4"), D("100.4"))
    assert asked == [D("100.5"), D("100.4")], "it is asked for once more, and not again when it is seen"
    harness.exchange.fill(link, decimal(intent["qty"]))
    after_passes(harness)
    assert row(harness, identity)["status"] == "confirmed"
    harness.require_consistent(identity)


def test_an_entry_whose_new_price_is_refused_on_the_tick_of_now_is_dropped(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, identity, _ = rests(sqlite, **CHASE)
    harness.exchange.fail("amend_order", OrderRejectedError("beyond the price band", code=110003), times=9)
    after_passes(harness, times=12)
    assert row(harness, identity)["status"] == "ended"
    assert "could not be changed to 100.5" in str(row(harness, identity)["reason"])


def test_while_the_rules_cannot_be_read_a_refused_price_is_asked_for_again(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, identity, _ = rests(sqlite, **CHASE)
    takes_only(monkeypatch, harness, D("0.4"))
    harness.exchange.set_price("BTCUSDT", "101")
    harness.later(601)
    harness.exchange.fail("instruments", ExchangeUnavailableError("502"), times=1)
    recovery.recover(harness.context)
    assert (row(harness, identity)["status"], row(harness, identity)["request"]) == ("resting", orders.AMEND)
    recovery.recover(harness.context)
    assert row(harness, identity)["price"] == D("100.4")


def test_an_entry_that_is_shown_on_another_tick_was_changed_by_nobody(sqlite: Database) -> None:
    """What was placed before a change of the tick waits at its own price, and is shown rounded."""
    harness, identity, _ = rests(sqlite)
    exchange = harness.exchange
    (order,) = exchange.book.values()
    exchange.listed["BTCUSDT"] = replace(exchange.listed["BTCUSDT"], tick_size=D("0.4"))
    exchange.book[order.order_id] = replace(order, price=D("99.6"))
    after_passes(harness, times=3)
    assert (row(harness, identity)["status"], row(harness, identity)["request"]) == ("resting", None)
    exchange.book[order.order_id] = replace(order, price=D("99.2"))
    after_passes(harness, times=1)
    assert row(harness, identity)["request"] is None, "that is less than a tick, too"
    exchange.book[order.order_id] = replace(order, price=D("98.8"))
    after_passes(harness, times=2)
    assert row(harness, identity)["status"] == "ended"
    assert "somebody else" in str(row(harness, identity)["reason"])


def test_a_post_only_entry_that_would_take_is_rejected_after_its_answer(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite, **(LIMIT | {"entry_order": "post-only", "limit_price": 101.0}))
    submit_orders(harness.context)
    assert (row(harness, identity)["status"], harness.signal(identity)["status"]) == ("rejected", "rejected")
    assert "taken liquidity" in str(row(harness, identity)["reason"])


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "signal"), [(Step.AMEND, CHASE), (Step.CANCEL, LIMIT)])
def test_a_death_at_a_change_or_cancellation_leaves_it_to_the_next_pass(
    sqlite: Database, step: Step, signal: dict[str, object], when: str
) -> None:
    harness, identity, link = rests(sqlite, **signal)
    if step is Step.AMEND:
        harness.exchange.set_price("BTCUSDT", "101")
    harness.later(601)
    killed = {"at": f"{when} {step}"}
    _run(harness, reconciles=False, killed=killed)
    assert not killed, "it died there"
    assert row(harness, identity)["request"] == (orders.AMEND if step is Step.AMEND else orders.CANCEL)
    after_passes(harness, times=12)
    assert row(harness, identity)["status"] == "ended"
    assert harness.exchange.accepted == [link]
    assert harness.exchange.calls["amend_order"] == (step is Step.AMEND)
    harness.require_consistent(identity)


@pytest.mark.slow
@pytest.mark.parametrize("by", list(CancelledBy))
def test_an_entry_that_others_cancel_ends_and_is_not_placed_again(sqlite: Database, by: CancelledBy) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.cancel_by(link, by)
    after_passes(harness, times=3)
    assert (row(harness, identity)["status"], harness.signal(identity)["status"]) == ("ended", "expired")
    assert by.value in str(row(harness, identity)["reason"])
    assert harness.exchange.accepted == [link]
    assert [body for title, body in harness.told if title.startswith("order failed")] != []


@pytest.mark.parametrize("state", [RiskState.REDUCING, RiskState.HALTED])
def test_what_rests_is_cancelled_first_when_trading_stops(sqlite: Database, state: RiskState) -> None:
    harness, identity, link = rests(sqlite, **CHASE)
    harness.exchange.fill(link, "0.3")
    guard.command(sqlite, "main", state, reason="storm", actor="me", now_ms=harness.exchange.time_ms)
    after_passes(harness)
    assert row(harness, identity)["status"] == "confirmed"
    assert row(harness, identity)["request_reason"] == f"trading is {state.value}: storm"
    assert not [order for order in harness.exchange.book.values() if not order.status.is_final]


def test_flatten_cancels_what_rests_and_says_so(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.fill(link, "0.3")
    report = flatten(harness.context, reason="storm", actor="me")
    assert report.cancelled == ["BTCUSDT"]
    assert "1 waiting entries cancelled (BTCUSDT)" in str(report)
    assert not harness.exchange.open
    assert not report.left
    assert row(harness, identity)["status"] in ("confirmed", "closed")


@pytest.mark.slow
@pytest.mark.parametrize("filled", ["0", "0.3"])
def test_close_cancels_what_rests_in_its_symbol_alone_and_trading_goes_on(sqlite: Database, filled: str) -> None:
    harness = harness_on(sqlite, "AUSDT", "BUSDT")
    mine, other = (add_signal(sqlite, symbol, **CHASE) for symbol in ("AUSDT", "BUSDT"))
    submit_orders(harness.context)
    if D(filled):
        harness.exchange.fill(order_link_id(mine), filled)
    report = close_symbol(harness.context, "AUSDT")
    assert report.cancelled == ["AUSDT"] and not report.left and not harness.exchange.open
    assert "1 waiting entries cancelled (AUSDT)" in str(report) and harness.told[-1][1].startswith(str(report))
    assert row(harness, mine)["status"] in (("confirmed", "closed") if D(filled) else ("ended",))
    assert row(harness, mine)["request_reason"] == "its symbol was closed by command"
    after_passes(harness)
    assert row(harness, other)["status"] == orders.RESTING, "the other one waits on"
    assert close_symbol(harness.context, "AUSDT").cancelled == []


def test_close_is_told_again_where_its_cancellation_fails(sqlite: Database) -> None:
    harness, identity, _ = rests(sqlite)
    harness.exchange.fail("cancel_order", ExchangeUnavailableError("down"), times=99)
    report = close_symbol(harness.context, "BTCUSDT")
    assert report.cancelled == [] and "not settled yet" in report.left["BTCUSDT"]
    harness.exchange.heal()
    after_passes(harness)
    assert row(harness, identity)["status"] == "ended", "whoever follows it cancels it"


def test_the_rest_is_cancelled_when_a_part_of_its_position_is_closed(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.fill(link, "0.5")
    after_passes(harness)
    harness.exchange.close_position("BTCUSDT", CloseReason.TARGET)
    after_passes(harness, times=2)
    assert row(harness, identity)["status"] == "closed"
    assert row(harness, identity)["request_reason"] == "a part of what it has filled is closed already"
    assert not harness.exchange.open


def test_a_part_without_its_stop_gets_it_back_and_the_rest_is_cancelled(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.fill(link, "0.5")
    harness.exchange.lose_stops("BTCUSDT")
    after_passes(harness)
    assert row(harness, identity)["status"] == "confirmed"
    harness.require_consistent(identity)


@pytest.mark.slow
def test_a_cancellation_that_loses_against_the_fill_is_a_position(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.on_call = lambda name: (
        harness.exchange.fill(link, decimal(row(harness, identity)["qty"])) if name == "cancel_order" else None
    )
    after_passes(harness, times=11)
    assert row(harness, identity)["status"] == "confirmed"
    harness.require_consistent(identity)


def test_an_order_that_came_after_it_was_given_up_is_cancelled(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite, **LIMIT)
    harness.exchange.fail("place_order", AmbiguousOutcomeError("no answer"), processed=True)
    harness.exchange.hidden_looks = 100
    submit_orders(harness.context)
    after_passes(harness)
    assert row(harness, identity)["status"] == "abandoned"
    harness.exchange.hidden_looks = 0
    after_passes(harness)
    assert not [order for order in harness.exchange.book.values() if not order.status.is_final]
    assert any("was abandoned, and waited: it was cancelled" in body for _, body in harness.told)


def test_an_order_that_is_not_seen_ends_after_the_exchange_has_forgotten_its_kind(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    harness.exchange.book.clear()
    after_passes(harness, times=3)
    assert row(harness, identity)["status"] == "resting"
    (question,) = questions(sqlite, "main", tell_unseen_after_ms=600_000)
    assert question.is_overdue
    with pytest.raises(IllegalTransitionError, match="cancel it there"):
        resolve(
            sqlite, question.intent, orders.CONFIRMED, reason="", actor="me", now_ms=harness.exchange.time_ms, wall_ms=0
        )
    after_passes(harness, seconds=26 * 3600)
    assert row(harness, identity)["status"] == "ended"
    assert link in harness.exchange.accepted


def test_an_entry_that_came_too_late_to_wait_is_rejected(sqlite: Database) -> None:
    harness = harness_on(sqlite)
    identity = add_signal(sqlite, **(LIMIT | {"limit_until_ms": float(NOW_MS - 1)}))
    submit_orders(harness.context)
    assert harness.signal(identity)["status"] == "rejected"
    assert not harness.exchange.accepted


def test_what_rests_counts_in_full_against_the_limits(sqlite: Database) -> None:
    harness, identity, link = rests(sqlite)
    account = guard.account_snapshot(sqlite, guard.AccountReads(harness.exchange), "main", harness.exchange.time_ms)
    assert account.resting == {"BTCUSDT": decimal(row(harness, identity)["qty"]) * D("99.5")}
    harness.exchange.fill(link, "0.5")
    after_passes(harness)
    account = guard.account_snapshot(sqlite, guard.AccountReads(harness.exchange), "main", harness.exchange.time_ms)
    assert account.resting == {"BTCUSDT": (decimal(row(harness, identity)["qty"]) - D("0.5")) * D("99.5")}


# Whatever happens.


@dataclass(frozen=True)
class Happening:
    what: str
    number: int


_HAPPENINGS = st.builds(
    Happening,
    st.sampled_from(
        [
            *("fill", "fill", "run", "run", "run", "time", "crash", "crash", "fail", "fail"),
            *("cancel by hand", "change by hand", "venue", "halt", "target", "lose stop", "price", "restart"),
        ]
    ),
    st.integers(0, 11),
)
_METHODS = ("find_order", "cancel_order", "amend_order", "position", "place_order", "open_orders", "executions")
_ERRORS = (
    AmbiguousOutcomeError("?"),
    ExchangeUnavailableError("down"),
    OrderRejectedError("no", code=110079),
)
_BY = (CancelledBy.DISCONNECTION, CancelledBy.SELF_MATCH, CancelledBy.LIQUIDATION, CancelledBy.ADMIN)


class _Killed(BaseException):
    """The process dies here."""


def _happen(one: Happening, harness: Harness, link: str, killed: dict[str, str]) -> None:
    exchange = harness.exchange
    order = next((o for o in exchange.book.values() if o.order_link_id == link), None)
    waits = order is not None and not order.status.is_final
    match one.what:
        case "fill" if waits and order is not None:
            left = order.qty - order.filled_qty
            exchange.fill(link, left if one.number > 8 else min(left, D("0.2")))
        case "run" | "restart":
            _run(harness, one.number % 2 == 0)
        case "time":
            harness.later(20 * (one.number + 1))
        case "crash":
            killed["at"] = f"{'before' if one.number % 2 else 'after'} {list(Step)[one.number % len(Step)]}"
            _run(harness, one.number % 3 == 0, killed)
        case "fail":
            error = _ERRORS[one.number % len(_ERRORS)]
            exchange.fail(_METHODS[one.number % len(_METHODS)], error, processed=one.number % 2 == 0)
        case "cancel by hand" if waits:
            exchange.cancel_by(link)
        case "venue" if waits:
            exchange.cancel_by(link, _BY[one.number % len(_BY)])
        case "change by hand" if waits and order is not None:
            price, qty = order.price, order.qty
            if one.number % 2 and price is not None:
                exchange._amend(OrderChange("BTCUSDT", link, price=price - D("0.1")))
            elif qty - D("0.1") > order.filled_qty:
                exchange._amend(OrderChange("BTCUSDT", link, qty=qty - D("0.1")))
        case "halt":
            guard.command(harness.database, "main", RiskState.HALTED, reason="r", actor="a", now_ms=exchange.time_ms)
        case "target" if "BTCUSDT" in exchange.open and exchange.open["BTCUSDT"].take_profit is not None:
            exchange.close_position("BTCUSDT", CloseReason.TARGET)
        case "lose stop" if "BTCUSDT" in exchange.open:
            exchange.lose_stops("BTCUSDT")
        case "price":
            exchange.set_price("BTCUSDT", ("99.8", "100", "100.2", "100.4")[one.number % 4])


def _run(harness: Harness, reconciles: bool, killed: dict[str, str] | None = None) -> None:
    def at(point: str) -> None:
        if killed is not None and point == killed.get("at"):
            killed.pop("at")
            raise _Killed

    context = replace(harness.context, at=at)
    try:
        (reconcile if reconciles else submit_orders)(context)
    except (ExchangeUnavailableError, AmbiguousOutcomeError, OrderRejectedError, _Killed):
        return


_NUMBERS = count()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=st.lists(_HAPPENINGS, max_size=14), chases=st.booleans())
def test_whatever_happens_an_entry_is_one_order_followed_to_its_end(
    sqlite_template: Path,
    tmp_path: Path,
    happenings: list[Happening],
    chases: bool,
) -> None:
    file = tmp_path / f"{next(_NUMBERS)}.db"
    shutil.copyfile(sqlite_template, file)
    with closing(Database(f"sqlite:///{file}")) as database:
        harness = harness_on(database, **NO_PAUSES)
        identity = add_signal(database, **(CHASE if chases else LIMIT))
        link, killed = order_link_id(identity), dict[str, str]()
        filled_before, state_before = D(0), ""
        for one in happenings:
            _happen(one, harness, link, killed)
            intent = harness.intent(identity)
            if intent is None:
                continue
            filled = decimal(intent["filled_qty"] or 0)
            assert filled >= filled_before, "what is filled never falls"
            if state_before in (orders.CONFIRMED, orders.CLOSED):
                assert intent["status"] in (orders.CONFIRMED, orders.CLOSED), "a final state is not left"
            filled_before, state_before = filled, str(intent["status"])
        harness.exchange.heal()
        for _ in range(4):
            _run(harness, True)
            _run(harness, False)
            harness.later(700)
        exchange, final = harness.exchange, harness.intent(identity)
        trades = [trade for trade in exchange.trades if trade.order_link_id == link]
        bought = sum((trade.qty for trade in trades), D(0))
        assert exchange.accepted.count(link) <= 1, "one key, one order"
        assert len({trade.order_id for trade in trades}) <= 1
        waiting = [o for o in exchange.book.values() if not o.status.is_final and not o.purpose.is_protective]
        assert not [o for o in waiting if o.order_link_id == link], "no forgotten order"
        if final is None:
            assert not bought
            return
        assert bought <= decimal(final["qty"]), "never more than wished"
        assert final["status"] not in orders.UNRESOLVED, "it is settled"
        assert decimal(final["filled_qty"] or 0) == bought, "the ledger knows every fill"
        assert (final["status"] in (orders.CONFIRMED, orders.CLOSED)) == (bought > 0)
        for position in exchange.open.values():
            assert position.stop_loss is not None, "a position has its stop"
        known = Decimal(0) if final["request"] is None else Decimal(int(str(final["requests"])))
        assert known <= MOST_REQUESTS + 30, "no loop"
        state, before = final["status"], len(exchange.accepted)
        calls = exchange.calls["cancel_order"] + exchange.calls["amend_order"] + exchange.calls["place_order"]
        _run(harness, True)
        after = harness.intent(identity)
        assert after is not None
        assert (after["status"], len(exchange.accepted)) == (state, before), "a second pass does nothing"
        now = exchange.calls["cancel_order"] + exchange.calls["amend_order"] + exchange.calls["place_order"]
        assert now == calls
