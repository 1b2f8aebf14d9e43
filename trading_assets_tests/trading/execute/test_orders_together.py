"""Orders that go by one request: each keeps its own id, its own state and its own end, the most confident first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from trading_assets.core.errors import (
    AmbiguousOutcomeError,
    ExchangeError,
    ExchangeFatalError,
    NotSentError,
    OrderRejectedError,
    RateLimitedError,
    StorageError,
    TooLateError,
)
from trading_assets.core.models import OrderAck, OrderRequest
from trading_assets.core.streams import AccountChanged, Up
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.keeper import Keeper
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.saga import steps
from trading_assets.trading.session.ahead import ReadAhead
from trading_assets_tests.fakes import FakeExchange
from trading_assets_tests.trading.fixtures import Harness, add_signal, settings, settle_all

COINS = [f"S{number:02}USDT" for number in range(20)]


class Recording(FakeExchange):
    """Remembers which orders came by one request, and has an answer of its own for some orders of a request of many."""

    def __init__(self, *symbols: str) -> None:
        super().__init__(*symbols)
        self.requests: list[list[str]] = []
        self.answers: dict[str, ExchangeError] = {}
        self._of_many = threading.local()

    def place_orders(self, requests: Sequence[OrderRequest]) -> list[OrderAck | ExchangeError]:
        self.requests.append([one.symbol for one in requests])
        due = {one.symbol: self.answers.pop(one.symbol) for one in requests if one.symbol in self.answers}
        self._of_many.is_now = True
        try:
            sound = iter(super().place_orders([one for one in requests if one.symbol not in due]))
        finally:
            self._of_many.is_now = False
        return [due[one.symbol] if one.symbol in due else next(sound) for one in requests]

    def place_order(self, request: OrderRequest) -> OrderAck:
        if not getattr(self._of_many, "is_now", False):
            self.requests.append([request.symbol])
        return super().place_order(request)


class Stage:
    """A harness on which leverages were set ahead, and signals of `count` coins, the first coin the most confident."""

    def __init__(self, database: Database, count: int, **changes: object) -> None:
        self.exchange = Recording(*COINS)
        self.harness = Harness(database, self.exchange, settings(max_positions=30, **changes))
        self.keeper = Keeper(lambda: 0.0, now=lambda: 0.0)
        self.keeper.hear(Up(()))
        context = replace(self.harness.context, keeper=self.keeper)
        reconcile(context)
        ReadAhead(self.keeper, lambda: context, lambda: COINS).set_leverages()
        ReadAhead(self.keeper, lambda: context, lambda: COINS).set_leverages()
        ReadAhead(self.keeper, lambda: context, lambda: COINS).set_leverages()
        self.exchange.calls.clear()
        self.identities = [
            add_signal(database, symbol, confidence=90.0 - number) for number, symbol in enumerate(COINS[:count])
        ]

    @property
    def context(self) -> ExecutionContext:
        """With one lane: what goes when does not depend on the machine."""
        return replace(self.harness.context, keeper=self.keeper, workers=1)

    def statuses(self) -> list[object]:
        return [intent and intent["status"] for intent in map(self.harness.intent, self.identities)]

    def settle(self) -> None:
        """Later runs, and what holds then."""
        self.harness.later()
        settle_all(self.harness.context, self.exchange, self.harness.later)
        self.harness.require_consistent(*self.identities)


@pytest.mark.parametrize("workers", [1, 4])
def test_orders_of_a_close_go_by_as_few_requests_as_may_be(sqlite: Database, workers: int) -> None:
    stage = Stage(sqlite, 18)
    report = submit_orders(replace(stage.context, workers=workers))
    assert sorted(report.executed) == sorted(stage.identities)
    assert sorted(stage.exchange.requests) == [COINS[:8], COINS[8:16], COINS[16:18]]
    assert stage.exchange.calls["set_leverage"] == 0
    stage.harness.require_consistent(*stage.identities)


def test_where_the_limits_let_no_more_out_together_each_goes_by_itself(sqlite: Database) -> None:
    stage = Stage(sqlite, 12)
    stage.exchange.on_call = lambda name: setattr(stage.exchange, "most_at_once", 0) if name == "place_orders" else None
    report = submit_orders(stage.context)
    assert len(report.executed) == 12
    assert stage.exchange.requests == [COINS[:8], *([coin] for coin in COINS[8:12])], "the most confident first"


def test_a_coin_whose_leverage_is_not_known_goes_by_itself_after_it_was_set(sqlite: Database) -> None:
    stage = Stage(sqlite, 4)
    stage.keeper.hear(AccountChanged(frozenset({"execution"}), frozenset({COINS[1]}), 0))
    report = submit_orders(stage.context)
    assert len(report.executed) == 4 and stage.exchange.calls["set_leverage"] == 1
    assert stage.exchange.requests == [[COINS[0], COINS[2], COINS[3]], [COINS[1]]]


def test_what_goes_by_itself_is_reserved_no_sooner_than_lanes_come_free(sqlite: Database) -> None:
    stage = Stage(sqlite, 20)
    stage.keeper.hear(Up(()))  # a new connection: no leverage is known
    reserved = list[int]()

    def count(name: str) -> None:
        if name == "set_leverage":
            reserved.append(sum(one.status == orders.INTENT for one in orders.unresolved(sqlite, "main")))

    stage.exchange.on_call = count
    report = submit_orders(replace(stage.context, workers=2))
    assert len(report.executed) == 20 and max(reserved) <= 8 + 1
    assert [len(one) for one in stage.exchange.requests] == [1] * 20


def test_places_are_exact_and_the_most_confident_have_them(sqlite: Database) -> None:
    stage = Stage(sqlite, 12)
    stage.exchange.open_foreign("S19USDT")
    context = replace(stage.context, settings=settings(max_positions=6))
    report = submit_orders(context)
    assert stage.exchange.requests == [COINS[:5]]
    assert len(report.executed) == 5


@pytest.mark.parametrize("processed", [False, True], ids=["nothing was placed", "all were placed"])
def test_a_lost_answer_leaves_every_order_in_doubt_and_each_is_looked_up_by_its_own_id(
    sqlite: Database, processed: bool
) -> None:
    stage = Stage(sqlite, 5)
    stage.exchange.fail("place_orders", AmbiguousOutcomeError("no answer"), processed=processed)
    stage.exchange.hidden_looks = 10**6
    report = submit_orders(stage.context)
    assert sorted(report.unknown) == sorted(stage.identities)
    assert stage.statuses() == [orders.UNKNOWN] * 5
    assert stage.exchange.calls["find_order"] >= 5
    stage.exchange.hidden_looks = 0
    stage.settle()
    assert stage.exchange.requests == [COINS[:5]], "what is in doubt is never sent again"
    assert stage.statuses() == [orders.CONFIRMED if processed else orders.ABANDONED] * 5


def test_after_a_lost_answer_nothing_more_is_reserved(sqlite: Database) -> None:
    stage = Stage(sqlite, 12)
    stage.exchange.fail("place_orders", AmbiguousOutcomeError("no answer"))
    report = submit_orders(stage.context)
    assert stage.exchange.requests == [COINS[:8]]
    assert all("it waits: outcome unknown" in report.refused[one] for one in stage.identities[8:])
    assert stage.statuses()[8:] == [None] * 4


ONE_ANSWER = {
    "refused": (OrderRejectedError("no", code=110007), orders.REJECTED),
    "in doubt": (AmbiguousOutcomeError("?"), orders.UNKNOWN),
    "too late": (TooLateError("late"), orders.CONFIRMED),
    "too many": (RateLimitedError("too many", code=10006), orders.CONFIRMED),
    "no key": (ExchangeFatalError("no key", code=10003), orders.ABANDONED),
}


@pytest.mark.parametrize("answer", ONE_ANSWER)
def test_what_one_order_is_answered_keeps_none_of_the_others_from_its_end(sqlite: Database, answer: str) -> None:
    stage = Stage(sqlite, 4)
    error, status = ONE_ANSWER[answer]
    stage.exchange.answers[COINS[1]] = error
    submit_orders(stage.context)
    assert stage.statuses() == [orders.CONFIRMED, status, orders.CONFIRMED, orders.CONFIRMED]
    again = [[COINS[1]]] if answer in ("too late", "too many") else []
    assert stage.exchange.requests == [COINS[:4], *again]
    stage.settle()


def test_a_request_that_is_refused_as_a_whole_is_made_for_each_by_itself(sqlite: Database) -> None:
    """A word of one order that the exchange does not understand refuses them all."""
    stage = Stage(sqlite, 4)
    stage.exchange.fail("place_orders", OrderRejectedError("params error", code=10001))
    stage.exchange.fail("place_order", OrderRejectedError("params error", code=10001), skip=2)
    report = submit_orders(stage.context)
    assert stage.exchange.requests == [COINS[:4], *([coin] for coin in COINS[:4])]
    assert list(report.rejected) == [stage.identities[2]] and len(report.executed) == 3
    stage.settle()


def test_a_refusal_although_all_were_placed_places_none_twice(sqlite: Database) -> None:
    """A proxy may answer in the exchange's place."""
    stage = Stage(sqlite, 3)
    stage.exchange.fail("place_orders", NotSentError("no route", code=502), processed=True)
    submit_orders(stage.context)
    stage.settle()
    assert sorted(stage.exchange.accepted) == sorted(set(stage.exchange.accepted))
    assert len(stage.exchange.accepted) == 3


def test_a_request_that_never_left_is_made_again_with_the_same_ids_and_then_given_up(sqlite: Database) -> None:
    stage = Stage(sqlite, 3)
    stage.exchange.fail("place_orders", NotSentError("connection refused"), times=99)
    report = submit_orders(stage.context)
    assert stage.exchange.requests == [COINS[:3]] * steps.SEND_ATTEMPTS
    assert set(report.refused) == set(stage.identities) and report.stopped
    assert stage.statuses() == [orders.ABANDONED] * 3
    assert {stage.harness.signal(one)["status"] for one in stage.identities} == {"active"}
    stage.exchange.heal()
    assert sorted(submit_orders(stage.context).executed) == sorted(stage.identities)
    stage.harness.require_consistent(*stage.identities)


def test_a_ledger_that_fails_when_they_were_taken_leaves_none_unfollowed(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(sqlite, 3)

    def fails(*_given: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "move_all", fails)
        with pytest.raises(StorageError):
            submit_orders(stage.context)
    assert stage.statuses() == [orders.INTENT] * 3, "what recovery looks up"
    stage.settle()
    assert stage.statuses() == [orders.CONFIRMED] * 3


@pytest.mark.parametrize("point", ["before create", "after create", "before acknowledge", "after acknowledge"])
def test_a_death_between_two_steps_of_many_orders_loses_and_doubles_none(sqlite: Database, point: str) -> None:
    stage = Stage(sqlite, 4)

    def dies(at: str) -> None:
        if at == point:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit_orders(replace(stage.context, at=dies))
    stage.settle()
    assert len(stage.exchange.accepted) == (0 if point == "before create" else 4)


def test_an_order_that_came_too_late_has_its_next_turn_before_less_confident_ones(sqlite: Database) -> None:
    stage = Stage(sqlite, 4)
    stage.exchange.most_at_once = 1
    late = iter([True])

    def sleeps(name: str) -> None:
        if name == "place_order" and next(late, False):
            raise TooLateError("the order took 5 ms too long to be sent")

    stage.exchange.on_call = sleeps
    report = submit_orders(stage.context)
    assert stage.exchange.requests == [[COINS[0]], [COINS[0]], *([coin] for coin in COINS[1:4])]
    assert sorted(report.executed) == sorted(stage.identities) and not report.refused


def test_an_order_that_is_late_again_waits_for_the_next_round(sqlite: Database) -> None:
    stage = Stage(sqlite, 2)
    stage.exchange.most_at_once = 1
    stage.exchange.fail("place_order", TooLateError("late"), times=2)
    report = submit_orders(stage.context)
    assert stage.exchange.requests == [[COINS[0]], [COINS[0]], [COINS[1]]]
    assert report.executed == [stage.identities[1]] and list(report.refused) == [stage.identities[0]]
    assert stage.harness.signal(stage.identities[0])["status"] == "active"
