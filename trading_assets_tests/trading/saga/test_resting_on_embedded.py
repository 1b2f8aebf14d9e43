"""An entry that waits, from its signal to its position, on the real embedded exchange: its lags, races and halts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trading_assets.cli.main import cli
from trading_assets.core.models import CancelledBy, OrderStatus
from trading_assets.core.ports import Exchange
from trading_assets.core.settings import load_settings
from trading_assets.exchange.bybit import BybitExchange
from trading_assets.exchange.connection import Connection
from trading_assets.exchange.transport import Transport
from trading_assets.ledger import account as account_ledger
from trading_assets.ledger import orders
from trading_assets.ledger.database import Database
from trading_assets.ledger.orders import Intent
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.server import ENDPOINTS, ServeConfig
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute.submit import submit_orders
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.venues import open_exchange
from trading_assets_tests.exchange.stub import keys_of
from trading_assets_tests.simulator.accounts import straight
from trading_assets_tests.simulator.fake_market import MINUTE, T0
from trading_assets_tests.trading.fixtures import add_signal_at_100_000, settings
from trading_assets_tests.trading.saga.fault_matrix import FAULTS, SYMBOL

D = Decimal


@dataclass
class Stage:
    """A trader on an exchange whose price runs straight, and whose clock a test moves."""

    running: RunningExchange
    database: Database
    exchange: Exchange
    wall: int = 1_000_000

    @property
    def context(self) -> ExecutionContext:
        return ExecutionContext(
            self.database, self.exchange, settings(position_size=200), sleep=lambda _s: None, wall_ms=lambda: self.wall
        )

    def signal(self, kind: str, price: str, *, minutes: int = 5) -> None:
        now_ms = self.running.now_ms()
        with self.database.write() as connection:
            account_ledger.add_reconciliation(
                connection, "main", new_fills=0, new_closings=0, open_positions=0, differences=0, until_ms=now_ms
            )
        add_signal_at_100_000(
            self.database,
            SYMBOL,
            now_ms,
            entry_order=kind,
            limit_price=float(price),
            limit_until_ms=float(now_ms + minutes * MINUTE),
        )
        submit_orders(self.context)

    def after(self, minutes: float, passes: int = 1) -> Intent:
        for _ in range(passes):
            self.running.advance(round(minutes * MINUTE))
            self.wall += round(minutes * MINUTE)
            reconcile(self.context)
        return self.intent()

    def intent(self) -> Intent:
        with self.database.read() as connection:
            (found,) = orders.of_symbols(connection, "main", [SYMBOL], 0)[SYMBOL]
        return found

    def arm(self, where: str, **fault: Any) -> None:
        self.running.faults.add(parse_rules({"where": where, **fault}, ENDPOINTS), self.running.now_ms())


@contextmanager
def stage_on(database: Database, *prices: float) -> Iterator[Stage]:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, straight(*prices)) as running:
        connection = Connection(running.url, keys=keys_of(running.key, running.secret), recv_window_ms=60_000)
        exchange = BybitExchange(Transport(connection, limited=False), virtual_clock=True)
        yield Stage(running, database, exchange)
        exchange.close()


def test_an_entry_waits_for_the_market_and_is_a_position_with_its_stop_as_maker(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 99_000) as stage:
        stage.signal("post-only", "99900")
        assert stage.intent().status == orders.RESTING
        assert stage.after(0.5).status == orders.RESTING
        intent = stage.after(1.5)
        assert (intent.status, intent.average_price, intent.filled_qty) == (orders.CONFIRMED, D(99_900), D("0.002"))
        held = stage.exchange.position(SYMBOL)
        assert held is not None
        assert (held.size, held.stop_loss, held.take_profit) == (D("0.002"), D(98_000), D(104_000))
        (fill,) = stage.exchange.executions(T0, stage.running.now_ms() + 1)
        assert fill.is_maker


def test_an_entry_follows_the_market_at_its_end_under_the_same_id(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_200) as stage:
        stage.signal("chase", "99900", minutes=2)
        intent = stage.after(3)
        assert (intent.status, intent.price) == (orders.CONFIRMED, D(100_500))
        assert intent.average_price is not None
        assert D(100_100) < intent.average_price < D(100_300)
        rows = stage.exchange.executions(T0, stage.running.now_ms() + 1)
        assert {row.order_link_id for row in rows} == {intent.order_link_id}


def test_a_post_only_entry_that_would_take_is_rejected_and_costs_one_order(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.signal("post-only", "100400")
        assert stage.intent().status == orders.REJECTED
        assert stage.exchange.position(SYMBOL) is None


def test_a_cancellation_that_comes_late_loses_and_the_fill_is_a_position(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000, 100_000, 99_000) as stage:
        stage.signal("limit", "99900", minutes=1)
        stage.arm("POST /v5/order/cancel", act_after_ms=10 * MINUTE)
        waiting = stage.after(1.5)
        assert (waiting.status, waiting.request) == (orders.RESTING, orders.CANCEL)
        intent = stage.after(2)
        assert (intent.status, intent.filled_qty) == (orders.CONFIRMED, D("0.002"))
        held = stage.exchange.position(SYMBOL)
        assert held is not None
        assert held.stop_loss == D(98_000)


def test_a_change_that_comes_late_is_asked_for_until_it_is_seen(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_200) as stage:
        stage.signal("chase", "99900", minutes=2)
        stage.arm("POST /v5/order/amend", act_after_ms=MINUTE)
        waiting = stage.after(2.5)
        assert (waiting.status, waiting.request, waiting.price) == (orders.RESTING, orders.AMEND, D(100_500))
        assert stage.after(2).status == orders.CONFIRMED


@pytest.mark.slow
@pytest.mark.parametrize("lag_ms", [pytest.param(500, marks=pytest.mark.slow), 30_000])
def test_lists_that_lag_change_nothing_of_what_becomes_of_it(sqlite: Database, lag_ms: int) -> None:
    with stage_on(sqlite, 100_000, 100_200) as stage:
        for where in ("order/realtime", "order/history", "position/list", "execution/list"):
            stage.arm(f"GET /v5/{where}", lag_ms=lag_ms)
        stage.signal("chase", "99900", minutes=2)
        intent = stage.after(0.7, passes=8)
        assert (intent.status, intent.price) == (orders.CONFIRMED, D(100_500))
        assert len({row.order_id for row in stage.exchange.executions(T0, stage.running.now_ms() + 1)}) == 1


def test_what_the_venue_cancels_ends_with_its_reason(sqlite: Database) -> None:
    with stage_on(sqlite, 100_000, 100_000) as stage:
        stage.signal("limit", "99900")
        engine = stage.running.venue.engine
        stage.running.venue.transact(lambda now: engine.cancel_by_venue(engine.open_orders(), "CancelByDCP", now))
        intent = stage.after(1)
        assert intent.status == orders.ENDED
        assert CancelledBy.DISCONNECTION.value in str(intent.reason)


def test_halt_cancels_what_waits_and_names_it_and_intents_list_shows_it_before(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ServeConfig(clock=ClockSpec(ClockMode.MANUAL, T0))
    with serve_in_thread(config, straight(100_000, 100_000)) as running:
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", running.url)
        given = load_settings()
        database = Database(given.resolved_database_url)
        exchange = open_exchange(given)
        Stage(running, database, exchange).signal("limit", "99900")
        shown = CliRunner().invoke(cli, ["intents", "list"])
        assert "99900" in shown.stdout and "resting" in shown.stdout, shown.stdout
        halted = CliRunner().invoke(cli, ["halt", "storm"])
        assert "1 entries that waited were cancelled: BTCUSDT" in halted.stdout, halted.output
        (order,) = [exchange.find_order(SYMBOL, one.order_link_id) for one in _all(database)]
        assert order is not None
        assert order.status is OrderStatus.CANCELLED
        exchange.close()
        database.close()


def _all(database: Database) -> list[Intent]:
    with database.read() as connection:
        return orders.of_symbols(connection, "main", [SYMBOL], 0)[SYMBOL]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "kind"), [("amend", "chase"), ("cancel", "limit")])
def test_every_fault_at_a_change_or_cancellation_leaves_one_order_that_ends_as_it_was_reserved(
    sqlite_template: Path, tmp_path: Path, call: str, kind: str
) -> None:
    """Before and after it was processed: the pass that meets the fault, or the next one, brings it to its end."""
    most = 0
    for number, (fault, rule) in enumerate((name, rule) for name, rule in FAULTS.items() if "ban_s" not in rule):
        file = tmp_path / f"{number}.db"
        shutil.copyfile(sqlite_template, file)
        with closing(Database(f"sqlite:///{file}")) as database, stage_on(database, 100_000, 100_200) as stage:
            stage.signal(kind, "99900", minutes=2)
            lost = {"lost_answer": True} if rule.get("processed") else {"lost_request": True}
            stage.arm(f"POST /v5/order/{call}", times=1, **(lost if "latency_ms" in rule else rule))
            first = stage.after(3)
            last = stage.after(1, passes=2)
            fills = call == "amend" and fault != "110007 no margin, before"  # what is refused for good is dropped
            expected = orders.CONFIRMED if fills else orders.ENDED
            assert last.status == expected, f"{fault}: {first.status}, then {last.status}: {last.reason}"
            assert last.requests <= 3, f"{fault}: asked for {last.requests} times"
            most = max(most, last.requests)
            rows = stage.exchange.executions(T0, stage.running.now_ms() + 1)
            assert len({row.order_id for row in rows}) == fills
            held = stage.exchange.position(SYMBOL)
            assert (held is not None) == fills
            assert held is None or held.stop_loss == D(98_000)
            assert not [one for one in stage.exchange.open_orders(SYMBOL) if not one.purpose.is_protective]
    assert most > 1, "some of them are asked for again"
