"""Two accounts on one installation: limits, strategies, halts and books of their own, through restarts and faults."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from trading_assets.accounts import effective
from trading_assets.chaos.signal_source import EAGER, selection_row
from trading_assets.cli.main import cli
from trading_assets.core.errors import ConfigurationError, WrongBooksError
from trading_assets.core.schemas import STRATEGY_SELECTIONS
from trading_assets.core.settings import load_settings
from trading_assets.core.timeframes import HOUR_MS, MINUTE_MS, floor_ms, local_ms
from trading_assets.ledger import orders, signals
from trading_assets.ledger.database import Database
from trading_assets.ledger.partitions import replace_partitions
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.market.store import CandleStore
from trading_assets.simulator.clock import ClockMode, ClockSpec
from trading_assets.simulator.embedded import RunningExchange, serve_in_thread
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ServeConfig
from trading_assets.trading import halt_file
from trading_assets.trading.binding import require_bound
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.reconcile.reconciler import reconcile
from trading_assets.trading.session.session import Session
from trading_assets.trading.session.watchlist import newest_selection
from trading_assets.venues import open_account_stream, open_candle_stream, open_exchange
from trading_assets_tests.trading.fixtures import start_strategy

START = 1_772_427_640_000
"""2026-03-02 05:00:40 UTC."""

SYMBOLS = ("SOLUSDT", "XRPUSDT", "DOGEUSDT")
BOTH = ("main", "second")
WITHIN_S = 120.0


class Passed:
    passed = True


@pytest.fixture
def venues(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, RunningExchange]]:
    """An exchange for each account, which play the same market."""
    with contextlib.ExitStack() as stack:
        found = {
            name: stack.enter_context(
                serve_in_thread(ServeConfig(symbols=14, clock=ClockSpec(ClockMode.MANUAL, start_ms=START)))
            )
            for name in BOTH
        }
        monkeypatch.setenv("TRADING_ASSETS_SIMULATOR_URL", found["main"].url)
        monkeypatch.setenv("TRADING_ASSETS_MIN_SIGNAL_INTERVAL_S", "0")
        for name in ("COOLDOWN_AFTER_STOP_S", "PAUSE_AFTER_STOPS_S", "WEAK_SYMBOL_HOURS"):
            monkeypatch.setenv(f"TRADING_ASSETS_{name}", "0")
        yield found


@pytest.fixture
def ledger(venues: dict[str, RunningExchange]) -> Iterator[Database]:
    """The ledger of the test's home, with a selection and the second account, which may open one position."""
    database = Database(load_settings().resolved_database_url)
    start_strategy(database)
    hour = floor_ms(START, HOUR_MS) - HOUR_MS
    rows = pd.DataFrame([selection_row(hour, symbol, parameters=EAGER) for symbol in SYMBOLS])
    replace_partitions(database, STRATEGY_SELECTIONS, rows, [hour])
    given = [f"simulator_url={venues['second'].url}", "max_positions=1", "position_size=40"]
    added = run(
        "accounts", "add", "second", "--venue", "simulator", *(part for one in given for part in ("--set", one))
    )
    assert added.exit_code == 0, added.output
    yield database
    database.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
    return value


class Trading:
    """A session of an account in a thread, as the op of the trade job runs it."""

    def __init__(self, database: Database, account: str) -> None:
        base = load_settings()
        settings = effective.settings_of(database, base, account)
        self.exchange = open_exchange(settings)
        selected = newest_selection(database)
        assert selected is not None
        self.told: list[str] = []
        self.session = Session(
            context=ExecutionContext(database, self.exchange, settings),
            store=CandleStore(settings.candle_store),
            selected=selected,
            run=f"run-of-{account}",
            make_stream=lambda topics, deliver: open_candle_stream(settings, topics, deliver),
            check=lambda _rows: Passed(),
            tell=lambda one: self.told.append(str(one)),
            make_account_stream=lambda deliver: open_account_stream(settings, deliver),
            newest_settings=lambda: effective.settings_of(database, base, account, with_keys=False),
        )
        self.why = ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.why = self.session.run()

    @property
    def is_trading(self) -> bool:
        return any("trading: " in text for text in self.told)

    def stop(self) -> None:
        self.session.stop()
        self.thread.join(WITHIN_S)
        self.exchange.close()


def state(database: Database, account: str) -> RiskState:
    return in_force(read_history(database, account), local_ms()).state


def executed(database: Database, account: str) -> list[str]:
    rows = signals.since(database, account, 0)
    return sorted(rows[rows["status"] == "executed"]["symbol"])


def next_minute(venues: dict[str, RunningExchange]) -> None:
    for venue in venues.values():
        now = venue.now_ms()
        venue.advance(floor_ms(now, MINUTE_MS) + MINUTE_MS + 100 - now)


def require_books_equal_the_exchange(database: Database, account: str) -> None:
    """Read the books, and compare what the ledger has of the account with what its own exchange has."""
    settings = effective.settings_of(database, load_settings(), account)
    exchange = open_exchange(settings)
    try:
        report = reconcile(ExecutionContext(database, exchange, settings))
        positions = {position.symbol: position.size for position in exchange.positions()}
        with database.read() as connection:
            held = {one.symbol: one.qty for one in orders.confirmed(connection, account)}
        assert held == positions
        assert [text for _, text in report.differences] == []
        assert report.equity == exchange.wallet().equity
        assert {order.order_link_id for order in exchange.open_orders() if not order.reduce_only} == set()
    finally:
        exchange.close()


@pytest.mark.slow
def test_one_is_halted_and_one_trades_through_restarts_and_faults(
    ledger: Database, venues: dict[str, RunningExchange]
) -> None:
    first = {name: Trading(ledger, name) for name in BOTH}
    try:
        until(lambda: all(one.is_trading for one in first.values()))
        until(lambda: len(executed(ledger, "main")) == 3 and len(executed(ledger, "second")) == 1)
        rows = {name: signals.since(ledger, name, 0) for name in BOTH}
        assert set(rows["main"]["position_size"]) == {100.0} and set(rows["second"]["position_size"]) == {40.0}
        assert run("halt", "storm", "--account", "main").exit_code == 0
        assert (state(ledger, "main"), state(ledger, "second")) == (RiskState.HALTED, RiskState.ACTIVE)
        # The second may open more from now on; its exchange loses answers, and its session is started again.
        lost = FaultRule.model_validate({"where": "POST /v5/order/create", "calls": "1", "lost_answer": True})
        venues["second"].faults.add([lost], venues["second"].now_ms())
        assert run("config", "set", "max_positions", "3", "--account", "second").exit_code == 0
        first["second"].stop()
        first["second"] = Trading(ledger, "second")
        until(lambda: first["second"].is_trading)
        next_minute(venues)
        until(lambda: len(executed(ledger, "second")) == 3)
        assert len(executed(ledger, "main")) == 3
    finally:
        for one in first.values():
            one.stop()
    for name in BOTH:
        require_books_equal_the_exchange(ledger, name)
    sizes = {name: open_exchange(effective.settings_of(ledger, load_settings(), name)) for name in BOTH}
    values = {name: sum(p.size * p.mark_price for p in one.positions()) for name, one in sizes.items()}
    for one in sizes.values():
        one.close()
    assert values["main"] > 2 * values["second"] > Decimal(0)


def test_commands_that_move_money_must_name_one_account_and_stopping_is_for_all(ledger: Database) -> None:
    for command in (("resume",), ("flatten", "--yes"), ("trading", "off"), ("confirm", "resume")):
        refused = run(*command)
        assert isinstance(refused.exception, ConfigurationError) and "--account NAME" in str(refused.exception), command
    assert run("halt", "storm").exit_code == 0
    assert [state(ledger, name) for name in BOTH] == [RiskState.HALTED] * 2
    held = {name: halt_file.found(load_settings().model_copy(update={"account": name})) for name in BOTH}
    assert all(one is not None and one.reason == "storm" for one in held.values())
    done = run("resume", "over", "--account", "second")
    assert done.exit_code == 0, done.exception
    assert [state(ledger, name) for name in BOTH] == [RiskState.HALTED, RiskState.ACTIVE]
    assert halt_file.found(load_settings()) is not None
    unknown = run("halt", "storm", "--account", "secnd")
    assert "did you mean 'second'" in str(unknown.exception)
    assert halt_file.found(load_settings().model_copy(update={"account": "secnd"})) is None


def test_a_file_that_halts_everybody_still_halts_the_others_after_one_is_resumed(ledger: Database) -> None:
    halt_file.write(
        load_settings().model_copy(update={"account": ""}), reason="by hand", actor="me", wall_ms=local_ms()
    )
    refused = run("resume", "--account", "second")
    assert refused.exit_code == 1 and "--all-accounts" in str(refused.exception)
    assert run("resume", "--account", "second", "--all-accounts").exit_code == 0
    assert [state(ledger, name) for name in BOTH] == [RiskState.HALTED, RiskState.ACTIVE]


def test_without_a_ledger_the_file_halts_every_account(ledger: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.close()
    monkeypatch.setenv("TRADING_ASSETS_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    said = run("halt", "storm")
    assert said.exit_code == 1 and "NOT reached" in said.output
    refused = run("flatten", "--yes")
    assert "--account NAME" in str(refused.exception)
    monkeypatch.delenv("TRADING_ASSETS_DATABASE_URL")
    held = {name: halt_file.found(load_settings().model_copy(update={"account": name})) for name in BOTH}
    assert all(one is not None and one.reason == "storm" for one in held.values())


def test_two_names_for_one_account_of_a_venue_are_refused(ledger: Database, venues: dict[str, RunningExchange]) -> None:
    added = run("accounts", "add", "third", "--venue", "simulator", "--set", f"simulator_url={venues['second'].url}")
    assert added.exit_code == 0
    for name in ("second", "third"):
        settings = effective.settings_of(ledger, load_settings(), name)
        exchange = open_exchange(settings)
        with contextlib.closing(exchange):
            if name == "second":
                require_bound(ledger, exchange, settings)
                continue
            with pytest.raises(WrongBooksError, match="under the name 'second' already"):
                require_bound(ledger, exchange, settings)


def test_each_account_is_shown_by_itself(ledger: Database) -> None:
    assert run("trading", "off", "not now", "--account", "second").exit_code == 0
    told = run("trading", "state").output
    assert "account 'main' is on" in told and "'second' is off" in told
    assert "second" in run("accounts", "list").output
    shown = run("accounts", "show", "second").output
    assert "max_positions = 1" in shown and "simulator_url" in shown
    assert run("status", "--account", "second").exit_code == 0
    assert run("portfolio", "--account", "second").exit_code == 0
    assert run("portfolio", "--account", "nobody").exit_code == 1
